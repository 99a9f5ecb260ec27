"""The nexthop: what stands behind the colon of a transport, in relayhost, in smtp_fallback_relay."""

import ipaddress
from dataclasses import dataclass
from typing import Self

from posthouse.config.parameter import BadValue
from posthouse.delivery.outbound.settings import port_number


@dataclass(frozen=True, slots=True)
class Destination:
    """`host` is a name or an IP address; `mx` says whether its mail servers are looked up (no brackets). With `path` it
    is a local socket. `text` is the nexthop as it was given, the key for passwords and TLS policies."""

    text: str
    host: str
    port: int
    mx: bool
    path: str = ""

    @classmethod
    def parse(cls, text: str, default_port: int) -> Self:
        """ "host", "host:port", "[host]", "[ip]:port", "unix:/path", "inet:host:port". Raises BadValue."""
        rest = text.strip()
        if rest.startswith("unix:"):
            return cls(text, "", 0, False, rest[5:])
        rest = rest.removeprefix("inet:")
        mx = True
        if rest.startswith("["):
            mx = False
            host, bracket, tail = rest[1:].partition("]")
            if not bracket or (tail and not tail.startswith(":")):
                raise BadValue(f"unreasonable destination {text!r}")
            port = tail[1:]
        elif rest.count(":") > 1:
            host, port = rest, ""
        else:
            host, _, port = rest.partition(":")
        if host[:5].lower() == "ipv6:":
            host = host[5:]
        host = host.strip().rstrip(".")
        if not host or any(character.isspace() or character == "/" for character in host):
            raise BadValue(f"unreasonable destination {text!r}")
        return cls(text, host, port_number(port) if port else default_port, mx and not is_address(host))


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
