"""Message content outside the journal's hot path: large messages in files of their own, and reading content again.

All file work happens in a small pool of threads; the loop only hands over and gets called back. A large message's file
is complete and durable (octets and name) before the record that refers to it is written.
"""

import asyncio
import functools
import os
import secrets
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from posthouse.queue.crashpoints import QueueStep
from posthouse.queue.fileops import FileOps
from posthouse.queue.message import Message
from posthouse.queue.recovery import Spool
from posthouse.queue.segment import read_content
from posthouse.runtime.crashpoints import reach

T = TypeVar("T")

POOL_THREADS: Final = 4
"""Enough to overlap the flush of one large message with the writes of others; disks gain nothing from more."""


class LargeContent:
    """One large message on its way in. Steps are carried out in the order they were asked for."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name
        self.descriptor = -1
        self.octets = 0
        self.steps: deque[tuple[Callable[[], Any], Callable[[BaseException | None], None]]] = deque()
        self.busy = False
        self.aborted = False
        self.error: BaseException | None = None
        """The first step that failed; every later one fails with it."""


class ContentFiles:
    """Owns `$queue_directory/large` and the thread pool."""

    def __init__(self, spool: Spool, ops: FileOps) -> None:
        self._spool = spool
        self._ops = ops
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="content")

    def run(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        return self._loop.run_in_executor(self._pool, work)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=False)

    # ── writing ──

    def begin(self, done: Callable[[BaseException | None], None]) -> LargeContent:
        name = secrets.token_hex(12)
        content = LargeContent(f"{self._spool.large}/{name}", name)

        def create() -> None:
            content.descriptor = self._ops.open(content.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)

        self._step(content, create, done)
        return content

    def append(self, content: LargeContent, data: bytes, done: Callable[[BaseException | None], None]) -> None:
        offset = content.octets
        content.octets += len(data)
        self._step(content, lambda: self._ops.write_all(content.descriptor, (data,), offset), done)

    def finish(self, content: LargeContent, done: Callable[[BaseException | None], None]) -> None:
        """Make octets and name durable."""

        def flush() -> None:
            reach(QueueStep.CONTENT_STREAMED)
            self._ops.fdatasync(content.descriptor)
            self._ops.close(content.descriptor)
            content.descriptor = -1
            self._ops.sync_directory(self._spool.large)
            reach(QueueStep.CONTENT_FLUSHED)

        self._step(content, flush, done)

    def abort(self, content: LargeContent) -> None:
        if content.aborted:
            return
        content.aborted = True

        def remove() -> None:
            if content.descriptor >= 0:
                self._ops.close(content.descriptor)
                content.descriptor = -1
            self._ops.unlink(content.path)

        self._step(content, remove, lambda _: None)

    def _step(
        self, content: LargeContent, work: Callable[[], Any], done: Callable[[BaseException | None], None]
    ) -> None:
        content.steps.append((work, done))
        if not content.busy:
            self._next(content)

    def _next(self, content: LargeContent) -> None:
        if not content.steps:
            content.busy = False
            return
        content.busy = True
        work, done = content.steps.popleft()
        future: asyncio.Future[Any] = self.run(work)
        future.add_done_callback(functools.partial(self._stepped, content, done))

    def _stepped(
        self, content: LargeContent, done: Callable[[BaseException | None], None], future: "asyncio.Future[Any]"
    ) -> None:
        content.error = content.error or future.exception()
        self._next(content)
        done(content.error)

    # ── reading ──

    def read(self, message: Message, limit: int = 0) -> "asyncio.Future[bytes]":
        """The content of a message (its first `limit` octets), from wherever it is now."""
        octets = min(message.size, limit) if limit else message.size
        if message.large:
            path, offset = f"{self._spool.large}/{message.large}", 0
        else:
            path, offset = self._spool.segment_path(message.place), message.place.offset
        return self.run(functools.partial(_read, path, offset, octets))

    def open(self, message: Message) -> "asyncio.Future[int]":
        """A read-only descriptor of a large message's own file; the caller closes it."""
        path = f"{self._spool.large}/{message.large}"
        return self.run(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def remove(self, name: str) -> None:
        """A large message is done. If the machine stops before this is on disk, the next start does it again."""
        path = f"{self._spool.large}/{name}"
        self.run(lambda: Path(path).unlink(missing_ok=True))


def _read(path: str, offset: int, octets: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_content(descriptor, offset, octets)
    finally:
        os.close(descriptor)
