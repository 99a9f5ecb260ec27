"""virtual_alias_maps, all the way down: one recipient in, the recipients that take its place out.

An address may expand into itself once (to keep a copy); what was expanded is not expanded again. Too many, too deep or
too long means that a table is wrong: a temporary failure, so that the message waits for the administrator, as in
Postfix.
"""

from typing import Final

from posthouse.config.parameter import Settings
from posthouse.config.parameters import general
from posthouse.config.parameters.tables import PROPAGATE_UNMATCHED_EXTENSIONS
from posthouse.core.address import Address
from posthouse.core.reply import Reply, TempFail
from posthouse.routing.parsing import parse_addresses
from posthouse.routing.resolution import Router
from posthouse.routing.rewriting import rewrite

EXPANSION_FAILURE: Final = Reply.of(451, "4.6.0", "Alias expansion error")


class Expander:
    def __init__(self, settings: Settings, router: Router) -> None:
        self._router = router
        self._most = settings[general.VIRTUAL_ALIAS_EXPANSION_LIMIT]
        self._deepest = settings[general.VIRTUAL_ALIAS_RECURSION_LIMIT]
        self._longest = settings[general.VIRTUAL_ALIAS_ADDRESS_LENGTH_LIMIT]
        self._propagates = "virtual" in settings[PROPAGATE_UNMATCHED_EXTENSIONS]

    async def expand(self, recipient: Address) -> tuple[Address, ...]:
        """Raises TempFail: a table that fails, or an expansion beyond the limits."""
        if not self._router.virtual_alias_maps:
            return (recipient,)
        first = rewrite(recipient, self._router.rules)
        addresses = [first]
        done: set[str] = set()
        at = 0
        while at < len(addresses):
            if len(addresses) > self._most:
                raise TempFail(EXPANSION_FAILURE)
            for depth in range(self._deepest + 1):
                key = addresses[at].key
                if key in done:
                    break
                targets = await self._targets(addresses[at])
                if targets is None:
                    break
                if depth == self._deepest:
                    raise TempFail(EXPANSION_FAILURE)
                addresses[at] = targets[0]
                addresses.extend(targets[1:])
                if any(target.key == key for target in targets):
                    done.add(key)
            at += 1
        if len(addresses) == 1:
            return (recipient,) if addresses[0] == first else (addresses[0],)
        return tuple({address.key: address for address in reversed(addresses)}.values())[::-1]

    async def is_whole_domain(self, recipient: Address) -> bool:
        """Does every ordinary address in this domain stand for itself? (`recipient` does.)"""
        router = self._router
        return (
            recipient.is_ordinary
            and rewrite(recipient, router.rules) == recipient
            and not router.virtual_alias_maps.knows_addresses_in(recipient.domain)
            and not await router.classes.is_local(recipient.domain)
        )

    async def _targets(self, address: Address) -> list[Address] | None:
        found = await self._router.find(self._router.virtual_alias_maps, address)
        if found is None:
            return None
        rules = self._router.rules
        value = found.value.strip()
        if value.startswith("@") and "," not in value:
            # "@example.net": the same local part (extension and all) in another domain.
            targets = [rewrite(address.with_domain(value[1:].strip()), rules)]
        else:
            targets = [rewrite(one, rules) for one in parse_addresses(value)]
            if self._propagates and found.extension:
                targets = [self._extended(one, found.extension) for one in targets]
        targets = [one for one in targets if one.local_part]
        if any(len(one.local_part) + len(one.domain) + 1 > self._longest for one in targets):
            raise TempFail(EXPANSION_FAILURE)
        return targets or None

    @staticmethod
    def _extended(address: Address, extension: str) -> Address:
        return Address(address.local_part + extension, address.domain)
