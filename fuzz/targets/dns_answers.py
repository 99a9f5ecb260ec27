"""Any datagram as the answer of a name server, and the files of the resolver.

What holds: an answer is records of the asked kind, or one of our errors; every record can be used as the resolver uses
it; a chain of aliases ends.
"""

import contextlib
import ipaddress
from typing import Any, Final

import dns.exception
import dns.message
import dns.name
import dns.rdatatype

from fuzz.target import Target
from posthouse.runtime.dns import MAXIMAL_RECORDS, Answer, DnsError, encode_name, read_answer, reverse_name
from posthouse.runtime.dns import _Refused as Refused
from posthouse.runtime.dns_config import Hosts, parse_server, resolv_conf_servers

_NAME: Final = dns.name.from_text("a.example.")
_KINDS: Final = ("A", "AAAA", "MX", "PTR", "TXT", "TLSA")


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for addresses in Hosts.parse(text).addresses.values():
        for address in addresses:
            ipaddress.ip_address(address)
            reverse_name(address)
    assert resolv_conf_servers(text)
    with contextlib.suppress(ValueError):
        parse_server(text)
    with contextlib.suppress(dns.exception.DNSException, UnicodeError):
        encode_name(text)
    try:
        message = dns.message.from_wire(data, ignore_trailing=True, raise_on_truncation=False)
    except Exception:  # as the resolver does: what strangers send may break dnspython in any way it likes
        return
    for kind in _KINDS:
        with contextlib.suppress(DnsError, Refused):
            _use(kind, read_answer(message, _NAME, dns.rdatatype.from_text(kind)))


def _use(kind: str, answer: Answer) -> None:
    assert 0 < len(answer.records) <= MAXIMAL_RECORDS
    assert answer.ttl_s >= 0
    assert answer.canonical_name
    for one in answer.records:
        _use_record(kind, one)


def _use_record(kind: str, one: Any) -> None:
    match kind:
        case "A" | "AAAA":
            assert ipaddress.ip_address(one.address).version == (4 if kind == "A" else 6)
        case "MX":
            assert one.exchange.to_text(omit_final_dot=True)
            assert 0 <= one.preference < 65536
        case "PTR":
            assert one.target.to_text(omit_final_dot=True)
        case "TXT":
            assert isinstance(b"".join(one.strings), bytes)
        case _:
            assert isinstance(one.cert, bytes)


def _answer(*records: tuple[str, str, str]) -> bytes:
    import dns.rrset

    message = dns.message.make_response(dns.message.make_query(_NAME, "A", use_edns=0))
    for name, kind, text in records:
        message.answer.append(dns.rrset.from_text(name, 60, "IN", kind, text))
    return message.to_wire()


TARGET = Target(
    check,
    seeds=(
        _answer(("a.example.", "A", "192.0.2.1"), ("a.example.", "AAAA", "2001:db8::1")),
        _answer(("a.example.", "CNAME", "b.example."), ("b.example.", "MX", "10 mx.example.")),
        _answer(("a.example.", "MX", "0 ."), ("a.example.", "TXT", '"v=spf1" "-all"')),
        _answer(("a.example.", "TLSA", "3 1 1 " + "ab" * 32), ("a.example.", "PTR", "host.example.")),
        b"# hosts\n192.0.2.7 mx.example MX # c\n::1 localhost\nfe80::1%eth0 x\n",
        b"search x\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\noptions y\n",
        b"[::1]:5353", b"xn--\xc3\xa4.example",
    ),
    words=(
        b"\xc0\x0c", b"\xc0\xff", b"\0\x05\0\x01", b"\0\x0f\0\x01", b"\0\x10\0\x01", b"\0\x34\0\x01", b"\0\x29",
        b"\1a\7example\0", b"\x3f", b"nameserver ", b"%", b".", b"xn--", b"\xff",
    ),
    max_octets=2000,
)  # fmt: skip
