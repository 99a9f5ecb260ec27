"""The steps between which a crash must lose nothing, by name; docs/queue-states.md describes each.

`reach(point)` marks the place in the code. Tests arm one point through the environment of a child process
(POSTHOUSE_CRASH_AT=NAME or NAME:n for the nth time); the process then kills itself there, as a power cut would.
"""

import enum
import os
import signal


class CrashPoint(enum.Enum):
    """Values are the numbers of the steps in docs/queue-states.md."""

    CONTENT_STREAMED = 1
    CONTENT_FLUSHED = 2
    RECORD_WRITTEN = 3
    RECORD_FLUSHED = 4
    ACCEPTED = 5
    JOB_SENT = 6
    OUTCOME_RECEIVED = 7
    RESULT_FLUSHED = 8
    BOUNCE_FLUSHED = 9
    SEGMENT_CREATED = 10
    INDEX_WRITTEN = 11
    INDEX_COMMITTED = 12
    MESSAGES_COPIED = 13
    COPIES_INDEXED = 14
    SEGMENT_RETIRED = 15
    MAILDROP_JOURNALLED = 16
    MAILDROP_REMOVED = 17


_name = ""
_left = 0


def arm(text: str) -> None:
    """For tests: die at this point, "NAME" or "NAME:n" for the nth time."""
    global _name, _left  # noqa: PLW0603  # one process, one death
    _name, _, count = text.partition(":")
    _left = int(count or 1)


def reach(point: CrashPoint) -> None:
    """Does nothing unless a test armed exactly this point."""
    global _left  # noqa: PLW0603  # as in arm
    if not _name or point.name != _name:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get("POSTHOUSE_CRASH_AT", ""))
