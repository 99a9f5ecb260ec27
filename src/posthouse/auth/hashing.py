"""Password checks in threads, with turns.

A check computes for tens of milliseconds on purpose, so a few clients that guess passwords could keep everybody else
waiting. Clients (addresses) take turns here: whoever asks once waits for at most one check of each other client,
however long their own queues are. Both the queue of one client and all of them together are bounded.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from posthouse.auth.schemes import verify

Answer = Callable[[Any], None]
"""Called in the event loop, with what was computed or the exception."""


class Busy(Exception):
    """Too many checks are waiting."""


class _Check:
    __slots__ = ("answer", "work")

    def __init__(self, work: Callable[[], object], answer: Answer) -> None:
        self.work = work
        self.answer = answer


class HashPool:
    def __init__(self, threads: int, backlog: int, backlog_per_client: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = threads
        self._started: list[threading.Thread] = []
        self._work: SimpleQueue[_Check | None] = SimpleQueue()
        self._results: deque[tuple[_Check, object]] = deque()
        self._is_woken = False
        self._is_closed = False
        self._running = 0
        self._backlog = backlog
        self._backlog_per_client = backlog_per_client
        self._waiting = 0
        self._queues: dict[str, deque[_Check]] = {}
        """Only clients that wait; the order of the dict is the order of their turns."""

    @property
    def waiting(self) -> int:
        return self._waiting

    def verify(
        self, client: str, stored: str, password: bytes, default_scheme: str, answer: Answer, *, user: str = ""
    ) -> None:
        """Answers right or wrong. Raises Busy."""
        self.run(client, partial(verify, stored, password, default_scheme, user), answer)

    def run(self, client: str, work: Callable[[], object], answer: Answer) -> None:
        """Raises Busy."""
        check = _Check(work, answer)
        if self._running < self._threads:
            self._run(check)
            return
        queue = self._queues.get(client)
        # Whoever asks without saying for whom (a server with its own clients) speaks for many.
        most = self._backlog_per_client if client else self._backlog
        if self._waiting >= self._backlog or (queue is not None and len(queue) >= most):
            raise Busy
        if queue is None:
            queue = self._queues[client] = deque()
        queue.append(check)
        self._waiting += 1

    def close(self) -> None:
        self._queues.clear()
        self._waiting = 0
        self._is_closed = True
        for _ in range(self._threads):
            self._work.put(None)

    def _run(self, check: _Check) -> None:
        self._running += 1
        if len(self._started) < min(self._running, self._threads):
            thread = threading.Thread(target=self._compute, name=f"hash{len(self._started)}", daemon=True)
            self._started.append(thread)
            thread.start()
        self._work.put(check)

    def _compute(self) -> None:
        """In a thread. One wake-up of the loop serves all results that are there when it comes."""
        while (check := self._work.get()) is not None:
            result: object
            try:
                result = check.work()
            except Exception as error:
                result = error
            self._results.append((check, result))
            if not self._is_woken:
                self._is_woken = True
                try:
                    self._loop.call_soon_threadsafe(self._finished)
                except RuntimeError:
                    # The loop has ended, and with it everybody who waited.
                    return

    def _finished(self) -> None:
        finished = []
        # First: whoever adds a result behind the last one taken here wakes us again.
        self._is_woken = False
        while self._results:
            finished.append(self._results.popleft())
        self._running -= len(finished)
        if self._is_closed:
            return
        for _ in finished:
            self._next()
        for check, result in finished:
            check.answer(result)

    def _next(self) -> None:
        for client, queue in self._queues.items():
            check = queue.popleft()
            self._waiting -= 1
            del self._queues[client]
            if queue:
                self._queues[client] = queue
            self._run(check)
            return
