"""Named places between two system calls where a test lets the process die.

`reached` costs one comparison. Nothing but a test sets `on_reached`; what must hold after a death at each step is
written in tests/store/test_crashes.py.
"""

import enum
from collections.abc import Callable


class Step(enum.Enum):
    DELIVERY_WRITTEN = "the file is in tmp, complete, not yet named in new"
    DELIVERY_NAMED = "the file is in new, nothing flushed"
    UIDS_RESERVED = "a block of UIDs is on disk, none of them shown"
    UIDS_ASSIGNED = "messages have UIDs in memory, their rows are not yet written"
    FLAGS_RENAMED = "files are renamed, the index knows the old names"
    TOMBSTONE_STORED = "the tombstone is durable, the file still stands"
    EXPUNGED = "files are gone, the index still has them"
    COPIED = "files of a copy stand in the target, the index does not know them"
    MOVED = "files of a move stand in the target, the index knows neither side"
    FOLDER_RENAMED = "the folder has its new name, the index the old one"


on_reached: Callable[[Step], None] | None = None


def reached(step: Step) -> None:
    if on_reached is not None:
        on_reached(step)
