"""The addresses of this host's network interfaces, asked from the kernel (rtnetlink(7)).

Used while a configuration is loaded, for mynetworks and for "is this address ourselves"; jailed processes get the
result as text.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterable
from typing import Final

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_RTM_GETADDR: Final = 22
_RTM_NEWADDR: Final = 20
_NLMSG_DONE: Final = 3
_NLMSG_ERROR: Final = 2
_REQUEST_DUMP: Final = 0x301
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_MESSAGE: Final = struct.Struct("=LHHLL")
_ADDRESS: Final = struct.Struct("=BBBBL")
_ATTRIBUTE: Final = struct.Struct("=HH")

LOOPBACK: Final[tuple[Interface, ...]] = (
    ipaddress.IPv4Interface("127.0.0.1/8"),
    ipaddress.IPv6Interface("::1/128"),
)


def addresses() -> tuple[Interface, ...]:
    """All addresses with their networks; only the loopback ones if the kernel does not tell."""
    try:
        found = _dump()
    except OSError:
        return LOOPBACK
    return found or LOOPBACK


def _dump() -> tuple[Interface, ...]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asker:
        asker.settimeout(1)
        asker.bind((0, 0))
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        asker.send(_MESSAGE.pack(_MESSAGE.size + len(body), _RTM_GETADDR, _REQUEST_DUMP, 1, 0) + body)
        found: list[Interface] = []
        while True:
            octets = asker.recv(65536)
            at = 0
            while at + _MESSAGE.size <= len(octets):
                length, kind, _, _, _ = _MESSAGE.unpack_from(octets, at)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < _MESSAGE.size:
                    return tuple(dict.fromkeys(found))
                if kind == _RTM_NEWADDR:
                    found.extend(_interface(octets[at + _MESSAGE.size : at + length]))
                at += (length + 3) & ~3


def _interface(message: bytes) -> Iterable[Interface]:
    family, prefix, _, _, _ = _ADDRESS.unpack_from(message)
    attributes: dict[int, bytes] = {}
    at = _ADDRESS.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < _ATTRIBUTE.size:
            break
        attributes[kind] = message[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    # On a point-to-point link IFA_ADDRESS is the other end; IFA_LOCAL is always ours where it is given.
    octets = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS, b""))
    if family == socket.AF_INET and len(octets) == 4:
        yield ipaddress.IPv4Interface((octets, prefix))
    elif family == socket.AF_INET6 and len(octets) == 16:
        yield ipaddress.IPv6Interface((octets, prefix))


def select(
    found: Iterable[Interface], inet_interfaces: Iterable[str], inet_protocols: Iterable[str]
) -> list[Interface]:
    """The interfaces that inet_interfaces and inet_protocols choose. Host names are not resolved here: they name no
    network."""
    wanted = {word.lower().strip("[]") for word in inet_interfaces}
    protocols = {word.lower() for word in inet_protocols}
    chosen: list[Interface] = []
    for one in found:
        if "all" not in protocols and f"ipv{one.version}" not in protocols:
            continue
        if "all" in wanted or str(one.ip) in wanted or ("loopback-only" in wanted and one.ip.is_loopback):
            chosen.append(one)
    return chosen


def networks(chosen: Iterable[Interface], style: str) -> str:
    """The value of mynetworks that `mynetworks_style` asks for, in Postfix's notation."""
    words: list[str] = []
    for one in chosen:
        network: ipaddress.IPv4Network | ipaddress.IPv6Network
        if style == "host":
            network = ipaddress.ip_network(one.ip)
        elif style == "class" and isinstance(one, ipaddress.IPv4Interface):
            first = one.ip.packed[0]
            prefix = 8 if first < 128 else 16 if first < 192 else 24 if first < 224 else 32
            network = ipaddress.ip_network(f"{one.ip}/{prefix}", strict=False)
        else:
            network = one.network
        shown = f"[{network.network_address}]" if network.version == 6 else str(network.network_address)
        words.append(f"{shown}/{network.prefixlen}")
    return " ".join(dict.fromkeys(words))
