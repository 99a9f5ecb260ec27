"""Reverse-path and forward-path (RFC 5321 s4.1.2, RFC 6531 s3.3): octets of strangers become `Address`, here only.

    Path       = "<" [ A-d-l ":" ] Mailbox ">"
    Mailbox    = Local-part "@" ( Domain / address-literal )
    Local-part = Dot-string / Quoted-string

Laxer than the grammar unless `strict`, as Postfix is (strict_rfc821_envelopes): brackets may be missing, dots may
stand anywhere in a local part (Japanese carriers gave such addresses out), a domain may be missing (the origin is
added later) or end with a dot. Never lax about control characters and white space.
"""

import ipaddress
import re
from typing import Final

from posthouse.core.address import Address

_ATEXT: Final = r"A-Za-z0-9!#$%&'*+\-/=?^_`{|}~"
_ORDINARY: Final = re.compile(rf"<([{_ATEXT}]+(?:\.[{_ATEXT}]+)*)@([A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z0-9])>")
"""What nearly every path looks like."""

# RFC 5321 s4.1.2, appendix C: A source route is accepted and ignored.
_ROUTE: Final = re.compile(r"@[^\s<>\"()\\@,:]+(?:,@[^\s<>\"()\\@,:]+)*:")
_NON_ASCII: Final = r"\x80-\U0010ffff"
_LAX_LOCAL: Final = re.compile(rf"[{_ATEXT}.{_NON_ASCII}]+")
_STRICT_LOCAL: Final = re.compile(rf"[{_ATEXT}{_NON_ASCII}]+(?:\.[{_ATEXT}{_NON_ASCII}]+)*")
# qtextSMTP and quoted-pairSMTP
_QUOTED: Final = re.compile(rf'"((?:[ !#-\[\]-~{_NON_ASCII}]|\\[ -~])*)"')
_PAIR: Final = re.compile(r"\\(.)")
# RFC 5321 s4.1.3
_LITERAL: Final = re.compile(r"\[[A-Za-z0-9:.\-]+\]")
# RFC 5321 s2.3.5 does not allow "_"; host names with it exist.
_LABEL: Final = rf"[A-Za-z0-9_{_NON_ASCII}](?:[A-Za-z0-9_\-{_NON_ASCII}]*[A-Za-z0-9_{_NON_ASCII}])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_C1: Final = re.compile(r"[\x80-\x9f\u2028\u2029\ufffe\uffff\ud800-\udfff]")
MAXIMAL_DOMAIN_OCTETS: Final = 255
"""RFC 5321 s4.5.3.1.2; local parts are bounded by the length of the command line only (mailing lists exceed 64)."""

NULL_PATH: Final = "<>"


class BadPath(ValueError):
    """Not an address; the text says nothing that the client does not know."""


def parse_path(text: str, *, strict: bool = False) -> tuple[Address | None, str]:
    """The address at the beginning of `text` (None for the null path) and what stands behind it. Raises BadPath."""
    match = _ORDINARY.match(text)
    if match is not None:
        domain = match[2]
        if len(domain) <= MAXIMAL_DOMAIN_OCTETS and not (".." in domain or "-." in domain or ".-" in domain):
            return Address(match[1], domain), text[match.end() :]
    if text.startswith(NULL_PATH):
        return None, text[2:]
    bracket = text.startswith("<")
    if not bracket and strict:
        raise BadPath("no angle brackets")
    at = 1 if bracket else 0
    if (route := _ROUTE.match(text, at)) is not None:
        at = route.end()
    address, at = _mailbox(text, at, strict)
    if bracket:
        if text[at : at + 1] != ">":
            raise BadPath("no closing bracket")
        at += 1
    return address, text[at:]


def _mailbox(text: str, at: int, strict: bool) -> tuple[Address, int]:
    quoted = _QUOTED.match(text, at)
    match = quoted or (_STRICT_LOCAL if strict else _LAX_LOCAL).match(text, at)
    if match is None:
        raise BadPath("no local part")
    local_part = _PAIR.sub(r"\1", quoted[1]) if quoted else match[0]
    at = match.end()
    if _C1.search(local_part):
        raise BadPath("control character")
    if text[at : at + 1] != "@":
        # RFC 5321 s4.1.1.3: <Postmaster> needs no domain. Others get the origin's, unless we are strict.
        if not local_part or (strict and local_part.lower() != "postmaster"):
            raise BadPath("no domain")
        return Address(local_part), at
    at += 1
    literal = _LITERAL.match(text, at)
    if literal is not None:
        if not _is_address(literal[0][1:-1]):
            raise BadPath("no address in the literal")
        return Address(local_part, literal[0]), literal.end()
    name = _DOMAIN.match(text, at)
    if name is None or _C1.search(name[0]) or len(name[0].encode()) > MAXIMAL_DOMAIN_OCTETS:
        raise BadPath("no domain")
    at = name.end()
    if not strict and text[at : at + 1] == ".":
        at += 1
    return Address(local_part, name[0]), at


def _is_address(text: str) -> bool:
    try:
        if text[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(text[5:])
        else:
            ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
