"""CHECK (RFC 3501 s6.4.1): everything is on stable storage when it is answered."""

from typing import TYPE_CHECKING

from posthouse.access.imap.specification import Answer, Steps
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import ok

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def check(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.end()
    return _check(session)


def _check(session: "ImapSession") -> Steps:
    session.mailbox.mailbox.refresh()
    yield session.store.flush()
    return ok("Check completed.")
