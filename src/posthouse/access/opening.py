"""What a session is told at its beginning: who, from where, and what the client already sent."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Opening:
    user: str
    tag: str = ""
    """Of the IMAP command that logged in; "" greets with PREAUTH."""
    unread: bytes = b""
    """What the client sent behind that command."""
    remote: str = ""
    local: str = ""
    session: str = ""
    """The session id of the log (login made it)."""
    secured: bool = False
