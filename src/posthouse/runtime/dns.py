"""A stub resolver for jailed processes: dnspython's messages over our own sockets, never the name service switch.

Servers come from the parameter dns_servers or from /etc/resolv.conf, names of hosts from /etc/hosts; both files are
read before the jail closes. An answer is one of three things and callers must not mix them up: records, "there is
no such thing" (NxDomain, NoData), or "nobody can say now" (DnsTempFail), which never decides about mail.
"""

import asyncio
import contextlib
import ipaddress
import random
import secrets
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from posthouse.core.clock import Clock
from posthouse.runtime.dns_config import DnsConfig

# dnspython loads record types when it meets them; a jailed process imports nothing.
dns.rdata.load_all_types()  # type: ignore[no-untyped-call]  # dnspython has no type here

UDP_PAYLOAD_OCTETS: Final = 1232
"""What passes everywhere without fragments (DNS flag day 2020)."""
MAXIMAL_TTL_S: Final = 3600
NEGATIVE_TTL_S: Final = 60
"""For "there is none". A domain that was just registered should work soon; RFC 2308 s5 allows hours."""
MAXIMAL_CHAIN: Final = 16
"""Aliases (CNAME) followed in one answer."""
MAXIMAL_RECORDS: Final = 256
"""Of one answer; more helps nobody but an attacker."""


class DnsError(Exception):
    """No records. `name` and `kind` are what was asked."""

    reason = ""

    def __init__(self, name: str, kind: str) -> None:
        super().__init__(f"Name service error for name={name} type={kind}: {self.reason}")
        self.name = name
        self.kind = kind


class NxDomain(DnsError):
    """RFC 2308 s2.1: the name does not exist, for no record type."""

    reason = "Host not found"


class NoData(DnsError):
    """RFC 2308 s2.2: the name exists, a record of this type does not."""

    reason = "Host found but no data record of requested type"


class DnsTempFail(DnsError):
    """No server gave an answer that decides the question."""

    reason = "Host not found, try again"


@dataclass(frozen=True, slots=True)
class Mx:
    preference: int
    host: str
    """ "" is the null MX of RFC 7505: the domain takes no mail."""


@dataclass(frozen=True, slots=True)
class Tlsa:
    usage: int
    selector: int
    matching_type: int
    data: bytes


@dataclass(slots=True)
class Answer:
    """Records of the asked type at the end of the alias chain; `authenticated` is the server's word for DNSSEC
    (RFC 4035 s3.2.3), worth what the way to that server is worth."""

    records: tuple[Any, ...]
    ttl_s: float
    canonical_name: str
    authenticated: bool = False


def reverse_name(address: str) -> str:
    """RFC 1035 s3.5, RFC 3596 s2.5."""
    return ipaddress.ip_address(address).reverse_pointer


class _Refused(Exception):
    """This server does not answer this question; the next one may."""


def encode_name(name: str) -> dns.name.Name:
    """Absolute, international labels in ASCII form. Raises dns.exception.DNSException or UnicodeError."""
    if name.isascii():
        return dns.name.from_text(name if name.endswith(".") else name + ".")
    return dns.name.from_text(name if name.endswith(".") else name + ".", idna_codec=dns.name.IDNA_2008_UTS_46)


def read_answer(message: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> Answer:
    """Records for `name` or where its aliases lead. Raises NxDomain, NoData, or _Refused if it decides nothing."""
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise _Refused(dns.rcode.to_text(rcode))
    by_name: dict[dns.name.Name, list[dns.rrset.RRset]] = {}
    for rrset in message.answer:
        by_name.setdefault(rrset.name, []).append(rrset)
    ttl = float(MAXIMAL_TTL_S)
    current = name
    for _step in range(MAXIMAL_CHAIN):
        rrsets = by_name.get(current, [])
        wanted = [one for one in rrsets if one.rdtype == kind and one.rdclass == dns.rdataclass.IN]
        if wanted:
            ttl = min(ttl, *(one.ttl for one in wanted))
            records = tuple(record for one in wanted for record in one)[:MAXIMAL_RECORDS]
            return Answer(records, ttl, current.to_text(omit_final_dot=True), bool(message.flags & dns.flags.AD))
        alias = next((one for one in rrsets if one.rdtype == dns.rdatatype.CNAME), None)
        if alias is None:
            break
        ttl = min(ttl, alias.ttl)
        current = alias[0].target
    error = NxDomain if rcode == dns.rcode.NXDOMAIN else NoData
    raise error(name.to_text(omit_final_dot=True), dns.rdatatype.to_text(kind))


class _Datagram:
    """One question over UDP: a socket of its own, so that the port is as random as the id (RFC 5452 s9.2)."""

    def __init__(self, server: tuple[str, int], wire: bytes, accept: Callable[[bytes], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._accept = accept
        self.answer: asyncio.Future[None] = self._loop.create_future()
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(server)
            self._socket.send(wire)
        except OSError:
            self._socket.close()
            raise
        self._loop.add_reader(self._socket.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(65535)
        except BlockingIOError:
            return
        except OSError as error:
            if not self.answer.done():
                self.answer.set_exception(_Refused(str(error)))
            return
        if not self.answer.done() and self._accept(data):
            self.answer.set_result(None)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


class Resolver:
    """Asks, remembers, and shares open questions. One per process and event loop."""

    def __init__(self, config: DnsConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._cache: dict[tuple[str, str, bool], tuple[float, Answer | DnsError]] = {}
        self._open: dict[tuple[str, str, bool], asyncio.Task[Answer]] = {}
        self._random = secrets.SystemRandom()

    # ── typed questions ──

    async def mx(self, domain: str) -> list[Mx]:
        """Mail servers in order of preference, in the server's order within one. Raises DnsError."""
        answer = await self.query(domain, "MX")
        # RFC 7505 s3: the root is no host name but the null MX.
        found = [
            Mx(one.preference, "" if one.exchange == dns.name.root else one.exchange.to_text(omit_final_dot=True))
            for one in answer.records
        ]
        return sorted(found, key=lambda one: one.preference)

    async def addresses_of_type(self, host: str, version: int) -> list[str]:
        answer = await self.query(host, "A" if version == 4 else "AAAA")
        return [one.address for one in answer.records]

    async def addresses(
        self, host: str, *, versions: Sequence[int] = (4, 6), lookup: Sequence[str] = ("dns", "native")
    ) -> list[str]:
        """All addresses of a host, IPv4 first. Literals need nobody. Raises DnsError: temporary if any part of the
        question stayed open and nothing was found."""
        text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        text = text[5:] if text[:5].lower() == "ipv6:" else text
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(text))]
        name = host.lower().rstrip(".")
        if name == "localhost":
            return [one for one in self._config.hosts.addresses[name] if ipaddress.ip_address(one).version in versions]
        problem: DnsError | None = None
        for source in lookup:
            if source == "native":
                listed = self._config.hosts.addresses.get(name, ())
                found = [one for one in listed if ipaddress.ip_address(one).version in versions]
                if found:
                    return found
                problem = problem or NxDomain(host, "A" if 4 in versions else "AAAA")
                continue
            try:
                return await self._addresses_from_dns(host, versions)
            except DnsError as error:
                problem = error
        raise problem or NxDomain(host, "A")

    async def _addresses_from_dns(self, host: str, versions: Sequence[int]) -> list[str]:
        results = await asyncio.gather(
            *(self.addresses_of_type(host, version) for version in versions), return_exceptions=True
        )
        found: list[str] = []
        problems: list[DnsError] = []
        for result in results:
            if isinstance(result, DnsError):
                problems.append(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                found.extend(result)
        if found:
            return found
        raise next((one for one in problems if isinstance(one, DnsTempFail)), problems[0])

    async def ptr(self, address: str, *, lookup: Sequence[str] = ("dns",)) -> list[str]:
        """Names of an address. With "native" among `lookup` the hosts file counts as well. Raises DnsError."""
        standard = str(ipaddress.ip_address(address))
        problem: DnsError | None = None
        for source in lookup:
            if source == "native":
                if name := self._config.hosts.names.get(standard):
                    return [name]
                continue
            try:
                answer = await self.query(reverse_name(standard), "PTR")
                return [one.target.to_text(omit_final_dot=True) for one in answer.records]
            except DnsError as error:
                problem = error
        raise problem or NxDomain(standard, "PTR")

    async def txt(self, name: str) -> list[bytes]:
        """Each record's strings joined, as SPF and DKIM mean them (RFC 7208 s3.3). Raises DnsError."""
        answer = await self.query(name, "TXT")
        return [b"".join(one.strings) for one in answer.records]

    async def tlsa(self, host: str, port: int = 25) -> tuple[list[Tlsa], bool]:
        """Records, and whether the server calls them authenticated; else they are worth nothing (RFC 7672 s2.1)."""
        answer = await self.query(f"_{port}._tcp.{host}", "TLSA", dnssec=True)
        return [Tlsa(one.usage, one.selector, one.mtype, one.cert) for one in answer.records], answer.authenticated

    # ── any question ──

    async def query(self, name: str, kind: str, *, dnssec: bool = False) -> Answer:
        """Raises NxDomain, NoData or DnsTempFail."""
        key = (name.lower().rstrip("."), kind, dnssec)
        cached = self._cache.get(key)
        if cached is not None:
            if cached[0] > self._clock.monotonic():
                if isinstance(cached[1], DnsError):
                    raise cached[1]
                return cached[1]
            del self._cache[key]
        task = self._open.get(key)
        if task is None:
            task = self._open[key] = asyncio.get_running_loop().create_task(self._ask(name, kind, dnssec))
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)

    def _answered(self, key: tuple[str, str, bool], task: "asyncio.Task[Answer]") -> None:
        self._open.pop(key, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            answer = task.result()
            self._remember(key, answer, min(answer.ttl_s, MAXIMAL_TTL_S))
        elif isinstance(error, NxDomain | NoData):
            self._remember(key, error, NEGATIVE_TTL_S)

    def _remember(self, key: tuple[str, str, bool], what: Answer | DnsError, ttl_s: float) -> None:
        if ttl_s <= 0 or not self._config.cache_limit:
            return
        cache = self._cache
        if len(cache) >= self._config.cache_limit:
            now = self._clock.monotonic()
            for stale in [one for one, (expires, _) in cache.items() if expires <= now]:
                del cache[stale]
            while len(cache) >= self._config.cache_limit:
                del cache[next(iter(cache))]
        cache[key] = (self._clock.monotonic() + ttl_s, what)

    def forget(self) -> None:
        self._cache.clear()

    async def _ask(self, name: str, kind: str, dnssec: bool) -> Answer:
        try:
            qname = encode_name(name)
        except (dns.exception.DNSException, UnicodeError):
            # What cannot be asked does not exist.
            raise NxDomain(name, kind) from None
        rdtype = dns.rdatatype.from_text(kind)
        for attempt in range(self._config.attempts):
            servers: Iterable[tuple[str, int]] = self._config.servers
            if attempt:
                servers = random.sample(self._config.servers, len(self._config.servers))
            for server in servers:
                try:
                    message = await self._exchange(server, qname, rdtype, dnssec)
                    return read_answer(message, qname, rdtype)
                except (_Refused, OSError, TimeoutError, dns.exception.DNSException):
                    continue
                except (NxDomain, NoData) as error:
                    raise type(error)(name, kind) from None
        raise DnsTempFail(name, kind)

    async def _exchange(
        self, server: tuple[str, int], name: dns.name.Name, kind: dns.rdatatype.RdataType, dnssec: bool
    ) -> dns.message.Message:
        query = dns.message.make_query(name, kind, use_edns=0, payload=UDP_PAYLOAD_OCTETS, want_dnssec=dnssec)
        query.id = self._random.getrandbits(16)
        if dnssec:
            query.flags |= dns.flags.AD
        wire = query.to_wire()
        received: list[dns.message.Message] = []

        def accept(data: bytes) -> bool:
            """Anything that does not answer exactly our question is somebody else's and is ignored (RFC 5452 s9.1)."""
            try:
                message = dns.message.from_wire(data, ignore_trailing=True, raise_on_truncation=False)
            except Exception:  # what strangers send may break dnspython in any way it likes
                return False
            if not query.is_response(message):
                return False
            received.append(message)
            return True

        datagram = _Datagram(server, wire, accept)
        try:
            await asyncio.wait_for(datagram.answer, self._config.timeout_s)
        finally:
            datagram.close()
        message = received[-1]
        if message.rcode() == dns.rcode.FORMERR and not message.answer:
            # A server from before EDNS (RFC 6891 s7): once more without.
            query.use_edns(False)
            return await self._over_tcp(server, query)
        if message.flags & dns.flags.TC:
            return await self._over_tcp(server, query)
        return message

    async def _over_tcp(self, server: tuple[str, int], query: dns.message.Message) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
            async with asyncio.timeout(self._config.timeout_s):
                await loop.sock_connect(sock, server)
                wire = query.to_wire()
                await loop.sock_sendall(sock, struct.pack("!H", len(wire)) + wire)
                (length,) = struct.unpack("!H", await _receive_exactly(sock, 2))
                data = await _receive_exactly(sock, length)
        message = dns.message.from_wire(data, ignore_trailing=True)
        if not query.is_response(message):
            raise _Refused("the answer is to another question")
        return message


async def _receive_exactly(sock: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < count:
        piece = await loop.sock_recv(sock, count - len(data))
        if not piece:
            raise _Refused("the server closed the connection")
        data += piece
    return bytes(data)
