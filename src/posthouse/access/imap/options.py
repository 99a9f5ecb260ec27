"""What the administrator decides about IMAP sessions."""

from dataclasses import dataclass, field
from typing import Self

from posthouse.access.conversation import Pace
from posthouse.config.parameter import Settings
from posthouse.config.parameters.access import (
    IMAP_IDLE_NOTIFY_INTERVAL,
    IMAP_LOGOUT_FORMAT,
    IMAP_MAX_LINE_LENGTH,
    IMAP_MAX_MESSAGE_SIZE,
)
from posthouse.config.parameters.login import IMAP_ID_SEND
from posthouse.protocol.imap.parser import ReaderLimits


@dataclass(frozen=True, slots=True)
class ImapOptions:
    limits: ReaderLimits = field(default_factory=lambda: ReaderLimits(message=64 * 1024 * 1024))
    pace: Pace = field(default_factory=Pace)
    separator: str = "."
    """Between levels of mailbox names on the wire; Dovecot's default for Maildir++."""
    idle_notify_s: float = 120.0
    logout_format: str = IMAP_LOGOUT_FORMAT.default
    id_send: str = IMAP_ID_SEND.default
    bad_commands: int = 20
    """Wrong commands in a row after which the client is shown the door (as Dovecot does)."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """`settings` are those of dovecot.conf."""
        line = settings[IMAP_MAX_LINE_LENGTH]
        return cls(
            limits=ReaderLimits(line=line, literal=line, message=settings[IMAP_MAX_MESSAGE_SIZE]),
            idle_notify_s=settings[IMAP_IDLE_NOTIFY_INTERVAL],
            logout_format=settings[IMAP_LOGOUT_FORMAT],
            id_send=settings[IMAP_ID_SEND],
        )
