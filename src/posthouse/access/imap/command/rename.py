"""RENAME (RFC 3501 s6.3.5)."""

from typing import TYPE_CHECKING

from posthouse.access.imap.specification import Answer, Steps
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import ok

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def rename(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.space()
    old = session.names.read(arguments.astring())
    arguments.space()
    new = session.names.read(arguments.astring())
    arguments.end()
    return _rename(session, old, new)


def _rename(session: "ImapSession", old: str, new: str) -> Steps:
    session.store.rename(old, new)
    yield session.store.flush()
    return ok("Rename completed.")
