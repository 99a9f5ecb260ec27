"""What was acknowledged, by the marks that messages carry.

A message's fate is known in three degrees: it must be there, it must not, or both are fine because an answer did not
come (a lost connection tells nothing). What is there is then held against it.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

INBOX: Final = "INBOX"


@dataclass
class Accepted:
    """A message that was sent to one destination: an address of ours, a system user, or the relay domain."""

    destination: str
    acknowledged: bool = False


@dataclass
class Sighting:
    """What one reader did with one message in his mailboxes: `places` are the mailboxes where it may be now (None:
    nowhere); exactly one of them is true. `flags`: True, False, or None if a STORE was not answered."""

    places: set[str | None]
    flags: dict[str, bool | None] = field(default_factory=dict)
    shaky: set[str | None] = field(default_factory=set)
    """Where it may have been before it was last seen, by an operation that was not answered with OK: after a power cut
    it may be there again."""
    is_condemned: bool = False
    """Its reader asked to expunge it. If that was not answered with OK it may still go later: it was wanted to."""
    history: list[str] = field(default_factory=list)
    """What was asked, and what was answered: for whoever looks for the reason of a finding."""


class Ledger:
    """Written by the threads of the load, read when they have ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counter = 0
        self.accepted: dict[tuple[str, str], Accepted] = {}
        self.readers: dict[str, dict[str, Sighting]] = {}
        """By user, then by mark."""
        self.retired: set[str] = set()
        """Marks of messages that were accounted for and then removed: none of them may ever appear again."""
        self.uids: dict[tuple[str, str, str, int], str] = {}
        """(user, mailbox, UIDVALIDITY, UID) → mark: a UID names one message for ever."""
        self.total = 0

    def new_mark(self, prefix: str) -> str:
        with self._lock:
            self._counter += 1
            self.total += 1
            return f"{prefix}-{self._counter}"

    def send(self, mark: str, destination: str) -> Accepted:
        entry = Accepted(destination)
        with self._lock:
            self.accepted[mark, destination] = entry
        return entry

    def sightings(self, user: str) -> dict[str, Sighting]:
        with self._lock:
            return self.readers.setdefault(user, {})

    def retire(self, marks: Iterable[str]) -> None:
        with self._lock:
            self.retired.update(marks)
            self.accepted.clear()
            for seen in self.readers.values():
                seen.clear()
