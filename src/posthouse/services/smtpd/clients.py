"""Who a client is: its name, and which of a listener's networks it belongs to. Found out once, remembered for a minute.

The name of an address counts only if it leads back to the address (Postfix's smtpd_peername_lookup); without, or when
nobody can say, it is "unknown". Loopback addresses are localhost and cost no question at all.
"""

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from posthouse.core.clock import Clock
from posthouse.core.logline import LogLine
from posthouse.core.reply import MailError
from posthouse.runtime.dns import DnsError, Resolver
from posthouse.services.smtpd.loglines import SmtpdWarning
from posthouse.services.smtpd.networks import NameList, NetworkList, parse_address

UNKNOWN: Final = "unknown"
KEEP_S: Final = 60.0
MAXIMAL_KEPT: Final = 10_000
"""Clients remembered, about 3 MB; the memory starts anew when it is full."""
LOOKUP_LIMIT_S: Final = 20.0
"""A client whose name takes longer to find out has none; it waits five minutes for the greeting (RFC 5321
s4.5.3.2.1)."""
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")


class Client(msgspec.Struct, frozen=True):
    """`shown` is name[address], as it stands in every log line."""

    address: str
    name: str
    reverse_name: str
    shown: str
    is_in_mynetworks: bool
    is_own_address: bool
    is_exempt: bool
    """From the limits per client."""
    normalizes: bool
    """Its bare newlines are made right (smtpd_forbid_bare_newline_exclusions)."""
    may_authenticate: bool


class ClientLists(msgspec.Struct, frozen=True):
    """A listener's lists."""

    mynetworks: NetworkList
    bare_newline_exclusions: NetworkList
    sasl_exceptions: NetworkList
    event_exceptions: NameList
    own_addresses: frozenset[str]
    looks_up_names: bool

    @property
    def is_remote(self) -> bool:
        return any(
            one.is_remote
            for one in (
                self.mynetworks,
                self.bare_newline_exclusions,
                self.sasl_exceptions,
                self.event_exceptions.networks,
            )
        )


class Clients:
    """One listener's clients. `ask` is a question to the tables process: is the key in the list of this parameter?"""

    def __init__(
        self,
        lists: ClientLists,
        resolver: Resolver,
        clock: Clock,
        emit: Callable[[LogLine], None],
        ask: Callable[[str, str], Awaitable[bool]],
    ) -> None:
        self._lists = lists
        self._resolver = resolver
        self._clock = clock
        self._emit = emit
        self._ask = ask
        self._known: dict[str, tuple[float, Client]] = {}
        self._is_remote = lists.is_remote

    def known(self, address: str) -> Client | None:
        """At once, if nobody has to be asked."""
        entry = self._known.get(address)
        if entry is not None and entry[0] > self._clock.monotonic():
            return entry[1]
        if self._is_remote:
            return None
        if self._lists.looks_up_names:
            if not ipaddress.ip_address(address).is_loopback:
                return None
            return self._keep(self._local(address, "localhost", "localhost"))
        return self._keep(self._local(address, UNKNOWN, UNKNOWN))

    async def find(self, address: str) -> Client:
        name = reverse_name = UNKNOWN
        if self._lists.looks_up_names:
            name, reverse_name = await self._names(address)
        if not self._is_remote:
            return self._keep(self._local(address, name, reverse_name))
        lists = self._lists
        return self._keep(
            self._made(
                address,
                name,
                reverse_name,
                mynetworks=await self._is_in(lists.mynetworks, address),
                exempt=lists.event_exceptions.matches(name, parse_address(address))
                or await self._is_in(lists.event_exceptions.networks, address),
                excluded=await self._is_in(lists.bare_newline_exclusions, address),
                no_sasl=await self._is_in(lists.sasl_exceptions, address),
            )
        )

    async def _is_in(self, networks: NetworkList, address: str) -> bool:
        if not networks.is_remote:
            return networks.matches(parse_address(address))
        try:
            return await self._ask(networks.parameter, address)
        except MailError:
            return False  # without an answer nobody gets more rights

    def _local(self, address: str, name: str, reverse_name: str) -> Client:
        parsed = parse_address(address)
        lists = self._lists
        return self._made(
            address,
            name,
            reverse_name,
            mynetworks=lists.mynetworks.matches(parsed),
            exempt=lists.event_exceptions.matches(name, parsed),
            excluded=lists.bare_newline_exclusions.matches(parsed),
            no_sasl=lists.sasl_exceptions.matches(parsed),
        )

    def _made(
        self,
        address: str,
        name: str,
        reverse_name: str,
        *,
        mynetworks: bool,
        exempt: bool,
        excluded: bool,
        no_sasl: bool,
    ) -> Client:
        return Client(
            address,
            name,
            reverse_name,
            f"{name}[{address}]",
            mynetworks,
            address in self._lists.own_addresses,
            exempt,
            excluded,
            not no_sasl,
        )

    def _keep(self, client: Client) -> Client:
        if len(self._known) >= MAXIMAL_KEPT:
            self._known.clear()
        self._known[client.address] = (self._clock.monotonic() + KEEP_S, client)
        return client

    async def _names(self, address: str) -> tuple[str, str]:
        """The verified name and the claimed one."""
        if ipaddress.ip_address(address).is_loopback:
            return "localhost", "localhost"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOKUP_LIMIT_S):
                return await self._looked_up(address)
        return UNKNOWN, UNKNOWN

    async def _looked_up(self, address: str) -> tuple[str, str]:
        try:
            names = await self._resolver.ptr(address, lookup=("native", "dns"))
        except DnsError:
            return UNKNOWN, UNKNOWN
        reverse_name = names[0] if names else ""
        # Whoever owns the address writes its name: only what looks like one may appear in logs and fields.
        if len(reverse_name) > 255 or not _HOST_NAME.fullmatch(reverse_name):
            return UNKNOWN, UNKNOWN
        try:
            version = ipaddress.ip_address(address).version
            addresses = await self._resolver.addresses(reverse_name, versions=(version,), lookup=("native", "dns"))
        except DnsError as error:
            self._emit(SmtpdWarning(f"hostname {reverse_name} does not resolve to address {address}: {error.reason}"))
            return UNKNOWN, reverse_name
        if parse_address(address) not in [parse_address(one) for one in addresses]:
            self._emit(SmtpdWarning(f"hostname {reverse_name} does not resolve to address {address}"))
            return UNKNOWN, reverse_name
        return reverse_name, reverse_name
