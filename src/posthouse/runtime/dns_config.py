"""Where a resolver asks and what it knows without asking: resolv.conf, the hosts file, parameters.

Read before the jail closes; afterwards a process can open none of these files.
"""

import contextlib
import ipaddress
from dataclasses import dataclass, field
from typing import Final, Self

from posthouse.config.parameter import Settings
from posthouse.config.parameters.smtp import DNS_ATTEMPTS, DNS_CACHE_LIMIT, DNS_SERVERS, DNS_TIMEOUT

RESOLV_CONF: Final = "/etc/resolv.conf"
HOSTS: Final = "/etc/hosts"
MAXIMAL_FILE_CHARACTERS: Final = 1024 * 1024
"""Of either file; a hosts file beyond that is a block list, and no help in finding mail servers."""


@dataclass(slots=True)
class Hosts:
    """The hosts file, both ways; localhost is always in it (RFC 6761 s6.3)."""

    addresses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        found: dict[str, list[str]] = {}
        names: dict[str, str] = {}
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if len(words) < 2:
                continue
            try:
                address = str(ipaddress.ip_address(words[0].partition("%")[0]))
            except ValueError:
                continue
            names.setdefault(address, words[1])
            for name in words[1:]:
                listed = found.setdefault(name.lower().rstrip("."), [])
                if address not in listed:
                    listed.append(address)
        found.setdefault("localhost", ["127.0.0.1", "::1"])
        names.setdefault("127.0.0.1", "localhost")
        names.setdefault("::1", "localhost")
        return cls({name: tuple(listed) for name, listed in found.items()}, names)


def parse_server(text: str) -> tuple[str, int]:
    """ "192.0.2.53", "192.0.2.53:5353", "::1", "[::1]:5353"."""
    host, port = text, "53"
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or "53"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    return str(ipaddress.ip_address(host.partition("%")[0])), int(port)


def resolv_conf_servers(text: str) -> list[tuple[str, int]]:
    servers: list[tuple[str, int]] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            with contextlib.suppress(ValueError):
                servers.append((str(ipaddress.ip_address(words[1].partition("%")[0])), 53))
    return servers or [("127.0.0.1", 53)]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read(MAXIMAL_FILE_CHARACTERS)
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """Everything a resolver needs; made before the jail closes."""

    servers: tuple[tuple[str, int], ...]
    timeout_s: float = 5.0
    attempts: int = 2
    cache_limit: int = 10_000
    hosts: Hosts = field(default_factory=lambda: Hosts.parse(""))

    @classmethod
    def read(cls, settings: Settings) -> Self:
        servers = [parse_server(word) for word in settings[DNS_SERVERS]] or resolv_conf_servers(_read(RESOLV_CONF))
        return cls(
            tuple(servers),
            settings[DNS_TIMEOUT],
            settings[DNS_ATTEMPTS],
            settings[DNS_CACHE_LIMIT],
            Hosts.parse(_read(HOSTS)),
        )
