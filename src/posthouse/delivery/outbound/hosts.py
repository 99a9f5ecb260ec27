"""Which hosts to try for a destination, in which order (RFC 5321 s5.1).

Mail servers by preference, by chance within one, IPv4 and IPv6 taking turns; a domain without mail servers is its own.
Everything we are ourselves, and everything behind it, is left out: it would come back.
"""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from posthouse.delivery.outbound.destination import Destination, is_address
from posthouse.delivery.outbound.settings import AgentSettings
from posthouse.runtime.dns import DnsError, DnsTempFail, Mx, Resolver

MAXIMAL_HOSTS: Final = 100
"""Addresses of one domain that are looked up at all; smtp_mx_address_limit says how many are tried."""


@dataclass(frozen=True, slots=True)
class Host:
    """`best`: of the best preference of its destination."""

    name: str
    address: str
    port: int
    best: bool = True
    path: str = ""

    @property
    def label(self) -> str:
        """ "mx.example.com[192.0.2.1]", as logged."""
        return f"{self.name}[{self.address}]"

    @property
    def relay(self) -> str:
        return f"{self.label}:{self.port}" if not self.path else f"{self.label}"


class NoHost(Exception):
    """Nobody to talk to. `dsn` begins with 4 or 5; `loop`: because it would be ourselves."""

    def __init__(self, dsn: str, words: str, *, loop: bool = False) -> None:
        super().__init__(words)
        self.dsn = dsn
        self.words = words
        self.loop = loop


def ordered(servers: Sequence[Mx], *, randomize: bool) -> list[Mx]:
    """RFC 5321 s5.1: by preference, and in random order where it is equal."""
    found = list(servers)
    if randomize:
        random.shuffle(found)
    return sorted(found, key=lambda one: one.preference)


def alternating(addresses: Sequence[str], preference: str, *, randomize: bool) -> list[str]:
    """The addresses of one preference: protocols take turns, so that one of them being down costs little."""
    v4 = [one for one in addresses if ":" not in one]
    v6 = [one for one in addresses if ":" in one]
    if randomize:
        random.shuffle(v4)
        random.shuffle(v6)
    first, second = (v4, v6) if preference == "ipv4" else (v6, v4)
    if preference == "any" and randomize and random.random() < 0.5:
        first, second = second, first
    out: list[str] = []
    for at in range(max(len(first), len(second))):
        out += first[at : at + 1] + second[at : at + 1]
    return out


class HostFinder:
    def __init__(self, resolver: Resolver, own_addresses: frozenset[str]) -> None:
        self._resolver = resolver
        self._own_addresses = own_addresses

    async def find(self, destination: Destination, settings: AgentSettings) -> list[Host]:
        """At least one host. Raises NoHost."""
        if destination.path:
            # Relative to the spool, as in Postfix.
            path = os.path.join(settings.queue_directory, destination.path)
            return [Host(settings.myhostname, destination.path, 0, path=path)]
        if destination.mx and settings.use_mx:
            return await self._mail_servers(destination, settings)
        return await self._host_itself(destination, settings)

    async def _host_itself(self, destination: Destination, settings: AgentSettings) -> list[Host]:
        name = destination.host
        try:
            addresses = await self._addresses(name, settings)
        except DnsError as error:
            raise _no_address(error) from error
        hosts = [
            (0, Host(name, one, destination.port))
            for one in alternating(addresses, settings.address_preference, randomize=settings.randomize)
        ]
        return self._without_ourselves(destination, settings, hosts)

    async def _mail_servers(self, destination: Destination, settings: AgentSettings) -> list[Host]:
        domain = destination.host
        try:
            servers = ordered(await self._resolver.mx(domain), randomize=settings.randomize)
        except DnsTempFail as error:
            if settings.ignore_mx_errors:
                return await self._host_itself(destination, settings)
            raise NoHost("4.4.3", f"Host or domain name not found. {error}") from error
        except DnsError:
            # RFC 5321 s5.1: without an MX the domain is its own mail server. Whether it exists at all shows there.
            return await self._host_itself(destination, settings)
        if all(not one.host for one in servers):
            raise NoHost("5.1.0", f"Domain {domain} does not accept mail (nullMX)")
        found: list[tuple[int, Host]] = []
        problem: DnsError | None = None
        for server in servers:
            if not server.host or is_address(server.host):
                # An address where RFC 1035 s3.3.9 wants a name: no mail server.
                continue
            try:
                addresses = await self._addresses(server.host, settings)
            except DnsError as error:
                if problem is None or isinstance(error, DnsTempFail):
                    problem = error
                continue
            best = server.preference == servers[0].preference
            listed = alternating(addresses, settings.address_preference, randomize=settings.randomize)
            found += [(server.preference, Host(server.host, one, destination.port, best)) for one in listed]
            if len(found) >= MAXIMAL_HOSTS:
                break
        if not found:
            if isinstance(problem, DnsTempFail):
                raise _no_address(problem)
            dsn = "4.4.4" if settings.defer_without_address else "5.4.4"
            raise NoHost(dsn, f"no MX host for {domain} has a valid address record")
        return self._without_ourselves(destination, settings, found)

    async def _addresses(self, host: str, settings: AgentSettings) -> list[str]:
        return await self._resolver.addresses(host, versions=settings.versions, lookup=settings.lookup)

    def _without_ourselves(
        self, destination: Destination, settings: AgentSettings, found: Sequence[tuple[int, Host]]
    ) -> list[Host]:
        """RFC 5321 s5.1: our own entry and all that are no better are not used. On other ports a second mail system of
        this machine may listen, so only port 25 counts as ourselves (as in Postfix)."""
        if destination.port == 25 and not settings.lmtp:
            ours = [preference for preference, host in found if self._is_ourselves(host, settings)]
            limit = min(ours, default=None)
            found = [one for one in found if limit is None or one[0] < limit]
        if not found:
            raise NoHost("5.4.6", f"mail for {destination.host} loops back to myself", loop=True)
        return [host for _, host in found]

    def _is_ourselves(self, host: Host, settings: AgentSettings) -> bool:
        return host.name.lower().rstrip(".") == settings.myhostname or host.address in self._own_addresses


def _no_address(error: DnsError) -> NoHost:
    temporary = isinstance(error, DnsTempFail)
    return NoHost("4.4.3" if temporary else "5.4.4", f"Host or domain name not found. {error}")
