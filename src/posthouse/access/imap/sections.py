"""Answers to FETCH that need the message itself: BODY[…] in all its forms (RFC 3501 s6.4.5)."""

from collections.abc import Callable, Sequence
from typing import Final

from posthouse.access.imap.columns import of_header
from posthouse.access.imap.statistics import Statistics
from posthouse.core.identifiers import Uid
from posthouse.protocol.imap.fetch import Section, Text
from posthouse.protocol.message.header import header_end
from posthouse.protocol.message.scanner import Part, scan


def section_octets(section: Section, message: "OpenMessage") -> bytes | None:
    """None: there is no such part."""
    content = message.content
    if not section.path:
        match section.text:
            case Text.WHOLE | Text.MIME:
                return section.cut(content)
            case Text.HEADER | Text.FIELDS:
                return of_header(section, content[: header_end(content)])
            case Text.TEXT:
                return section.cut(content[header_end(content) :])
    part = message.root.find(section.path)
    if part is None:
        return None
    match section.text:
        case Text.WHOLE:
            return section.cut(content[part.body_start : part.body_end])
        case Text.MIME:
            return section.cut(content[part.header_start : part.body_start])
        case Text.HEADER | Text.FIELDS | Text.TEXT:
            if not part.is_message or not part.children:
                return None
            inner = part.children[0]
            if section.text is Text.TEXT:
                return section.cut(content[inner.body_start : inner.body_end])
            return of_header(section, content[inner.header_start : inner.body_start])


class OpenMessage:
    """A message that is being read, with its parts once they are asked for.

    Clients fetch a large message in slices and part by part, each with a command of its own; the session keeps the last
    one for that, up to MAX_KEPT octets and until the next sweep.
    """

    MIN_KEPT: Final = 65536
    MAX_KEPT: Final = 32 << 20
    """One for each session; a user has mail_max_userip_connections sessions from an address."""

    __slots__ = ("_root", "content", "uid")

    def __init__(self, uid: Uid, content: bytes) -> None:
        self.uid = uid
        self.content = content
        self._root: Part | None = None

    @property
    def root(self) -> Part:
        if self._root is None:
            self._root = scan(self.content)
        return self._root

    def worth_keeping(self, sections: Sequence[Section]) -> bool:
        return self.MIN_KEPT <= len(self.content) <= self.MAX_KEPT and any(
            section.partial is not None or section.path for section in sections
        )


def write_sections(
    write: Callable[[bytes], None],
    statistics: Statistics,
    sections: Sequence[Section],
    message: OpenMessage,
    *,
    first: bool,
) -> None:
    """The sections of one message; `first` says that nothing stands before them. Large octets are written as they are,
    not copied into something larger."""
    space = b"" if first else b" "
    for section in sections:
        octets = section_octets(section, message)
        if octets is None:
            write(space + section.label + b" NIL")
            space = b" "
            continue
        if section.text in (Text.WHOLE, Text.TEXT):
            statistics.body_count += 1
            statistics.body_octets += len(octets)
        else:
            statistics.header_count += 1
            statistics.header_octets += len(octets)
        if b"\0" in octets:
            # As columns.literal.
            octets = octets.replace(b"\0", b"\x80")
        write(b"%b%b {%d}\r\n" % (space, section.label, len(octets)))
        space = b" "
        write(octets)
