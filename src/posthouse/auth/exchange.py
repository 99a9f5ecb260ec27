"""SASL exchanges that are under way, and answers that wait.

Exchanges belong to the connection of the process that started them (`Exchanges`, one per connection). A refusal is
held back until auth_failure_delay after the attempt: guessing gets slow, and the time of the answer tells nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from posthouse.auth.databases.lookup import Question
from posthouse.auth.passdb import Verdict
from posthouse.auth.policy import Attempt
from posthouse.protocol.sasl.mechanism import ServerMechanism
from posthouse.runtime.ipc import Responder
from posthouse.runtime.schema import Authenticate, AuthFailure, Record

MAXIMAL_DELAYED = 100_000
"""Refusals held back at the same time; beyond that the oldest leaves early. Each is one small tuple."""


class Exchange:
    __slots__ = (
        "attempt",
        "begun_s",
        "mechanism",
        "opens_mailbox",
        "question",
        "refused",
        "request",
        "until_s",
        "verdict",
    )

    def __init__(
        self,
        request: Authenticate,
        mechanism: ServerMechanism,
        now_s: float,
        timeout_s: float,
        *,
        opens_mailbox: bool,
    ) -> None:
        self.request = request
        self.opens_mailbox = opens_mailbox
        """Is its success a ticket?"""
        self.mechanism = mechanism
        self.question = _question(request)
        self.verdict = Verdict("")
        """What the databases said, while the client still has to prove that it knows the secret."""
        self.refused: AuthFailure | None = None
        """How it ends after the client's next message, whatever that is."""
        self.attempt: Attempt | None = None
        """What the policy server was told about it."""
        self.begun_s = now_s
        self.until_s = now_s + timeout_s


def _question(request: Authenticate) -> Question:
    return Question(
        "",
        request.service,
        request.remote,
        request.local,
        request.mechanism.upper(),
        request.log_session,
        request.secured,
    )


class Exchanges:
    """What one client process has open, by its own numbers."""

    def __init__(self) -> None:
        self._open: dict[int, Exchange] = {}

    def __len__(self) -> int:
        return len(self._open)

    def put(self, exchange: Exchange) -> None:
        self._open[exchange.request.session] = exchange

    def take(self, session: int) -> Exchange | None:
        return self._open.pop(session, None)

    def expire(self, now_s: float) -> None:
        for session in [session for session, one in self._open.items() if one.until_s <= now_s]:
            del self._open[session]


class DelayedAnswers:
    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._waiting: deque[tuple[float, Responder, Record]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, at_s: float, respond: Responder, answer: Record) -> None:
        if at_s <= self._monotonic():
            respond(answer)
            return
        if len(self._waiting) >= MAXIMAL_DELAYED:
            _, early, its_answer = self._waiting.popleft()
            early(its_answer)
        self._waiting.append((at_s, respond, answer))
        self._arm()

    def flush(self) -> None:
        """Answer everybody now: the service stops."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            _, respond, answer = self._waiting.popleft()
            respond(answer)

    def _arm(self) -> None:
        if self._timer is None and self._waiting:
            pause_s = max(0.0, self._waiting[0][0] - self._monotonic())
            self._timer = asyncio.get_running_loop().call_later(pause_s, self._due)

    def _due(self) -> None:
        self._timer = None
        now_s = self._monotonic()
        # In the order of arrival; attempts took their hashes at different speeds, so one may leave a little late.
        while self._waiting and self._waiting[0][0] <= now_s:
            _, respond, answer = self._waiting.popleft()
            respond(answer)
        self._arm()
