"""IDLE (RFC 2177). What happens meanwhile is the session's business; it answers when DONE comes."""

from typing import TYPE_CHECKING

from posthouse.access.imap.specification import Answer
from posthouse.protocol.imap.arguments import Arguments

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def idle(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.end()
    if session.selected is not None:
        session.selected.mailbox.refresh()
    session.write(b"+ idling\r\n")
    session.begin_idle()
    return None
