"""ENABLE (RFC 5161): no extension that we offer needs it yet, so nothing is enabled."""

from typing import TYPE_CHECKING

from posthouse.access.imap.specification import Answer
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import ok

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def enable(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.space()
    _ = arguments.atom()
    while arguments.maybe_space() and not arguments.at_end():
        _ = arguments.atom()
    arguments.end()
    # RFC 5161 s3.1: unknown ones are ignored, and ENABLED is sent even if it names none.
    session.write(b"* ENABLED\r\n")
    return ok("Enabled.")
