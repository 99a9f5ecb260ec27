"""transport:nexthop, as it stands in transport_maps and in parameters such as virtual_transport."""

from dataclasses import dataclass
from typing import Final, Self

from posthouse.core.address import Address
from posthouse.routing.addressing import Extensions, Find, IsLocal, find_address
from posthouse.tables.maps import Maps

REASON_TRANSPORTS: Final = ("error", "retry")
"""Their nexthop is not a host but what the sender is told."""


@dataclass(frozen=True, slots=True)
class Route:
    transport: str
    nexthop: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """ "smtp:[mail.example.com]:587" splits at the first colon only; "smtp" has no nexthop."""
        transport, _, nexthop = text.strip().partition(":")
        return cls(transport.strip(), nexthop.strip())

    def overridden_by(self, entry: str, domain: str) -> "Route":
        """What a transport table's entry makes of this route (transport(5), RESULT FORMAT).

        ":nexthop" keeps the transport; "transport" and "transport:" go to the recipient's domain; ":" changes nothing.
        """
        new = Route.parse(entry)
        if not new.transport:
            return Route(self.transport, new.nexthop or self.nexthop)
        if new.nexthop:
            return new
        return Route(new.transport, "Address is undeliverable" if new.transport in REASON_TRANSPORTS else domain)


class TransportMaps:
    """transport_maps: user+ext@domain, user@domain, domain, its parents, then "*"."""

    def __init__(self, maps: Maps, extensions: Extensions, is_local: IsLocal, *, parents_match: bool) -> None:
        self._maps = maps
        self._extensions = extensions
        self._is_local = is_local
        self._strategy = (
            Find.FULL
            | Find.NO_EXTENSION
            | Find.DOMAIN
            | (Find.PARENT_DOMAINS if parents_match else Find.DOT_PARENT_DOMAINS)
        )

    def __bool__(self) -> bool:
        return bool(self._maps)

    def knows_addresses_in(self, domain: str) -> bool:
        return self._maps.knows_addresses_in(domain)

    async def entry(self, recipient: Address) -> str | None:
        found = await find_address(
            self._maps,
            recipient,
            extensions=self._extensions,
            is_local=self._is_local,
            strategy=self._strategy,
        )
        if found is not None:
            return found.value
        return await self._maps.find("*", partial=True)
