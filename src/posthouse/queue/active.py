"""A message under delivery: what is known in memory while its recipients are being tried."""

from collections.abc import Callable
from typing import NamedTuple

from posthouse.core.address import Address
from posthouse.core.result import RecipientResult
from posthouse.queue.agents import Agent
from posthouse.queue.message import Message
from posthouse.queue.record import Deferral
from posthouse.queue.scheduler import Job


class Group(NamedTuple):
    """Recipients with the same group may share one delivery. `lane` and `destination` are the scheduler's words."""

    lane: str
    destination: str
    transport: str
    nexthop: str
    agent: str
    worker: int
    owner: Address | None


class Attempt:
    """What a scheduler's job is about: these recipients of this message, to this group. A job's payload."""

    __slots__ = ("active", "agent", "group", "indexes", "maybe")

    def __init__(self, active: "Active", group: Group, indexes: tuple[int, ...]) -> None:
        self.active = active
        self.group = group
        self.indexes = indexes
        self.agent: Agent | None = None
        self.maybe = active.maybe


class Active:
    """One round of attempts. It is over when `outstanding` (look-ups, jobs, records on their way) comes to zero; then
    `failures` are reported, `deferrals` recorded, and the message waits or is gone."""

    __slots__ = (
        "active_s",
        "content",
        "deferrals",
        "descriptor",
        "failures",
        "groups",
        "loading",
        "lost",
        "mailboxes",
        "maybe",
        "message",
        "on_end",
        "open_jobs",
        "outstanding",
        "paths",
        "removed",
        "resolving",
    )

    def __init__(self, message: Message, content: bytes | None, now_s: float, *, maybe: bool) -> None:
        self.message = message
        self.content = content
        self.descriptor = -1
        self.maybe = maybe
        self.active_s = now_s
        self.outstanding = 0
        self.resolving = 0
        self.open_jobs = 0
        self.groups: dict[Group, list[int]] = {}
        self.failures: dict[int, RecipientResult] = {}
        self.deferrals: dict[int, Deferral] = {}
        self.paths: set[tuple[str, str]] = set()
        """Lanes and destinations where jobs of this message may wait."""
        self.loading: list[Job] | None = None
        """Jobs that wait for the content to be read; None when nobody reads."""
        self.mailboxes: dict[int, str] = {}
        """For the agent: a virtual mailbox's path from its table, or what a local alias names."""
        self.lost = 0
        self.removed = False
        self.on_end: Callable[[], None] | None = None
