"""What master remembers of each worker: which process serves it now, which old ones still finish, when to try again."""

import enum
from dataclasses import dataclass, field
from typing import Final

from posthouse.runtime.control_channel import ControlChannel
from posthouse.runtime.spec import ProcessSpec

HEALTHY_S: Final = 60.0
"""A process that lived this long did not die of its start; the next one starts at once."""
FIRST_PAUSE_S: Final = 1.0


class Phase(enum.Enum):
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"


@dataclass(slots=True, eq=False)
class Child:
    """One process. `output` is what it wrote to standard error and has not been logged."""

    spec: ProcessSpec
    worker: int
    pid: int
    channel: ControlChannel
    stderr: int
    started_s: float
    listeners: frozenset[tuple[str, str, int]] = frozenset()
    """Keys of those it was given at its start."""
    phase: Phase = Phase.STARTING
    replaces: "Child | None" = None
    failure: str = ""
    output: bytes = b""
    channel_open: bool = True

    @property
    def name(self) -> str:
        return f"{self.spec.name} {self.worker}"


@dataclass(slots=True, eq=False)
class Slot:
    """One row and worker number of the process table."""

    spec: ProcessSpec
    worker: int
    child: Child | None = None
    replacement: Child | None = None
    """Started by a reload, not yet ready."""
    finishing: set[Child] = field(default_factory=set)
    pause_s: float = 0.0

    def pause_before_restart(self, lived_s: float, longest_s: float) -> float:
        """0 the first time, then 1, 2, 4 … seconds up to the limit, as long as it keeps dying young."""
        pause = 0.0 if lived_s >= HEALTHY_S else self.pause_s
        self.pause_s = min(max(pause * 2, FIRST_PAUSE_S), longest_s)
        return pause

    def children(self) -> list[Child]:
        return [one for one in (self.child, self.replacement, *self.finishing) if one is not None]
