"""SUBSCRIBE and UNSUBSCRIBE (RFC 3501 s6.3.6, s6.3.7)."""

from typing import TYPE_CHECKING

from posthouse.access.imap.specification import Answer, Steps
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import ok
from posthouse.store.interface import MailboxNotFound

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def subscribe(session: "ImapSession", arguments: Arguments) -> Answer:
    return _subscribe(session, arguments, subscribed=True)


def unsubscribe(session: "ImapSession", arguments: Arguments) -> Answer:
    """Also of a mailbox that is long gone."""
    return _subscribe(session, arguments, subscribed=False)


def _subscribe(session: "ImapSession", arguments: Arguments, *, subscribed: bool) -> Steps:
    arguments.space()
    name = session.names.read(arguments.astring())
    arguments.end()
    if subscribed and all(info.name != name for info in session.store.mailboxes()):
        # RFC 3501 s6.3.6 allows this check, and a mistyped name is better told now than never.
        raise MailboxNotFound(f"Mailbox doesn't exist: {session.names.to_wire(name)}")
    session.store.subscribe(name, subscribed)
    yield session.store.flush()
    return ok("Subscribe completed." if subscribed else "Unsubscribe completed.")
