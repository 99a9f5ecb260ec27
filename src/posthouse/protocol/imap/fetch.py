"""What FETCH can ask for (RFC 3501 s6.4.5): grammar and names, nothing of how it is answered."""

import enum
import re
from dataclasses import dataclass
from typing import Final

from posthouse.protocol.imap.arguments import Arguments, BadArguments
from posthouse.protocol.message.header import FieldSelection
from posthouse.protocol.message.wire import string

MAX_ITEMS: Final = 200
"""Items in one FETCH; the largest seen from clients have about thirty."""

MAX_SECTION_DEPTH: Final = 100
"""Numbers in one section, as many as levels that the scanner tells apart."""


class Item(enum.Enum):
    """Items that are one word of the index."""

    UID = b"UID"
    FLAGS = b"FLAGS"
    INTERNALDATE = b"INTERNALDATE"
    SIZE = b"RFC822.SIZE"
    ENVELOPE = b"ENVELOPE"
    BODY = b"BODY"
    BODYSTRUCTURE = b"BODYSTRUCTURE"


class Text(enum.Enum):
    """Which octets of a part."""

    WHOLE = "whole"
    HEADER = "HEADER"
    FIELDS = "HEADER.FIELDS"
    TEXT = "TEXT"
    MIME = "MIME"


@dataclass(frozen=True, slots=True)
class Section:
    """BODY[…] and its old names. `label` is what the answer calls it; `partial` is (first octet, number)."""

    label: bytes
    text: Text
    path: tuple[int, ...] = ()
    selection: FieldSelection | None = None
    partial: tuple[int, int] | None = None
    peek: bool = False

    def cut(self, octets: bytes) -> bytes:
        if self.partial is None:
            return octets
        first, count = self.partial
        return octets[first : first + count]


FetchItem = Item | Section

_NAME: Final = re.compile(rb"[A-Za-z0-9.]+")
_SECTION: Final = re.compile(rb"((?:[1-9][0-9]{0,8}\.)*[1-9][0-9]{0,8})?(\.?)([A-Za-z.]*)")
_PARTIAL: Final = re.compile(rb"<([0-9]{1,18})(?:\.([0-9]{1,18}))?>")

_MACROS: Final = {
    b"ALL": (Item.FLAGS, Item.INTERNALDATE, Item.SIZE, Item.ENVELOPE),
    b"FAST": (Item.FLAGS, Item.INTERNALDATE, Item.SIZE),
    b"FULL": (Item.FLAGS, Item.INTERNALDATE, Item.SIZE, Item.ENVELOPE, Item.BODY),
}
_ITEMS: Final = {item.value: item for item in Item}
_OLD_NAMES: Final = {
    b"RFC822": Section(b"RFC822", Text.WHOLE),
    b"RFC822.HEADER": Section(b"RFC822.HEADER", Text.HEADER, peek=True),
    b"RFC822.TEXT": Section(b"RFC822.TEXT", Text.TEXT),
}


def parse_fetch_items(arguments: Arguments) -> tuple[FetchItem, ...]:
    """Raises BadArguments."""
    items: list[FetchItem] = []
    if arguments.maybe(b"("):
        while not arguments.maybe(b")"):
            if items:
                arguments.space()
            _add(items, _parse_item(arguments))
    else:
        macro = arguments.take(_NAME).upper() if arguments.peek_upper(1) in (b"A", b"F") else b""
        if macro in _MACROS:
            items.extend(_MACROS[macro])
        elif macro:
            _add(items, _named(macro))
        else:
            _add(items, _parse_item(arguments))
    arguments.end()
    return tuple(items)


def _add(items: list[FetchItem], item: FetchItem) -> None:
    if item in items:
        return
    if len(items) >= MAX_ITEMS:
        raise BadArguments("Too many items.")
    items.append(item)


def _named(name: bytes) -> FetchItem:
    found = _ITEMS.get(name) or _OLD_NAMES.get(name)
    if found is None:
        raise BadArguments(f"Unknown parameter: {name[:64].decode('ascii')}")
    return found


def _parse_item(arguments: Arguments) -> FetchItem:
    name = arguments.take(_NAME).upper()
    if arguments.peek() == b"[":
        if name in (b"BODY", b"BODY.PEEK"):
            return _parse_section(arguments, peek=name == b"BODY.PEEK")
        raise BadArguments(f"Unknown parameter: {name[:64].decode('ascii')}")
    return _named(name)


def _parse_section(arguments: Arguments, *, peek: bool) -> Section:
    arguments.expect(b"[")
    match = _SECTION.match(arguments.take(_SECTION))
    numbers, dot, word = match.groups() if match is not None else (None, b"", b"")
    path = tuple(int(number) for number in numbers.split(b".")) if numbers else ()
    name = word.upper()
    if len(path) > MAX_SECTION_DEPTH or bool(dot) != bool(numbers and word):
        raise BadArguments("Invalid BODY[..] section")
    label = (numbers or b"") + dot + name
    selection = None
    if name == b"":
        text = Text.WHOLE
    elif name == b"HEADER":
        text = Text.HEADER
    elif name == b"TEXT":
        text = Text.TEXT
    elif name == b"MIME" and path:
        text = Text.MIME
    elif name in (b"HEADER.FIELDS", b"HEADER.FIELDS.NOT"):
        text = Text.FIELDS
        fields = _parse_field_names(arguments)
        selection = FieldSelection(fields, inverted=name == b"HEADER.FIELDS.NOT")
        label += b" (" + b" ".join([_field_name(field) for field in fields]) + b")"
    else:
        raise BadArguments("Invalid BODY[..] section")
    arguments.expect(b"]")
    label = b"BODY[" + label + b"]"
    partial = None
    if arguments.peek() == b"<":
        found = _PARTIAL.match(arguments.take(_PARTIAL))
        if found is not None:
            # Without a count it is not in the grammar, but Dovecot takes it, so somebody sends it.
            partial = (int(found[1]), int(found[2]) if found[2] else 1 << 62)
            label += b"<%d>" % partial[0]
    return Section(label, text, path, selection, partial, peek)


def _parse_field_names(arguments: Arguments) -> tuple[bytes, ...]:
    arguments.space()
    arguments.expect(b"(")
    names: list[bytes] = []
    _ = arguments.maybe_space()
    while not arguments.maybe(b")"):
        if names:
            arguments.space()
            if arguments.maybe(b")"):
                break
        names.append(arguments.astring())
    if not names:
        raise BadArguments("Invalid BODY[..] section: Missing header fields")
    return tuple(names)


def _field_name(name: bytes) -> bytes:
    # In capitals, as Dovecot answers; quoted only if it must be.
    upper = name.upper()
    return upper if upper.isascii() and upper.replace(b"-", b"").replace(b"_", b"").isalnum() else string(upper)
