"""One-time tickets: the proof that this user has just logged in for this service.

`login` cannot open a mailbox by itself: it passes on a ticket, and the mailbox process redeems it here. A ticket is
good once, for one service, for a short time.
"""

import secrets
from collections.abc import Mapping
from typing import Final

TICKET_OCTETS: Final = 32
MAXIMAL_OPEN: Final = 100_000
"""Tickets out at the same time; the oldest is forgotten beyond that. Redeeming normally takes milliseconds."""
_NOTHING: Final[Mapping[str, str]] = {}


class Tickets:
    def __init__(self, lifetime_s: float) -> None:
        self.lifetime_s = lifetime_s
        self._open: dict[bytes, tuple[str, str, float, Mapping[str, str]]] = {}
        """In the order of issue, which is the order of expiry."""

    def __len__(self) -> int:
        return len(self._open)

    def issue(self, user: str, service: str, now_s: float, fields: Mapping[str, str] | None = None) -> bytes:
        """`fields`: what the password database said about the user."""
        self._expire(now_s)
        ticket = secrets.token_bytes(TICKET_OCTETS)
        self._open[ticket] = (user, service, now_s + self.lifetime_s, fields or _NOTHING)
        return ticket

    def redeem(self, ticket: bytes, service: str, now_s: float) -> tuple[str, Mapping[str, str]] | None:
        """The user and those fields, or None. Whatever the answer, this ticket is used up."""
        user, issued_for, until_s, fields = self._open.pop(ticket, ("", "", 0.0, _NOTHING))
        return (user, fields) if user and issued_for == service and until_s > now_s else None

    def _expire(self, now_s: float) -> None:
        while self._open:
            oldest = next(iter(self._open))
            if self._open[oldest][2] > now_s and len(self._open) < MAXIMAL_OPEN:
                return
            del self._open[oldest]
