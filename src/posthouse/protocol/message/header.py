"""Header fields by their octets: where the header ends, which fields it has, which of them a client asked for.

A field is a line and the lines after it that begin with white space (RFC 5322 s2.2.3). Line ends are CRLF; a bare LF,
which only a foreign program can have put into a message, ends a line too.
"""

import re
from collections.abc import Iterable
from typing import Final

_FOLD: Final = re.compile(rb"[ \t]*\r?\n[ \t]*|[ \t]+")

MAX_HEADER: Final = 1 << 20
"""Octets of a header in which fields are looked for: real ones have some ten thousand, and every line costs memory."""


def header_end(content: bytes, start: int = 0, end: int | None = None) -> int:
    """Where the body begins: behind the empty line that ends the header, or the end of the content without one."""
    stop = len(content) if end is None else end
    if content.startswith(b"\r\n", start, stop):
        return start + 2
    if content.startswith(b"\n", start, stop):
        return start + 1
    found = content.find(b"\n\r\n", start, stop)
    bare = content.find(b"\n\n", start, stop if found < 0 else found + 1)
    if bare >= 0:
        return bare + 2
    return stop if found < 0 else found + 3


def fields(header: bytes) -> list[tuple[bytes, bytes]]:
    """Field names in lower case with their raw values (folded, without the last line end), in order.

    Lines without a colon are no fields and are passed over, as all mail programs do.
    """
    found: list[tuple[bytes, bytes]] = []
    name = b""
    value: list[bytes] = []
    for line in header[:MAX_HEADER].split(b"\n"):
        if line[:1] in (b" ", b"\t"):
            value.append(line)
            continue
        if name:
            found.append((name, value[0] if len(value) == 1 else b"\n".join(value)))
        if line in (b"", b"\r"):
            return found
        raw_name, colon, rest = line.partition(b":")
        name = raw_name.rstrip(b" \t").lower() if colon else b""
        value = [rest]
    if name:
        found.append((name, value[0] if len(value) == 1 else b"\n".join(value)))
    return found


class FieldFinder:
    """The fields of some names, found by one search: for headers of which little is wanted."""

    def __init__(self, names: Iterable[bytes]) -> None:
        alternatives = b"|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        # The leading line feed is a literal prefix that the search can skip to.
        self._pattern = re.compile(rb"\n(" + alternatives + rb")[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE)

    def find(self, header: bytes) -> list[tuple[bytes, bytes]]:
        """As `fields`, but names are as they stand there. `header` ends with its empty line, or before it."""
        found: list[tuple[bytes, bytes]] = self._pattern.findall(b"\n" + header[:MAX_HEADER])
        return found


def unfold(value: bytes) -> bytes:
    """The value on one line, each run of white space one space, none at the ends (what ENVELOPE shows)."""
    value = value.strip(b" \t\r\n")
    if b"\n" not in value and b"\t" not in value and b"  " not in value:
        return value
    return _FOLD.sub(b" ", value)


def unfold_exactly(value: bytes) -> bytes:
    """RFC 5322 s2.2.3: only the line ends go (what SEARCH looks into)."""
    return value.replace(b"\r\n", b"").replace(b"\n", b"").strip(b" \t\r")


class FieldSelection:
    """BODY[HEADER.FIELDS (…)] and BODY[HEADER.FIELDS.NOT (…)]: the named fields as they stand, in their order, and the
    empty line (RFC 3501 s6.4.5). Made once per command, used for every message of it."""

    def __init__(self, names: Iterable[bytes], *, inverted: bool = False) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._inverted = inverted
        self.key = (b"-" if inverted else b"+") + b" ".join(sorted(self._names))
        """The same for selections that give the same."""
        alternatives = b"|".join(re.escape(name) for name in sorted(self._names, key=len, reverse=True))
        # The leading line feed is a literal prefix that the search can skip to.
        self._pattern = re.compile(
            rb"\n((?:" + alternatives + rb")[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*)(?=\n|\Z)", re.IGNORECASE
        )

    def select(self, header: bytes) -> bytes:
        """`header` may include its empty line."""
        if self._inverted:
            return self._others(header)
        if not self._names:
            return b"\r\n"
        chosen = self._pattern.findall(b"\n" + header)
        if not chosen:
            return b"\r\n"
        if chosen[-1].endswith(b"\r"):
            return b"\n".join(chosen) + b"\n\r\n"
        return b"\n".join(chosen) + b"\r\n\r\n"

    def _others(self, header: bytes) -> bytes:
        kept: list[bytes] = []
        keep = False
        for line in _lines(header):
            if line in (b"\r\n", b"\n"):
                break
            if line[:1] not in (b" ", b"\t"):
                keep = line.partition(b":")[0].rstrip(b" \t\r\n").lower() not in self._names
            if keep:
                kept.append(line)
        text = b"".join(kept)
        if text and not text.endswith(b"\n"):
            text += b"\r\n"
        return text + b"\r\n"


def _lines(header: bytes) -> list[bytes]:
    """Lines with their ends, a bare CR being an ordinary octet."""
    pieces = header.split(b"\n")
    last = pieces.pop()
    lines = [piece + b"\n" for piece in pieces]
    if last:
        lines.append(last)
    return lines
