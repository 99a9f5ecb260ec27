"""Password checks in threads, with turns.

A check computes for tens of milliseconds on purpose, so a few clients that guess passwords could keep everybody else
waiting. Clients (addresses) take turns here: whoever asks once waits for at most one check of each other client,
however long their own queues are. Both the queue of one client and all of them together are bounded.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from posthouse.auth.schemes import verify

Answer = Callable[[bool | Exception], None]
"""Called in the event loop: right, wrong, or why that could not be found out."""


class Busy(Exception):
    """Too many checks are waiting."""


class _Check:
    __slots__ = ("answer", "default_scheme", "password", "stored", "user")

    def __init__(self, stored: str, password: bytes, default_scheme: str, user: str, answer: Answer) -> None:
        self.stored = stored
        self.password = password
        self.default_scheme = default_scheme
        self.user = user
        self.answer = answer


class HashPool:
    def __init__(self, threads: int, backlog: int, backlog_per_client: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="hash")
        self._threads = threads
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
        """Raises Busy."""
        check = _Check(stored, password, default_scheme, user, answer)
        if self._running < self._threads:
            self._run(check)
            return
        queue = self._queues.get(client)
        if self._waiting >= self._backlog or (queue is not None and len(queue) >= self._backlog_per_client):
            raise Busy
        if queue is None:
            queue = self._queues[client] = deque()
        queue.append(check)
        self._waiting += 1

    def close(self) -> None:
        self._queues.clear()
        self._waiting = 0
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _run(self, check: _Check) -> None:
        self._running += 1
        future = self._executor.submit(verify, check.stored, check.password, check.default_scheme, check.user)
        future.add_done_callback(lambda done: self._to_loop(check, done))

    def _to_loop(self, check: _Check, done: "Future[bool]") -> None:
        try:
            self._loop.call_soon_threadsafe(self._finished, check, done)
        except RuntimeError:
            # The loop has ended, and with it everybody who waited.
            return

    def _finished(self, check: _Check, done: "Future[bool]") -> None:
        self._running -= 1
        self._next()
        if done.cancelled():
            check.answer(Busy())
            return
        error = done.exception()
        if error is None:
            check.answer(done.result())
        else:
            check.answer(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def _next(self) -> None:
        for client, queue in self._queues.items():
            check = queue.popleft()
            self._waiting -= 1
            del self._queues[client]
            if queue:
                self._queues[client] = queue
            self._run(check)
            return
