"""LDAP as a client of a directory speaks it: simple bind, search, StartTLS (RFC 4511).

Requests are built and answers are taken apart here; sockets are elsewhere. Filters are compiled from the text of
RFC 4515 into a tree whose values may be templates: what is filled in becomes the octets of a value, behind a length,
and never text that is read again. So no user name can become a part of a filter.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

SCOPES: Final = {"base": 0, "onelevel": 1, "subtree": 2}
DEREFS: Final = {"never": 0, "searching": 1, "finding": 2, "always": 3}
MAXIMAL_MESSAGE_OCTETS: Final = 1 << 20
"""An entry with a photograph in it is smaller; only the attributes that were asked for come anyway."""
MAXIMAL_DEPTH: Final = 50
"""Of parentheses in a filter."""
START_TLS: Final = b"1.3.6.1.4.1.1466.20037"
PAGED_RESULTS: Final = b"1.2.840.113556.1.4.319"
"""RFC 2696 s2"""

SUCCESS: Final = 0
REFERRAL: Final = 10
NO_SUCH_OBJECT: Final = 32
INAPPROPRIATE_AUTHENTICATION: Final = 48
INVALID_CREDENTIALS: Final = 49
RESULT_NAMES: Final = {
    1: "operationsError",
    2: "protocolError",
    3: "timeLimitExceeded",
    4: "sizeLimitExceeded",
    8: "strongerAuthRequired",
    10: "referral",
    13: "confidentialityRequired",
    19: "constraintViolation",
    32: "noSuchObject",
    34: "invalidDNSyntax",
    48: "inappropriateAuthentication",
    49: "invalidCredentials",
    50: "insufficientAccessRights",
    51: "busy",
    52: "unavailable",
    53: "unwillingToPerform",
}

_SEQUENCE: Final = 0x30
_SET: Final = 0x31


class BadMessage(ValueError):
    """The server says something that is not LDAP."""


class BadFilter(ValueError):
    """A filter that cannot be read; the text says where."""


# ── BER, as far as RFC 4511 s5.1 wants it ──


def _field(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _number(value: int, tag: int = 0x02) -> bytes:
    return _field(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _text(value: str) -> bytes:
    return _field(0x04, value.encode("utf-8", "surrogateescape"))


def _head(data: bytes | bytearray, at: int) -> tuple[int, int, int] | None:
    """Tag, where the content begins and where it ends; None if more is needed. Raises BadMessage."""
    if len(data) < at + 2:
        return None
    size, begin = data[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        # RFC 4511 s5.1: only the definite form.
        if not 1 <= count <= 4:
            raise BadMessage("a length of a form that LDAP does not have")
        if len(data) < begin + count:
            return None
        size = int.from_bytes(data[begin : begin + count], "big")
        begin += count
    return data[at], begin, begin + size


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        head = _head(data, at)
        if head is None or head[2] > len(data):
            raise BadMessage("a field is longer than what it stands in")
        tag, begin, at = head
        yield tag, data[begin:at]


def _take(fields: Iterator[tuple[int, bytes]], *tags: int) -> bytes:
    tag, content = next(fields, (-1, b""))
    if tag not in tags:
        raise BadMessage(f"a field of type {tag:#x} stands where {tags[0]:#x} is expected")
    return content


def _integer(content: bytes) -> int:
    if not 1 <= len(content) <= 8:
        raise BadMessage("a number of a length that LDAP does not have")
    return int.from_bytes(content, "big", signed=True)


def _string(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


# ── requests ──


def _message(number: int, operation: bytes, controls: bytes = b"") -> bytes:
    return _field(_SEQUENCE, _number(number) + operation + controls)


def bind(number: int, name: str, password: bytes) -> bytes:
    return _message(number, _field(0x60, _number(3) + _text(name) + _field(0x80, password)))


def unbind(number: int) -> bytes:
    return _message(number, _field(0x42, b""))


def start_tls(number: int) -> bytes:
    return _message(number, _field(0x77, _field(0x80, START_TLS)))


class Search(msgspec.Struct, frozen=True):
    """`matching` is a filter as `Filter.encoded` makes it."""

    base: str
    scope: int
    deref: int
    matching: bytes
    attributes: tuple[str, ...]
    size_limit: int = 2
    """Two are enough to see that a name is not unique."""
    time_limit_s: int = 10


def search(number: int, what: Search, page: tuple[int, bytes] | None = None) -> bytes:
    """`page`: how many entries of a long answer, and what the last `Result.cookie` was."""
    parts = (
        _text(what.base),
        _number(what.scope, 0x0A),
        _number(what.deref, 0x0A),
        _number(what.size_limit),
        _number(what.time_limit_s),
        _field(0x01, b"\0"),
        what.matching,
        # RFC 4511 s4.5.1.8: "1.1" asks for no attribute; an empty list would ask for all of them.
        _field(_SEQUENCE, b"".join(_text(one) for one in what.attributes or ("1.1",))),
    )
    controls = b""
    if page is not None:
        wanted = _field(_SEQUENCE, _number(page[0]) + _field(0x04, page[1]))
        # RFC 2696 s3: critical, so that a server without pages says so and does not stop somewhere.
        control = _field(0x04, PAGED_RESULTS) + _field(0x01, b"\xff") + _field(0x04, wanted)
        controls = _field(0xA0, _field(_SEQUENCE, control))
    return _message(number, _field(0x63, b"".join(parts)), controls)


# ── answers ──


class Result(msgspec.Struct, frozen=True):
    """How an operation ended. `cookie` asks for the next page, if there is one."""

    number: int
    code: int
    words: str
    cookie: bytes = b""

    def __str__(self) -> str:
        name = RESULT_NAMES.get(self.code, f"result {self.code}")
        return f"{name}: {self.words}" if self.words else name


class Entry(msgspec.Struct, frozen=True):
    """Names of attributes are in lower case."""

    number: int
    dn: str
    values: Mapping[str, tuple[str, ...]]


class Ignored(msgspec.Struct, frozen=True):
    """A reference to another server, or news in between."""

    number: int


Answer = Result | Entry | Ignored


class Answers:
    """Octets from the server, into answers."""

    def __init__(self, limit_octets: int = MAXIMAL_MESSAGE_OCTETS) -> None:
        self._limit = limit_octets
        self._buffer = bytearray()

    @property
    def is_empty(self) -> bool:
        return not self._buffer

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> Answer | None:
        """None: more octets are needed. Raises BadMessage."""
        if self._buffer and self._buffer[0] != _SEQUENCE:
            raise BadMessage("this is not LDAP")
        head = _head(self._buffer, 0)
        if head is None:
            return None
        _, begin, end = head
        if end > self._limit:
            raise BadMessage(f"a message of {end} octets; more than {self._limit} are not taken")
        if len(self._buffer) < end:
            return None
        content = bytes(self._buffer[begin:end])
        del self._buffer[:end]
        return _parse(content)


def _parse(content: bytes) -> Answer:
    parts = _fields(content)
    number = _integer(_take(parts, 0x02))
    tag, operation = next(parts, (-1, b""))
    inside = _fields(operation)
    match tag:
        case 0x61 | 0x65 | 0x78:  # bind, search done, extended
            code = _integer(_take(inside, 0x0A))
            _take(inside, 0x04)
            return Result(number, code, _string(_take(inside, 0x04)), _cookie(parts))
        case 0x64:  # entry
            dn = _string(_take(inside, 0x04))
            values: dict[str, tuple[str, ...]] = {}
            for one, attribute in _fields(_take(inside, _SEQUENCE)):
                if one != _SEQUENCE:
                    raise BadMessage("an attribute is expected")
                described = _fields(attribute)
                name = _string(_take(described, 0x04)).lower()
                values[name] = tuple(_string(value) for _, value in _fields(_take(described, _SET)))
            return Entry(number, dn, values)
        case 0x73 | 0x79:  # reference, intermediate
            return Ignored(number)
        case _:
            raise BadMessage(f"an answer of type {tag:#x}")


def _cookie(parts: Iterator[tuple[int, bytes]]) -> bytes:
    """Of the control for pages, if it is there."""
    for tag, controls in parts:
        if tag != 0xA0:
            continue
        for _, control in _fields(controls):
            inside = list(_fields(control))
            if inside and inside[0] == (0x04, PAGED_RESULTS) and inside[-1][0] == 0x04 and len(inside) > 1:
                value = _fields(_take(_fields(inside[-1][1]), _SEQUENCE))
                _take(value, 0x02)
                return _take(value, 0x04)
    return b""


# ── filters ──

Fill = Callable[[str], str]
"""Fills in a template."""


class Filter(msgspec.Struct, frozen=True):
    """`tag` is RFC 4511's. Of "and", "or", "not": `inside`. Of the others: `attribute`, and `values` (templates) with
    the tags they get."""

    tag: int
    inside: tuple["Filter", ...] = ()
    attribute: str = ""
    values: tuple[tuple[int, str], ...] = ()

    def templates(self) -> Iterator[str]:
        for _, value in self.values:
            yield value
        for one in self.inside:
            yield from one.templates()

    def encoded(self, fill: Fill) -> bytes:
        if self.tag in (0xA0, 0xA1, 0xA2):
            return _field(self.tag, b"".join(one.encoded(fill) for one in self.inside))
        name = self.attribute.encode("utf-8", "surrogateescape")
        if self.tag == 0x87:
            return _field(0x87, name)
        filled = [_field(tag, fill(value).encode("utf-8", "surrogateescape")) for tag, value in self.values]
        if self.tag == 0xA4:
            return _field(0xA4, _field(0x04, name) + _field(_SEQUENCE, b"".join(filled)))
        if self.tag == 0xA9:
            rule, _, attribute = self.attribute.partition("\0")
            attribute, is_dn = attribute.removesuffix("\0dn"), attribute.endswith("\0dn")
            head = _field(0x81, rule.encode()) if rule else b""
            head += _field(0x82, attribute.encode()) if attribute else b""
            return _field(0xA9, head + filled[0] + (_field(0x84, b"\xff") if is_dn else b""))
        return _field(self.tag, _field(0x04, name) + filled[0])


_ATTRIBUTE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.;_-]*")
_ESCAPED: Final = re.compile(r"((?:\\[0-9A-Fa-f]{2})+)")
_COMPARISONS: Final = {">=": 0xA5, "<=": 0xA6, "~=": 0xA8, "=": 0xA3}


def parse_filter(text: str) -> Filter:
    """RFC 4515 s3; the outermost parentheses may be missing. In values % begins a variable. Raises BadFilter."""
    text = text.strip()
    if not text.startswith("("):
        text = f"({text})"
    found, at = _filter(text, 0, 0)
    if text[at:].strip():
        raise BadFilter(f"after the filter comes {text[at : at + 20]!r}")
    return found


def _filter(text: str, at: int, depth: int) -> tuple[Filter, int]:
    if depth > MAXIMAL_DEPTH:
        raise BadFilter("too many parentheses stand in each other")
    if text[at : at + 1] != "(":
        raise BadFilter(f"( is expected at {text[at : at + 20]!r}")
    at = _spaces(text, at + 1)
    sign = text[at : at + 1]
    if sign and sign in "&|!":
        inside: list[Filter] = []
        at = _spaces(text, at + 1)
        while text[at : at + 1] == "(":
            one, at = _filter(text, at, depth + 1)
            inside.append(one)
            at = _spaces(text, at)
        if text[at : at + 1] != ")":
            raise BadFilter(f"( or ) is expected at {text[at : at + 20]!r}")
        if sign == "!" and len(inside) != 1:
            raise BadFilter("! takes exactly one filter")
        if not inside:
            raise BadFilter(f"{sign} takes at least one filter")
        return Filter({"&": 0xA0, "|": 0xA1, "!": 0xA2}[sign], tuple(inside)), at + 1
    end = text.find(")", at)
    if end < 0:
        raise BadFilter("a ) is missing")
    return _item(text[at:end]), end + 1


def _spaces(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


def _item(text: str) -> Filter:
    match = re.match(r"([^=<>~:(]*)(:[^=]*)?(:=|>=|<=|~=|=)", text)
    if match is None:
        raise BadFilter(f"attribute=value is expected, not {text[:40]!r}")
    name, value = match[1].strip(), text[match.end() :]
    if "(" in value:
        raise BadFilter(f"a ( in a value is written \\28, in {text[:40]!r}")
    if match[2] is not None or match[3] == ":=":
        return _extensible(
            name, (match[2] or "").removesuffix(":"), value, is_extensible=text[: match.end()][-2] == ":"
        )
    if not _ATTRIBUTE.fullmatch(name):
        raise BadFilter(f"{name[:40]!r} is not the name of an attribute")
    if match[3] == "=" and value == "*":
        return Filter(0x87, attribute=name)
    pieces = value.split("*")
    if len(pieces) == 1 or match[3] != "=":
        return Filter(_COMPARISONS[match[3]], attribute=name, values=((0x04, _unescaped(value)),))
    first, *middle, last = pieces
    tagged = [(0x80, first), *((0x81, one) for one in middle), (0x82, last)]
    values = tuple((tag, _unescaped(one)) for tag, one in tagged if one)
    if not values:
        raise BadFilter(f"{text[:40]!r} has nothing to look for")
    return Filter(0xA4, attribute=name, values=values)


def _extensible(name: str, rule: str, value: str, *, is_extensible: bool) -> Filter:
    words = rule.split(":")[1:]
    is_dn = bool(words) and words[0].lower() == "dn"
    words = words[1:] if is_dn else words
    if not is_extensible or len(words) > 1 or not (name or words):
        raise BadFilter(f"{name}{rule} is not a matching rule")
    for one in (name, *words):
        if one and not _ATTRIBUTE.fullmatch(one):
            raise BadFilter(f"{one[:40]!r} is not a name")
    packed = f"{words[0] if words else ''}\0{name}" + ("\0dn" if is_dn else "")
    return Filter(0xA9, attribute=packed, values=((0x83, _unescaped(value)),))


def _unescaped(text: str) -> str:
    r"""\2a and the like, as the octets they stand for; a percent sign that was written so begins no variable."""
    if re.search(r"\\(?![0-9A-Fa-f]{2})", text):
        raise BadFilter(f"after a backslash two hexadecimal digits are expected, in {text[:40]!r}")
    return _ESCAPED.sub(
        lambda match: bytes.fromhex(match[1].replace("\\", "")).decode("utf-8", "surrogateescape").replace("%", "%%"),
        text,
    )


# ── names ──

_SPECIAL_IN_DN: Final = re.compile(r"[\x00-\x20\"#+,;<=>\\\x7f]")


def escaped_in_dn(value: str) -> str:
    """RFC 4514 s2.4: whatever could end the value, as hexadecimal octets."""
    return _SPECIAL_IN_DN.sub(lambda match: f"\\{ord(match[0]):02x}", value)


# ── addresses ──


class Address(msgspec.Struct, frozen=True):
    """`path` for ldapi://."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"ldapi://{self.path}" if self.path else f"{self.scheme}://{self.host}:{self.port}"


def parse_addresses(uris: Sequence[str], hosts: Sequence[str]) -> list[Address]:
    """As in "uris" and "hosts" of Dovecot's file. Raises ValueError."""
    found: list[Address] = []
    for uri in uris:
        parts = urlsplit(uri)
        if parts.scheme == "ldapi":
            path = unquote(parts.netloc + parts.path) or "/var/run/slapd/ldapi"
            if not path.startswith("/"):
                raise ValueError(f"{uri}: the path of the socket is expected, with %2F for /")
            found.append(Address("ldapi", path=path.rstrip("/")))
        elif parts.scheme in ("ldap", "ldaps"):
            if parts.path.strip("/") or parts.query:
                raise ValueError(f"{uri}: only the server is expected here")
            host = parts.hostname or "localhost"
            found.append(Address(parts.scheme, host, parts.port or (636 if parts.scheme == "ldaps" else 389)))
        else:
            raise ValueError(f"{uri}: ldap://, ldaps:// or ldapi:// is expected")
    for host in hosts:
        parts = urlsplit(f"ldap://{host}")
        if not parts.hostname:
            raise ValueError(f"{host}: a host is expected")
        found.append(Address("ldap", parts.hostname, parts.port or 389))
    return found
