"""Answers to FETCH that need the message itself: BODY[…] in all its forms (RFC 3501 s6.4.5)."""

from collections.abc import Callable, Sequence

from posthouse.access.imap.columns import of_header
from posthouse.access.imap.statistics import Statistics
from posthouse.protocol.imap.fetch import Section, Text
from posthouse.protocol.message.header import header_end
from posthouse.protocol.message.scanner import Part, scan


def section_octets(section: Section, content: bytes, root: Part | None) -> bytes | None:
    """None: there is no such part. `root` is needed for sections with a number."""
    if not section.path:
        match section.text:
            case Text.WHOLE | Text.MIME:
                return section.cut(content)
            case Text.HEADER | Text.FIELDS:
                return of_header(section, content[: header_end(content)])
            case Text.TEXT:
                return section.cut(content[header_end(content) :])
    assert root is not None
    part = root.find(section.path)
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


def write_sections(
    write: Callable[[bytes], None], statistics: Statistics, sections: Sequence[Section], content: bytes, *, first: bool
) -> None:
    """The sections of one message; `first` says that nothing stands before them. Large octets are written as they are,
    not copied into something larger."""
    space = b"" if first else b" "
    root = scan(content) if any(section.path for section in sections) else None
    for section in sections:
        octets = section_octets(section, content, root)
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
