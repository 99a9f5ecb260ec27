"""Time as an argument: engines take a `Clock`, tests give one that stands still or leaps."""

from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix time in seconds; may be set back by an administrator."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow, for measuring and for time limits."""
        ...
