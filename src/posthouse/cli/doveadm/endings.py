"""How a command ends: Dovecot's exit statuses, most of them from sysexits.h."""

from typing import Final

OK: Final = 0
EX_USAGE: Final = 64
EX_DATAERR: Final = 65
"""What should be made is there already."""
EX_NOUSER: Final = 67
EX_NOHOST: Final = 68
"""A mailbox, or a session, that is not there."""
EX_UNAVAILABLE: Final = 69
EX_TEMPFAIL: Final = 75
EX_NOPERM: Final = 77


class Ended(Exception):
    """Stop here with this status; the text, if any, is for standard error."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status = status


class Fatal(Ended):
    """What Dovecot says with "Fatal: " in front."""

    def __init__(self, text: str, status: int = EX_TEMPFAIL) -> None:
        super().__init__(status, f"Fatal: {text}")
