"""Deliveries become durable in batches: at most one flush in flight and one per interval, the first one at once."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from posthouse.store.interface import StorageFailed
from posthouse.store.maildir.store import FlushMark, MaildirStore

Errors = dict[MaildirStore, StorageFailed]
Finish = Callable[[Errors], None]
"""Told which of the stores did not get their data to disk."""

_NO_ERRORS: Final[Errors] = {}


class Checkpoint:
    def __init__(self, interval_s: float, on_bug: Callable[[str, BaseException], None]) -> None:
        self.interval_s = interval_s
        self.flushes = 0
        self._on_bug = on_bug
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Sequence[MaildirStore], Finish]] = []
        self._is_urgent = False
        self._last_s = -1e9
        self._timer: asyncio.Handle | None = None
        self._running: asyncio.Task[None] | None = None

    def add(self, stores: Sequence[MaildirStore], finish: Finish, *, is_urgent: bool = False) -> None:
        """These stores were written to; `finish` is called when it is on disk, or cannot be. With `is_urgent` somebody
        does nothing else until then: the interval is not waited for, only a flush that is under way."""
        self._waiting.append((stores, finish))
        if is_urgent and not self._is_urgent:
            self._is_urgent = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        self._arm()

    def _arm(self) -> None:
        if self._timer is None and self._running is None and self._waiting:
            wait_s = 0.0 if self._is_urgent else self._last_s + self.interval_s - self._loop.time()
            # call_soon: what else came in with this turn of the loop is taken along.
            self._timer = (
                self._loop.call_later(wait_s, self._begin) if wait_s > 0 else self._loop.call_soon(self._begin)
            )

    def _begin(self) -> None:
        self._timer = None
        self._last_s = self._loop.time()
        batch, self._waiting = self._waiting, []
        self._is_urgent = False
        self._running = self._loop.create_task(self._flush(batch))
        self._running.add_done_callback(self._over)

    def _over(self, task: "asyncio.Task[None]") -> None:
        self._running = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_bug("flushing deliveries", error)
        self._arm()

    async def _flush(self, batch: list[tuple[Sequence[MaildirStore], Finish]]) -> None:
        errors: Errors = {}
        marks: dict[MaildirStore, FlushMark] = {}
        for stores, _ in batch:
            for store in stores:
                if store not in marks and store not in errors:
                    try:
                        marks[store] = store.begin_flush()
                    except StorageFailed as error:
                        errors[store] = error
        for volume in {store.volume for store in marks}:
            try:
                await volume.flush(volume.failures)
            except StorageFailed as error:
                errors.update({store: error for store in marks if store.volume is volume})
        self.flushes += 1
        for store, mark in marks.items():
            try:
                if store in errors:
                    store.abandon_flush(mark)
                else:
                    store.end_flush(mark)
            except StorageFailed as error:
                errors[store] = error
            except OSError as error:  # nobody may be left without an answer
                errors[store] = StorageFailed("Internal error: cannot flush to disk", str(error))
        for _, finish in batch:
            try:
                finish(errors or _NO_ERRORS)
            except Exception as error:  # one job's bug must not leave the others unanswered
                self._on_bug("answering a delivery", error)

    async def drained(self) -> None:
        """Nothing waits any more."""
        while self._waiting or self._running is not None or self._timer is not None:
            if self._timer is not None:
                self._timer.cancel()
                self._begin()
            if self._running is not None:
                await asyncio.wait([self._running])
            await asyncio.sleep(0)
