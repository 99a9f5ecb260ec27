"""LOGOUT (RFC 3501 s6.1.3)."""

from typing import TYPE_CHECKING

from posthouse.access.imap.specification import Answer
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import ok

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def logout(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.end()
    session.select(None)
    session.write(b"* BYE Logging out\r\n")
    session.end("Logged out")
    return ok("Logout completed.")
