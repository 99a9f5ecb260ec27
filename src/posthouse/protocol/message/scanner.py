"""The parts of a message, by offsets (RFC 2045, RFC 2046 s5).

One pass over the content: from one line that begins with "--" and what all open boundaries have in common to the
next. Where several boundaries match, the longest wins, and among equal ones the innermost, so that a boundary used
twice or one that is another's prefix does no harm. A multipart that is not closed ends with what encloses it. There is
no input that is refused; what exceeds a limit stays inside the part in which it lies.
"""

from collections.abc import Iterator
from typing import Final

from posthouse.protocol.message.header import MAX_HEADER, FieldFinder, header_end, unfold
from posthouse.protocol.message.parameters import Parameters, parameter, parse_parameterized

MAX_NESTING: Final = 100
"""Levels of multipart and message/rfc822 inside each other (Dovecot has the same limit)."""

MAX_PARTS: Final = 10_000
"""Parts of one message that are told apart (Dovecot has the same limit)."""

MAX_CANDIDATES: Final = 200_000
"""Lines that look like a delimiter at first sight: bounds the time for a hostile message to some tenths of a second."""

MAX_BOUNDARY: Final = 1000
"""RFC 2046 s5.1.1 allows 70 characters; longer ones have been seen."""

MAX_FIELD: Final = 65536
"""Octets of one MIME field that are looked at."""

_FINDER: Final = FieldFinder(
    (
        b"content-type",
        b"content-transfer-encoding",
        b"content-id",
        b"content-description",
        b"content-disposition",
        b"content-md5",
        b"content-language",
        b"content-location",
    )
)
_NO_FIELDS: Final[dict[bytes, bytes]] = {}


class Part:
    """One part; all offsets are into the whole content. `children` are the parts of a multipart, or the one embedded
    message of a message/rfc822."""

    __slots__ = (
        "body_end",
        "body_lines",
        "body_start",
        "children",
        "fields",
        "header_start",
        "main_type",
        "parameters",
        "sub_type",
    )

    def __init__(self, header_start: int, body_start: int) -> None:
        self.header_start = header_start
        self.body_start = body_start
        self.body_end = body_start
        self.body_lines = 0
        self.main_type = b"text"
        self.sub_type = b"plain"
        self.parameters: Parameters = ()
        self.fields = _NO_FIELDS
        """The MIME fields that are there, unfolded; the first one of each name."""
        self.children: list[Part] = []

    @property
    def is_multipart(self) -> bool:
        return self.main_type.lower() == b"multipart"

    @property
    def is_message(self) -> bool:
        return self.main_type.lower() == b"message" and self.sub_type.lower() == b"rfc822"

    def walk(self) -> Iterator["Part"]:
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, path: tuple[int, ...]) -> "Part | None":
        """The part that a section number names (RFC 3501 s6.4.5). `self` is a message or an embedded one."""
        part: Part | None = None
        for number in path:
            if part is None:
                container = self
            elif part.is_message and part.children:
                container = part.children[0]
            else:
                container = part
            if container.is_multipart and container.children:
                if not 1 <= number <= len(container.children):
                    return None
                part = container.children[number - 1]
            elif number == 1 and container is not part:
                # "Every message has at least one part number": part 1 of one that is not multipart is its body.
                part = container
            else:
                return None
        return self if part is None else part


class _Open:
    """A multipart whose boundary we are looking for."""

    __slots__ = ("closed", "delimiter", "part")

    def __init__(self, part: Part, delimiter: bytes) -> None:
        self.part = part
        self.delimiter = delimiter
        self.closed = False


def scan(content: bytes) -> Part:
    return _Scanner(content).scan()


class _Scanner:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._end = len(content)
        self._parts = 0
        self._open: list[Part] = []
        """The chain of parts from the message to the one we are in."""
        self._boundaries: list[_Open] = []
        self._needle = b""
        self._counted_to = 0
        self._lines = 0

    def scan(self) -> Part:
        root = self._begin(0, digest=False, stop=self._end)
        content = self._content
        # Behind all headers, the embedded messages' too: a line in one is no delimiter of the multipart it announces.
        position = self._open[-1].body_start
        # A delimiter may stand on the very first line of a body, so the search begins one octet (the line feed that
        # ended the header) before it.
        for _ in range(MAX_CANDIDATES):
            if not self._boundaries:
                break
            found = content.find(self._needle, max(position - 1, 0), self._end)
            if found < 0:
                break
            line_end = content.find(b"\n", found + 1, found + 1 + MAX_BOUNDARY + 256)
            if line_end < 0:
                line_end = min(self._end, found + 1 + MAX_BOUNDARY + 256)
            line = content[found + 1 : line_end]
            owner = self._owner(line)
            if owner is None:
                position = line_end + 1 if line_end + 1 <= self._end else self._end
                position = max(position, found + 2)
                continue
            position = min(line_end + 1, self._end)
            final = line.startswith(b"--", len(owner.delimiter))
            self._close_down_to(owner, found - 1 if found > 0 and content[found - 1] == 13 else found)
            if final:
                owner.closed = True
                self._boundaries.pop()
                self._find_needle()
                continue
            if self._parts >= MAX_PARTS:
                break
            stop = self._header_stop(position)
            digest = owner.part.sub_type.lower() == b"digest"
            _ = self._begin(position, digest=digest, stop=stop, parent=owner.part)
            position = max(position, self._open[-1].body_start)
        while self._open:
            self._close(self._open.pop(), self._end)
        return root

    def _owner(self, line: bytes) -> _Open | None:
        best: _Open | None = None
        for candidate in reversed(self._boundaries):
            delimiter = candidate.delimiter
            if line.startswith(delimiter) and (best is None or len(delimiter) > len(best.delimiter)):
                best = candidate
                rest = line[len(delimiter) :].rstrip(b" \t\r")
                if rest in (b"", b"--"):
                    break
        return best

    def _header_stop(self, position: int) -> int:
        """A delimiter ends a part whose header has no empty line."""
        content = self._content
        end = header_end(content, position, min(self._end, position + MAX_HEADER))
        search = max(position - 1, 0)
        while True:
            found = content.find(self._needle, search, end)
            if found < 0:
                return end
            if self._owner(content[found + 1 : found + 1 + MAX_BOUNDARY + 256].split(b"\n", 1)[0]) is not None:
                return found + 1
            search = found + 1

    def _begin(self, start: int, *, digest: bool, stop: int, parent: Part | None = None) -> Part:
        """A part begins here: read its header, and look inside if it is a container."""
        body_start = header_end(self._content, start, stop)
        part = Part(start, body_start)
        self._parts += 1
        if parent is not None:
            parent.children.append(part)
        self._open.append(part)
        if digest:
            # RFC 2046 s5.1.5: the default type inside multipart/digest.
            part.main_type, part.sub_type = b"message", b"rfc822"
        self._read_fields(part)
        part.body_lines = self._lines_to(body_start)
        deep = len(self._open) >= MAX_NESTING or self._parts >= MAX_PARTS
        if part.is_message:
            if deep:
                part.main_type, part.sub_type = b"application", b"octet-stream"
            else:
                stop = self._header_stop(body_start) if self._boundaries else self._end
                _ = self._begin(body_start, digest=False, stop=stop, parent=part)
        elif part.is_multipart:
            boundary = parameter(part.parameters, b"boundary")
            if boundary is not None and not deep:
                self._boundaries.append(_Open(part, b"--" + boundary[:MAX_BOUNDARY].rstrip(b" \t")))
                self._find_needle()
        return part

    def _read_fields(self, part: Part) -> None:
        header = self._content[part.header_start : min(part.body_start, part.header_start + MAX_HEADER)]
        found: dict[bytes, bytes] = {}
        for raw_name, value in _FINDER.find(header):
            name = raw_name.lower()
            if name not in found:
                found[name] = unfold(value[:MAX_FIELD])
        if not found:
            return
        part.fields = found
        content_type = found.get(b"content-type")
        if content_type is None:
            return
        value, part.parameters = parse_parameterized(content_type)
        main, slash, sub = value.partition(b"/")
        if slash and main and sub:
            part.main_type, part.sub_type = main, sub
        else:
            # RFC 2045 s5.2: what cannot be parsed is text/plain.
            part.main_type, part.sub_type = b"text", b"plain"

    def _find_needle(self) -> None:
        """What a line must begin with to be one of the open delimiters."""
        if not self._boundaries:
            self._needle = b""
            return
        shortest = min((each.delimiter for each in self._boundaries), key=len)
        for each in self._boundaries:
            length = len(shortest)
            while not each.delimiter.startswith(shortest[:length]):
                length -= 1
            shortest = shortest[:length]
        self._needle = b"\n" + shortest

    def _close_down_to(self, owner: _Open, end: int) -> None:
        """A delimiter of `owner`: everything open inside it ends before the line end in front of the delimiter."""
        while self._open and self._open[-1] is not owner.part:
            part = self._open.pop()
            self._close(part, end)
            # A header without an empty line keeps its last line end, and so does the message that it is the header of.
            end = part.body_end
        while self._boundaries and self._boundaries[-1] is not owner:
            self._boundaries.pop()
        self._find_needle()

    def _close(self, part: Part, end: int) -> None:
        part.body_end = max(end, part.body_start)
        part.body_lines = self._lines_to(part.body_end) - part.body_lines

    def _lines_to(self, offset: int) -> int:
        """Line ends before `offset`; asked in ascending order, so that each octet is looked at once."""
        if offset > self._counted_to:
            self._lines += self._content.count(b"\n", self._counted_to, offset)
            self._counted_to = offset
            return self._lines
        if offset < self._counted_to:
            return self._lines - self._content.count(b"\n", offset, self._counted_to)
        return self._lines
