"""CLOSE (RFC 3501 s6.4.2) and UNSELECT (RFC 3691)."""

from typing import TYPE_CHECKING

from posthouse.access.imap.command.expunge import remove_deleted
from posthouse.access.imap.specification import Answer, Steps
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import ok

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def close(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.end()
    return _close(session)


def _close(session: "ImapSession") -> Steps:
    """RFC 3501 s6.4.2: no untagged EXPUNGE responses are sent, and none is removed if it was opened read-only."""
    selected = session.mailbox
    if not selected.read_only:
        yield from remove_deleted(session, None)
    session.select(None)
    return ok("Close completed.")


def unselect(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.end()
    session.select(None)
    return ok("Unselect completed.")
