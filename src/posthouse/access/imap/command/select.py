"""SELECT and EXAMINE (RFC 3501 s6.3.1, s6.3.2)."""

from typing import TYPE_CHECKING

from posthouse.access.imap.selected import SelectedMailbox
from posthouse.access.imap.specification import Answer
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import ok
from posthouse.store.interface import SEEN

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def select(session: "ImapSession", arguments: Arguments) -> Answer:
    return _select(session, arguments, read_only=False)


def examine(session: "ImapSession", arguments: Arguments) -> Answer:
    return _select(session, arguments, read_only=True)


def _select(session: "ImapSession", arguments: Arguments, *, read_only: bool) -> Answer:
    arguments.space()
    octets = arguments.astring()
    arguments.end()
    # RFC 3501 s6.3.1: a failed SELECT leaves no mailbox selected. RFC 7162 s3.2.11: CLOSED says where the old one ends.
    if session.selected is not None:
        session.select(None)
        session.write(b"* OK [CLOSED] Previous mailbox closed.\r\n")
    mailbox = session.store.open(session.names.read(octets))
    mailbox.refresh()
    selected = SelectedMailbox(mailbox, session, session.texts, session.news, read_only=read_only)
    session.select(selected)
    session.write(
        b"%b* %d EXISTS\r\n* %d RECENT\r\n" % (selected.flags_response(), len(selected.rows), len(selected.recent))
    )
    for number, row in enumerate(selected.rows, 1):
        if SEEN not in row.flags:
            session.write(b"* OK [UNSEEN %d] First unseen.\r\n" % number)
            break
    session.write(
        b"* OK [UIDVALIDITY %d] UIDs valid\r\n* OK [UIDNEXT %d] Predicted next UID\r\n"
        % (mailbox.uid_validity, mailbox.uid_next)
    )
    if read_only:
        return ok("Examine completed.", "READ-ONLY")
    return ok("Select completed.", "READ-WRITE")
