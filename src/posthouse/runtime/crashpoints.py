"""Named steps between two system calls at which a test lets the process die; shared by everything that writes mail.

Each area enumerates its own steps (`queue.crashpoints`, `store.crashpoints`, `delivery.crashpoints`) as a subclass of
`CrashPoint` and marks them in the code with `reach`. Tests arm one through the environment of a child process
(POSTHOUSE_CRASH_AT=NAME or NAME:n for the nth time) or with `arm`; the process then kills itself there.
"""

import enum
import os
import signal


class CrashPoint(enum.Enum):
    """A step of an area; names are unique in the whole product."""


_name = ""
_left = 0


def arm(text: str) -> None:
    """For tests: die at this point, "NAME" or "NAME:n" for the nth time."""
    global _name, _left  # noqa: PLW0603  # one process, one death
    _name, _, count = text.partition(":")
    _left = int(count or 1)


def reach(point: CrashPoint) -> None:
    """One comparison, unless a test armed exactly this point."""
    if _name and point.name == _name:
        _die()


def _die() -> None:
    global _left  # noqa: PLW0603  # as in arm
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get("POSTHOUSE_CRASH_AT", ""))
