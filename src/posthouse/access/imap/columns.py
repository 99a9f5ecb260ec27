"""Answers to FETCH for many messages at once, column by column.

Each item gives one column for a chunk of rows, and one format string joins them in C: no code of ours runs for a single
message and item where the index has the answer.
"""

from collections.abc import Sequence
from typing import Final

from posthouse.access.imap.selected import SelectedMailbox
from posthouse.core.identifiers import Uid
from posthouse.protocol.imap.date import format_date_time
from posthouse.protocol.imap.fetch import FetchItem, Item, Section, Text
from posthouse.store.interface import Cached, MessageRow

OF_ROW: Final = frozenset({Item.UID, Item.FLAGS, Item.INTERNALDATE, Item.SIZE})
"""What the row itself has."""

KEPT_FROM: Final = 20
"""Messages asked for at once from which answers to a header list are kept: somebody looks at the mailbox."""

_CACHED: Final = {
    Item.ENVELOPE: Cached.ENVELOPE,
    Item.BODY: Cached.BODY,
    Item.BODYSTRUCTURE: Cached.BODYSTRUCTURE,
}

Column = Sequence[bytes] | Sequence[int]


def needs_content(item: FetchItem) -> bool:
    """Everything of a message but its own header, which the index has."""
    return isinstance(item, Section) and (item.path != () or item.text not in (Text.HEADER, Text.FIELDS))


def format_of(items: Sequence[FetchItem]) -> bytes:
    """The format of one answer without its brackets."""
    return b" ".join([_format_of_item(item) for item in items])


def _format_of_item(item: FetchItem) -> bytes:
    match item:
        case Item.UID | Item.SIZE:
            return b"%b %%d" % item.value
        case Item.FLAGS:
            # The ready-made texts begin with the name.
            return b"%b"
        case Item():
            return b"%b %%b" % item.value
        case Section():
            return item.label.replace(b"%", b"%%") + b" %b"


def answer(
    selected: SelectedMailbox, numbers: Sequence[int], rows: Sequence[MessageRow], items: Sequence[FetchItem]
) -> tuple[bytes, int]:
    """The FETCH responses of these rows, and how many there are: messages that vanished are left out."""
    columns = _columns(selected, rows, items)
    if columns is None:
        numbers, rows = _existing(selected, numbers, rows, items)
        columns = _columns(selected, rows, items)
        if columns is None:
            return b"", 0
    template = b"* %d FETCH (" + format_of(items) + b")\r\n"
    return b"".join(map(template.__mod__, zip(numbers, *columns, strict=True))), len(rows)


def _columns(selected: SelectedMailbox, rows: Sequence[MessageRow], items: Sequence[FetchItem]) -> list[Column] | None:
    """None: some of the messages are gone."""
    columns: dict[FetchItem, Column] = {}
    # Structures first: where they are not ready yet, the rest is made with them and the message is read once.
    for item in sorted(items, key=_is_of_header):
        column = _column(selected, rows, item)
        if column is None:
            return None
        columns[item] = column
    return [columns[item] for item in items]


def _is_of_header(item: FetchItem) -> bool:
    return item not in (Item.BODY, Item.BODYSTRUCTURE)


def _column(selected: SelectedMailbox, rows: Sequence[MessageRow], item: FetchItem) -> Column | None:
    match item:
        case Item.UID:
            return [row.uid for row in rows]
        case Item.FLAGS:
            return flags_column(selected, rows)
        case Item.SIZE:
            return [row.size for row in rows]
        case Item.INTERNALDATE:
            return [format_date_time(row.internal_date_s) for row in rows]
        case Item.ENVELOPE | Item.BODY | Item.BODYSTRUCTURE:
            return _cached(selected, [row.uid for row in rows], _CACHED[item])
        case Section():
            return _header_column(selected, [row.uid for row in rows], item)


def _header_column(selected: SelectedMailbox, uids: list[Uid], section: Section) -> list[bytes] | None:
    """Clients ask for the same list of fields again and again: answers to many messages are kept."""
    names = section.selection.key if section.selection is not None and section.partial is None else b""
    if names and (ready := selected.mailbox.all_fields(uids, names)) is not None:
        return ready
    headers = _cached(selected, uids, Cached.HEADER)
    if headers is None:
        return None
    column = [literal(of_header(section, header)) for header in headers]
    if names and len(uids) >= KEPT_FROM:
        selected.mailbox.keep_fields(uids, column, names)
    return column


def flags_column(selected: SelectedMailbox, rows: Sequence[MessageRow]) -> list[bytes]:
    text = selected.texts.text
    recent = selected.recent
    if recent:
        return [text(row.flags, recent=row.uid in recent) for row in rows]
    ready = selected.texts.plain()
    return [ready.get(row.flags) or text(row.flags, recent=False) for row in rows]


def _cached(selected: SelectedMailbox, uids: list[Uid], what: Cached) -> list[bytes] | None:
    ready = selected.mailbox.all_cached(uids, what)
    if ready is not None:
        return ready
    found = [text for _, text in selected.mailbox.cached(uids, what)]
    return found if len(found) == len(uids) else None


def _existing(
    selected: SelectedMailbox, numbers: Sequence[int], rows: Sequence[MessageRow], items: Sequence[FetchItem]
) -> tuple[list[int], list[MessageRow]]:
    """The rows whose messages still have everything that is asked for."""
    there = {row.uid for row in rows}
    for item in items:
        if item not in OF_ROW:
            what = Cached.HEADER if isinstance(item, Section) else _CACHED[item]
            there &= {uid for uid, _ in selected.mailbox.cached([row.uid for row in rows], what)}
    pairs = [(number, row) for number, row in zip(numbers, rows, strict=True) if row.uid in there]
    return [number for number, _ in pairs], [row for _, row in pairs]


def of_header(section: Section, header: bytes) -> bytes:
    """BODY[HEADER] or BODY[HEADER.FIELDS (…)] of a header."""
    return section.cut(header if section.selection is None else section.selection.select(header))


def literal(octets: bytes) -> bytes:
    """RFC 3501 s4.3: a literal cannot hold NUL; 0x80 takes its place, as in Dovecot, so that offsets stay right."""
    if b"\0" in octets:
        octets = octets.replace(b"\0", b"\x80")
    return b"{%d}\r\n%b" % (len(octets), octets)
