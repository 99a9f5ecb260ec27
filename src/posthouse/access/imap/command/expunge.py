"""EXPUNGE (RFC 3501 s6.4.3) and UID EXPUNGE (RFC 4315 s2.1)."""

from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Final

from posthouse.access.imap.specification import Answer, Steps
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import no, ok
from posthouse.protocol.imap.sequence import SequenceSet, parse_sequence_set
from posthouse.store.interface import DELETED

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession

MIN_CHUNK: Final = 50
MAX_CHUNK: Final = 500
"""Messages removed between two looks at the clock. Each may be a file; each call costs something for every message of
the mailbox, so that large mailboxes are worked through in larger steps."""


def expunge(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.end()
    return _expunge(session, None)


def uid_expunge(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.space()
    numbers = parse_sequence_set(arguments.sequence_set())
    arguments.end()
    return _expunge(session, numbers)


def _expunge(session: "ImapSession", numbers: SequenceSet | None) -> Steps:
    if session.mailbox.read_only:
        return no("Mailbox is read-only", "READ-ONLY")
    yield from remove_deleted(session, numbers)
    return ok("Expunge completed.")


def remove_deleted(
    session: "ImapSession", numbers: SequenceSet | None
) -> Generator[Awaitable[None] | None, None, None]:
    """Remove what is marked \\Deleted, of all messages or of these UIDs, durably."""
    selected = session.mailbox
    selected.catch_up()
    rows = selected.rows if numbers is None else selected.chosen(numbers, uid=True)
    uids = [row.uid for row in rows if DELETED in row.flags]
    chunk = min(max(MIN_CHUNK, len(selected.rows) // 100), MAX_CHUNK)
    for at in range(0, len(uids), chunk):
        gone = selected.mailbox.expunge(uids[at : at + chunk], session)
        session.statistics.expunged += len(gone)
        yield None
    if uids:
        yield session.store.flush()
