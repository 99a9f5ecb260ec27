"""FETCH (RFC 3501 s6.4.5): `columns` answers what the index knows, `sections` what is in the message itself."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from posthouse.access.imap.columns import OF_ROW, answer, needs_content
from posthouse.access.imap.sections import OpenMessage, write_sections
from posthouse.access.imap.specification import Answer, Steps
from posthouse.core.identifiers import Uid
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.fetch import FetchItem, Item, Section, parse_fetch_items
from posthouse.protocol.imap.response import ok
from posthouse.protocol.imap.sequence import SequenceSet, parse_sequence_set
from posthouse.store.interface import SEEN, FlagChange, MessageRow

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession

ROW_CHUNK: Final = 1000
"""Rows answered between two looks at the clock: about a millisecond."""

TEXT_CHUNK: Final = 100
"""The same where ready-made texts are read from the index."""

SEEN_CHUNK: Final = 200
"""Messages that are marked \\Seen together: each call may copy a list of rows and write a transaction."""


def fetch(session: "ImapSession", arguments: Arguments) -> Answer:
    return _parse(session, arguments, uid=False)


def uid_fetch(session: "ImapSession", arguments: Arguments) -> Answer:
    return _parse(session, arguments, uid=True)


def _parse(session: "ImapSession", arguments: Arguments, *, uid: bool) -> Answer:
    arguments.space()
    numbers = parse_sequence_set(arguments.sequence_set())
    arguments.space()
    items = parse_fetch_items(arguments)
    if uid and Item.UID not in items:
        # RFC 3501 s6.4.8: UID FETCH answers the UID whether it was asked for or not.
        items = (Item.UID, *items)
    return _fetch(session, numbers, items, uid=uid)


def _fetch(session: "ImapSession", numbers: SequenceSet, items: tuple[FetchItem, ...], *, uid: bool) -> Steps:
    selected = session.mailbox
    selected.catch_up()
    spans = selected.spans(numbers, uid=uid)
    by_message = any(needs_content(item) for item in items)
    size = 1 if by_message else ROW_CHUNK if OF_ROW.issuperset(items) else TEXT_CHUNK
    marks = not selected.read_only and any(isinstance(item, Section) and not item.peek for item in items)
    sections = sum(isinstance(item, Section) for item in items)
    seen: list[Uid] = []
    asked = found = 0
    try:
        for first, behind in spans:
            for at in range(first, behind, size):
                rows = selected.rows[at : min(at + size, behind)]
                shown = items
                if marks and any(SEEN not in row.flags for row in rows):
                    rows = _as_seen(rows, seen)
                    # RFC 3501 s6.4.5: the new flags SHOULD be part of the FETCH response.
                    shown = items if Item.FLAGS in items else (*items, Item.FLAGS)
                asked += len(rows)
                if by_message:
                    found += _answer_message(session, at + 1, rows[0], shown)
                else:
                    octets, count = answer(selected, range(at + 1, at + 1 + len(rows)), rows, shown)
                    found += count
                    if sections:
                        session.statistics.header_count += count * sections
                        session.statistics.header_octets += len(octets)
                    session.write(octets)
                if len(seen) >= SEEN_CHUNK:
                    _mark_seen(session, seen)
                yield None
    finally:
        _mark_seen(session, seen)
    if found < asked:
        # RFC 2180 s4.1: the client has not been told yet that some are gone.
        return ok("Some messages were already expunged.", "EXPUNGEISSUED")
    return ok("Fetch completed.")


def _answer_message(session: "ImapSession", number: int, row: MessageRow, items: Sequence[FetchItem]) -> int:
    """One message with its content; 0 if it is gone."""
    selected = session.mailbox
    message = session.open_message
    if message is None or message.uid != row.uid:
        content = selected.mailbox.content(row.uid)
        if content is None:
            return 0
        message = OpenMessage(row.uid, content)
    sections = [item for item in items if isinstance(item, Section)]
    session.open_message = message if message.worth_keeping(sections) else None
    others = [item for item in items if isinstance(item, Item)]
    if others:
        octets, count = answer(selected, (number,), (row,), others)
        if not count:
            return 0
        session.write(octets[:-3])
    else:
        session.write(b"* %d FETCH (" % number)
    write_sections(session.write, session.statistics, sections, message, first=not others)
    session.write(b")\r\n")
    return 1


def _as_seen(rows: Sequence[MessageRow], seen: list[Uid]) -> list[MessageRow]:
    """The rows as they are once they are marked; which have to be is added to `seen`."""
    shown: list[MessageRow] = []
    for row in rows:
        if SEEN in row.flags:
            shown.append(row)
        else:
            seen.append(row.uid)
            shown.append(MessageRow(row.uid, row.flags | {SEEN}, row.internal_date_s, row.size, row.modseq))
    return shown


def _mark_seen(session: "ImapSession", uids: list[Uid]) -> None:
    if uids and session.selected is not None:
        marked, uids[:] = uids[:], []
        _ = session.selected.mailbox.store_flags(marked, FlagChange.ADD, frozenset({SEEN}), session)
