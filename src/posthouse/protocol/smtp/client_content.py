"""Content on its way out: dots doubled, line ends mended, long lines broken (RFC 5321 s4.5.2, RFC 5322 s2.1.1)."""

import re
from typing import Final

_STRAY: Final = re.compile(rb"\r\n|\r|\n")
END_OF_DATA: Final = b".\r\n"


def mend_line_ends(content: bytes) -> bytes:
    """RFC 5321 s2.3.8: CR and LF leave us only together, whatever came in: a bare one is how message smuggling
    starts. What is right already is not copied."""
    pairs = content.count(b"\r\n")
    if content.count(b"\n") == pairs and content.count(b"\r") == pairs:
        return content
    return _STRAY.sub(b"\r\n", content)


def break_long_lines(content: bytes, limit: int) -> bytes:
    """Lines of more than `limit` octets are broken by CRLF and a space, as Postfix does: many servers refuse them."""
    if limit <= 0 or len(content) <= limit:
        return content
    lines = content.split(b"\r\n")
    if max(map(len, lines)) <= limit:
        return content
    out: list[bytes] = []
    for line in lines:
        if len(line) <= limit:
            out.append(line)
            continue
        out.append(line[:limit])
        # The space counts too.
        step = max(limit - 1, 1)
        out.extend(b" " + line[at : at + step] for at in range(limit, len(line), step))
    return b"\r\n".join(out)


def whole_message(content: bytes, line_limit: int = 0) -> bytes:
    """A message in one piece as it goes over the wire, final dot included."""
    content = break_long_lines(mend_line_ends(content), line_limit)
    if b"\r\n." in content:
        content = content.replace(b"\r\n.", b"\r\n..")
    if content.startswith(b"."):
        content = b"." + content
    if content.endswith(b"\r\n") or not content:
        return content + END_OF_DATA
    return content + b"\r\n" + END_OF_DATA


class ContentEncoder:
    """The same for a message that comes in pieces: works on whole lines and keeps the rest for the next piece.

    A line that has no end within `HELD_OCTETS` is broken there even if the limit allows more: memory is not endless.
    """

    HELD_OCTETS: Final = 1024 * 1024

    def __init__(self, line_limit: int = 0) -> None:
        self._line_limit = line_limit
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        data = self._held + piece if self._held else piece
        # A CR at the end may be half of a line end.
        cut = data.rfind(b"\n") + 1
        if not cut:
            if len(data) < self.HELD_OCTETS:
                self._held = data
                return b""
            cut = len(data) - (1 if data.endswith(b"\r") else 0)
            self._held = b" " + data[cut:]
            return self._encode(data[:cut]) + b"\r\n"
        self._held = data[cut:]
        return self._encode(data[:cut])

    def finish(self) -> bytes:
        held, self._held = self._held, b""
        if not held:
            return END_OF_DATA
        return whole_message(held, self._line_limit)

    def _encode(self, lines: bytes) -> bytes:
        lines = break_long_lines(mend_line_ends(lines), self._line_limit)
        if b"\r\n." in lines:
            lines = lines.replace(b"\r\n.", b"\r\n..")
        return b"." + lines if lines.startswith(b".") else lines
