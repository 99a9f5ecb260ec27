"""What main.cf and master.cf say about transports: which process delivers for one, and how much of it at once."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from posthouse.config.configuration import MasterEntry
from posthouse.config.parameter import Param, Settings
from posthouse.config.parameters.queue import (
    DEFAULT_DESTINATION_CONCURRENCY_FAILED_COHORT_LIMIT,
    DEFAULT_DESTINATION_CONCURRENCY_LIMIT,
    DEFAULT_DESTINATION_CONCURRENCY_NEGATIVE_FEEDBACK,
    DEFAULT_DESTINATION_CONCURRENCY_POSITIVE_FEEDBACK,
    DEFAULT_DESTINATION_RATE_DELAY,
    DEFAULT_DESTINATION_RECIPIENT_LIMIT,
    DEFAULT_TRANSPORT_RATE_DELAY,
    DEFER_TRANSPORTS,
    INITIAL_DESTINATION_CONCURRENCY,
    MINIMAL_BACKOFF_TIME,
    QUEUE_MAILBOX_JOB_LIMIT,
    TRANSPORT_OVERRIDES,
)
from posthouse.queue.scheduler import Limits

ERROR: Final = "error"
DISCARD: Final = "discard"
MAILBOX: Final = "mailbox"
SMTP: Final = "smtp"
LOCAL: Final = "local"

_AGENT_OF_COMMAND: Final = {
    "smtp": SMTP,
    "lmtp": SMTP,
    "relay": SMTP,
    "virtual": MAILBOX,
    "local": LOCAL,
    "error": ERROR,
    "retry": ERROR,
    "discard": DISCARD,
}
"""By the command of master.cf; a transport without an entry there is looked for under its own name. What is not here
(pipe, spawn) is no transport yet: its mail waits, and start has named it."""


class Transports:
    """One configuration's answers."""

    def __init__(self, settings: Settings, master: Sequence[MasterEntry], workers: Mapping[str, int]) -> None:
        self._settings = settings
        self._entries = {entry.endpoint: entry for entry in master if entry.kind in ("unix", "unix-dgram")}
        self._workers = workers
        deferred: tuple[str, ...] = settings[DEFER_TRANSPORTS]
        self.deferred = frozenset(deferred)
        self._limits: dict[str, Limits] = {}

    def agent(self, name: str) -> str:
        """Which process: "mailbox", "smtp", "local", "error", "discard", or "" if there is no such transport."""
        entry = self._entries.get(name)
        return _AGENT_OF_COMMAND.get(entry.command if entry else name, "")

    def lane(self, name: str, worker: int) -> str:
        """What the scheduler knows as a transport: each mailbox process by itself, so that one that is away holds up
        only its own users."""
        return f"{name}/{worker}" if self._workers.get(MAILBOX, 1) > 1 and self.agent(name) == MAILBOX else name

    def limits(self, lane: str) -> Limits:
        name = lane.partition("/")[0]
        limits = self._limits.get(name)
        if limits is None:
            limits = self._limits[name] = self._make(name)
        return limits

    def _make(self, name: str) -> Limits:
        settings = self._settings
        agent = self.agent(name)
        open_limit = settings[QUEUE_MAILBOX_JOB_LIMIT] if agent == MAILBOX else 0
        return Limits(
            processes=self._processes(name),
            concurrency=self._value(name, DEFAULT_DESTINATION_CONCURRENCY_LIMIT),
            initial=self._value(name, INITIAL_DESTINATION_CONCURRENCY),
            positive=self._value(name, DEFAULT_DESTINATION_CONCURRENCY_POSITIVE_FEEDBACK),
            negative=self._value(name, DEFAULT_DESTINATION_CONCURRENCY_NEGATIVE_FEEDBACK),
            failed_cohorts=self._value(name, DEFAULT_DESTINATION_CONCURRENCY_FAILED_COHORT_LIMIT),
            recipients=self._value(name, DEFAULT_DESTINATION_RECIPIENT_LIMIT),
            rate_delay_s=self._value(name, DEFAULT_DESTINATION_RATE_DELAY),
            transport_rate_delay_s=self._value(name, DEFAULT_TRANSPORT_RATE_DELAY),
            dead_time_s=settings[MINIMAL_BACKOFF_TIME],
            open_limit=open_limit,
        )

    def _processes(self, name: str) -> int:
        """maxproc counts deliveries, as its users mean it."""
        entry = self._entries.get(name)
        if entry is not None and entry.maxproc.isdecimal():
            return int(entry.maxproc)
        try:
            return int(self._settings.text("default_process_limit"))
        except (KeyError, ValueError):
            return 100

    def _value(self, name: str, general: Param[Any]) -> Any:
        """TRANSPORT_<suffix> if it says something, else the general parameter."""
        suffix = _SUFFIXES[general.name]
        specific = f"{name}_{suffix}"
        if self._settings.raw_text_or_none(specific) is not None:
            return general.parse(self._settings.text(specific))
        return self._settings[general]


_SUFFIXES: Final = {general.name: suffix for suffix, general in TRANSPORT_OVERRIDES.items()}
