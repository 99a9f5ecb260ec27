"""NOOP and CAPABILITY (RFC 3501 s6.1)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from posthouse.access.imap.specification import Answer
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import ok

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def noop(session: "ImapSession", arguments: Arguments) -> Answer:
    """The way to ask for news: foreign programs may have changed the mailbox."""
    arguments.end()
    if session.selected is not None:
        session.selected.mailbox.refresh()
    return ok("NOOP completed.")


def capability(capabilities: Sequence[str]) -> "Callable[[ImapSession, Arguments], Answer]":
    line = f"* CAPABILITY {' '.join(capabilities)}\r\n".encode("ascii")

    def answer(session: "ImapSession", arguments: Arguments) -> Answer:
        arguments.end()
        session.write(line)
        return ok("Capability completed.")

    return answer
