"""What every attempt of a process shares: connections, DNS, tables, the clock and the log."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from posthouse.core.clock import Clock
from posthouse.core.logline import LogLine
from posthouse.delivery.outbound.hosts import HostFinder
from posthouse.delivery.outbound.loglines import LmtpNote, SmtpNote
from posthouse.delivery.outbound.opening import Opener
from posthouse.delivery.outbound.pool import Pool
from posthouse.delivery.outbound.session import Session, SessionError
from posthouse.delivery.outbound.settings import AgentSettings
from posthouse.delivery.outbound.transport import Transport
from posthouse.runtime.schema import Record

Respond = Callable[[Record], None]
Lookup = Callable[[str, str], Awaitable[str | None]]
"""Parameter and key to value, from the tables process. Raises MailError."""


class Surroundings:
    def __init__(
        self,
        finder: HostFinder,
        lookup: Lookup,
        clock: Clock,
        emit: Callable[[LogLine], None],
        report: Callable[[str, BaseException | None], None],
    ) -> None:
        self.finder = finder
        self.lookup = lookup
        self.clock = clock
        self.emit = emit
        self.report = report
        self.pool = Pool(clock)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._openers: dict[int, Opener] = {}

    def future(self) -> "asyncio.Future[SessionError | None]":
        return self._loop.create_future()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def opener(self, transport: Transport) -> Opener:
        opener = self._openers.get(id(transport))
        if opener is None:
            settings = transport.settings
            opener = self._openers[id(transport)] = Opener(
                settings, transport.contexts, self.clock.monotonic, lambda words: self.note(settings, words), self.watch
            )
        return opener

    def watch(self, session: Session) -> None:
        self.pool.watch(session)

    def note(self, settings: AgentSettings, words: str) -> None:
        self.emit(LmtpNote(words) if settings.lmtp else SmtpNote(words))

    @property
    def busy(self) -> int:
        return len(self._tasks)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.pool.close()
