"""What somebody else may say about a login, apart from whether the password is right."""

import enum
from collections.abc import Callable
from typing import Protocol

import msgspec

from posthouse.auth.databases.lookup import Question


class Decision(enum.Enum):
    GO_ON = "go on"
    REFUSE = "refuse"
    UNKNOWN = "unknown"
    """The server could not be asked, and without it nobody may log in."""


class Attempt(msgspec.Struct, frozen=True):
    """One login. `password` None: it was not shown."""

    login: str
    password: bytes | None
    question: Question


class Policy(Protocol):
    """Answers by callback, now or later."""

    def before(self, attempt: Attempt, answer: Callable[[Decision], None]) -> None:
        """Before the password is looked at."""
        ...

    def after(self, attempt: Attempt, *, success: bool, answer: Callable[[Decision], None]) -> None: ...

    def report(self, attempt: Attempt, *, success: bool, policy_reject: bool) -> None: ...

    def close(self) -> None: ...


class UnusablePolicy:
    """Stands for settings that cannot be used, where nobody may log in without the policy server."""

    def before(self, attempt: Attempt, answer: Callable[[Decision], None]) -> None:  # noqa: ARG002
        answer(Decision.UNKNOWN)

    def after(self, attempt: Attempt, *, success: bool, answer: Callable[[Decision], None]) -> None:  # noqa: ARG002
        answer(Decision.UNKNOWN)

    def report(self, attempt: Attempt, *, success: bool, policy_reject: bool) -> None:
        pass

    def close(self) -> None:
        pass
