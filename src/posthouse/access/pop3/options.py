"""What the administrator decides about POP3 sessions."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from posthouse.access.conversation import Pace
from posthouse.config.parameter import Settings
from posthouse.config.parameters.access import POP3_LOGOUT_FORMAT, POP3_NO_FLAG_UPDATES, POP3_UIDL_FORMAT
from posthouse.core.identifiers import Uid, UidValidity
from posthouse.protocol.pop3.uidl import compile_uidl_format


@dataclass(frozen=True, slots=True)
class Pop3Options:
    pace: Pace = field(default_factory=lambda: Pace(idle_limit_s=600.0))
    uidl: Callable[[Uid, UidValidity], bytes] = field(
        default_factory=lambda: compile_uidl_format(POP3_UIDL_FORMAT.default)
    )
    mark_seen: bool = True
    """Messages fetched with RETR are \\Seen (pop3_no_flag_updates says no)."""
    logout_format: str = POP3_LOGOUT_FORMAT.default
    bad_commands: int = 20
    """Wrong commands in a row after which the client is shown the door (as Dovecot does)."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """`settings` are those of dovecot.conf."""
        return cls(
            uidl=settings[POP3_UIDL_FORMAT],
            mark_seen=not settings[POP3_NO_FLAG_UPDATES],
            logout_format=settings[POP3_LOGOUT_FORMAT],
        )
