"""DELETE (RFC 3501 s6.3.4)."""

from typing import TYPE_CHECKING

from posthouse.access.imap.specification import Answer, Steps
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import ok

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def delete(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.space()
    name = session.names.read(arguments.astring())
    arguments.end()
    return _delete(session, name)


def _delete(session: "ImapSession", name: str) -> Steps:
    if session.selected is not None and session.selected.mailbox.name == name:
        # The messages of a deleted mailbox have no numbers any more; Dovecot closes it in the same way.
        session.select(None)
        session.write(b"* OK [CLOSED] Selected mailbox is being deleted.\r\n")
    session.store.delete(name)
    yield session.store.flush()
    return ok("Delete completed.")
