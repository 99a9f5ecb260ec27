"""The journal: shared flushes, and an answer only for what is on stable storage.

The event loop collects entries; the whole batch is laid into the segment with one writev and flushed once. There is no
timer: the next batch is what piled up during the last flush. A batch of ordinary size is written by the loop (into the
kernel's memory) and flushed by the kernel (runtime.kernel_flush); large ones, new segments, and everything where the
kernel cannot do that, are the work of a thread.

When the file system is full, a reserve that was written beforehand becomes the newest segment, for facts only (results
of deliveries): so what is queued can be delivered and leave. New mail is refused meanwhile.

A failed write or flush is never tried again on the same file (after a failed fsync the kernel may have thrown the pages
away and report success the next time). The segment is sealed where the last good flush ended, everything behind
that is void, nobody of the batch is told yes, and the next batch begins a new segment whose header records the seal.
"""

import asyncio
import contextlib
import errno
import functools
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from posthouse.core.reply import LOCAL_ERROR, NO_SPACE, Reply
from posthouse.queue.crashpoints import QueueStep
from posthouse.queue.fileops import FileOps
from posthouse.queue.message import Area, Place
from posthouse.queue.record import AnyRecord, LeaseGiven
from posthouse.queue.segment import SegmentWriter, position
from posthouse.runtime.crashpoints import reach
from posthouse.runtime.kernel_flush import KernelFlush

MAX_BATCH_OCTETS: Final = 8 * 1024 * 1024
"""A batch beyond this waits for the next flush: no answer is held up by more than a few megabytes of others."""
MAX_BATCH_ENTRIES: Final = 5000
RESERVE_OCTETS: Final = 1024 * 1024
"""Of the reserve: results of some ten thousand deliveries."""
_NO_ROOM: Final = "no room but for what is queued already"
MAX_OCTETS_IN_LOOP: Final = 256 * 1024
"""A batch beyond this is written by the thread: copying it would hold up the loop for a tenth of a millisecond."""

Callback = Callable[[OSError | None], None]


class Entry(NamedTuple):
    """One frame to be written. `callback(None)` comes after its flush and after it was applied. `is_fact`: it has
    happened, so the reserve is for it."""

    records: tuple[AnyRecord, ...]
    content: bytes
    callback: Callback | None
    is_fact: bool


class Written(NamedTuple):
    """Where a frame went: its position, the position behind it, and the place of its content."""

    lsn: int
    end: int
    content: Place


@dataclass(slots=True)
class Failure:
    """Why a batch was not taken, for the log."""

    error: OSError
    segment: int
    end: int


class Journal:
    """Owns the newest segment. All methods are for the event loop's thread; `apply` is called there for every flushed
    frame, in order, before its callback, and `batch_done` once after each batch."""

    def __init__(
        self,
        directory: str,
        ops: FileOps,
        *,
        segment_octets: int,
        next_number: int,
        previous_end: int,
        apply: Callable[[tuple[AnyRecord, ...], Written], None],
        batch_done: Callable[[], None] = lambda: None,
        failed: Callable[[Failure], None] = lambda _: None,
        take_spare: Callable[[], str] = lambda: "",
        take_reserve: Callable[[], str] = lambda: "",
        kernel_flush: KernelFlush | None = None,
    ) -> None:
        """`kernel_flush` is the journal's from here on."""
        self._directory = directory
        self._ops = ops
        self._segment_octets = segment_octets
        self._apply = apply
        self._batch_done = batch_done
        self._failed = failed
        self._take_spare = take_spare
        self._take_reserve = take_reserve
        self._kernel_flush = kernel_flush
        self._loop = asyncio.get_running_loop()
        self._pending: list[Entry] = []
        self._pending_octets = 0
        self.waiting_octets = 0
        """Content given to `append` and not flushed yet: what intake limits."""
        self._busy = False
        self._scheduled = False
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        # Only who has the batch touches these, the thread or the loop:
        self._segment: SegmentWriter | None = None
        self._next_number = next_number
        self._previous_end = previous_end
        self._is_reserve = False
        self._leaves_reserve = False
        self._unflushed: list[Written | None] = []
        """A batch that the loop has written, and that the kernel would not flush for it."""
        self.current_number = next_number
        """The segment that grows (or will be made next): newer than every retired one."""
        self._work: queue.SimpleQueue[list[Entry] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    # ── the loop's side ──

    @property
    def is_on_reserve(self) -> bool:
        """Is there no room for anything but facts?"""
        return self._is_reserve and not self._leaves_reserve

    def leave_reserve(self) -> None:
        """There is room again: the next batch begins an ordinary segment."""
        self._leaves_reserve = self._is_reserve

    def append(
        self,
        records: tuple[AnyRecord, ...],
        content: bytes = b"",
        callback: Callback | None = None,
        *,
        is_fact: bool = False,
    ) -> None:
        self._pending.append(Entry(records, content, callback, is_fact))
        self._pending_octets += len(content)
        self.waiting_octets += len(content)
        if not self._busy and not self._scheduled:
            # Everything else that arrives in this turn of the loop shares the flush.
            self._scheduled = True
            self._idle.clear()
            self._loop.call_soon(self._hand_over)

    def append_lease(self, number: int, callback: Callback) -> None:
        self.append((LeaseGiven(number),), callback=callback, is_fact=True)

    def _hand_over(self) -> None:
        self._scheduled = False
        if self._busy or not self._pending:
            return
        pending = self._pending
        if self._pending_octets <= MAX_BATCH_OCTETS and len(pending) <= MAX_BATCH_ENTRIES:
            octets = self._pending_octets
            batch, self._pending, self._pending_octets = pending, [], 0
        else:
            octets = count = 0
            while count < len(pending) and octets <= MAX_BATCH_OCTETS and count < MAX_BATCH_ENTRIES:
                octets += len(pending[count].content)
                count += 1
            batch, self._pending = pending[:count], pending[count:]
            self._pending_octets -= octets
        self._busy = True
        segment = self._segment
        if self._kernel_flush is None or octets > MAX_OCTETS_IN_LOOP or segment is None or self._is_full(segment):
            self._work.put(batch)
        else:
            self._store_in_loop(batch, segment, self._kernel_flush)

    def _store_in_loop(self, batch: list[Entry], segment: SegmentWriter, kernel_flush: KernelFlush) -> None:
        try:
            written = self._write(batch)
        except OSError as error:
            # Not at once: the callers of `append` do not expect an answer before they have returned.
            self._loop.call_soon(self._flushed, batch, [], self._seal(error), self._next_number)
            return
        if not kernel_flush.flush(segment.descriptor, functools.partial(self._flushed_by_kernel, batch, written)):
            self._unflushed = written
            self._work.put(batch)

    def _flushed_by_kernel(self, batch: list[Entry], written: list[Written | None], error: OSError | None) -> None:
        if error is None:
            reach(QueueStep.RECORD_FLUSHED)
            self._flushed(batch, written, None, self.current_number)
        else:
            self._flushed(batch, [], self._seal(error), self._next_number)

    def _flushed(self, batch: list[Entry], written: list[Written | None], failure: Failure | None, number: int) -> None:
        """`written` has None for what the reserve is not for."""
        self._busy = False
        self.current_number = number
        # The disk works on the next batch while we answer this one.
        self._hand_over()
        if failure is not None:
            self._failed(failure)
        error = failure.error if failure is not None else None
        for number_in_batch, entry in enumerate(batch):
            self.waiting_octets -= len(entry.content)
            try:
                place = written[number_in_batch] if error is None else None
                if place is not None:
                    self._apply(entry.records, place)
                if entry.callback is not None:
                    entry.callback(None if place is not None else error or OSError(errno.ENOSPC, _NO_ROOM))
            except Exception as bug:  # one message's bug must not cost the others of the batch their answer
                self._loop.call_exception_handler({"message": "after a journal flush", "exception": bug})
        self._batch_done()
        if not self._busy and not self._pending and not self._scheduled:
            self._idle.set()

    async def drain(self) -> None:
        """Wait until everything appended so far is flushed (or has failed)."""
        await self._idle.wait()

    async def close(self) -> None:
        await self.drain()
        self._work.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        if self._kernel_flush is not None:
            self._kernel_flush.close()

    # ── writing ──

    def _run(self) -> None:
        while (batch := self._work.get()) is not None:
            failure: Failure | None = None
            written: list[Written | None] = []
            try:
                if self._unflushed:
                    written, self._unflushed = self._unflushed, []
                else:
                    written = self._write(batch)
                self._flush()
            except OSError as error:
                failure = self._seal(error)
            number = self._segment.number if self._segment is not None else self._next_number
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._flushed, batch, written, failure, number)
        if self._segment is not None:
            self._segment.close()

    def _is_full(self, segment: SegmentWriter) -> bool:
        if self._is_reserve:
            return self._leaves_reserve or segment.end >= RESERVE_OCTETS
        return segment.end >= self._segment_octets

    def _write(self, batch: list[Entry]) -> list[Written | None]:
        segment = self._segment
        if segment is None or self._is_full(segment):
            segment = self._new_segment()
        number = segment.number
        start = segment.end
        self._good_end = start
        buffers: list[bytes] = []
        written: list[Written | None] = []
        base = position(number, 0)
        for records, content, _, is_fact in batch:
            if self._is_reserve and not is_fact:
                written.append(None)
                continue
            offset, content_offset = segment.frame(records, content, buffers)
            written.append(Written(base + offset, base + segment.end, Place(Area.JOURNAL, number, content_offset)))
        segment.write(buffers, start)
        reach(QueueStep.RECORD_WRITTEN)
        return written

    def _flush(self) -> None:
        assert self._segment is not None
        self._segment.flush()
        reach(QueueStep.RECORD_FLUSHED)

    def _new_segment(self) -> SegmentWriter:
        if self._segment is not None:
            self._previous_end = self._segment.end
            self._segment.close()
            self._segment = None
        self._is_reserve = self._leaves_reserve = False
        self._good_end = 0
        try:
            segment = self._made_of(self._take_spare())
        except OSError as error:
            reserve = self._take_reserve() if is_out_of_space(error) else ""
            if not reserve:
                raise
            segment = self._made_of(reserve)
            self._is_reserve = True
        self._segment = segment
        reach(QueueStep.SEGMENT_CREATED)
        return segment

    def _made_of(self, spare: str) -> SegmentWriter:
        # A number is used once even if making the segment fails half way.
        number = self._next_number
        self._next_number += 1
        return SegmentWriter(self._ops, self._directory, number, self._previous_end, spare)

    def _seal(self, error: OSError) -> Failure:
        segment = self._segment
        if segment is None:  # not even a new segment could be made
            return Failure(error, self._next_number - 1, 0)
        self._segment = None
        end = self._good_end
        self._previous_end = end
        with contextlib.suppress(OSError):  # the seal in the next header counts; cutting the file only makes it visible
            self._ops.ftruncate(segment.descriptor, end)
        with contextlib.suppress(OSError):
            segment.close()
        return Failure(error, segment.number, end)


def is_out_of_space(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def storage_reply(error: BaseException) -> Reply:
    """What a client is told: the file system is out of room (452 4.3.1), or it fails (451 4.3.0)."""
    return NO_SPACE if isinstance(error, OSError) and is_out_of_space(error) else LOCAL_ERROR


def describe(error: OSError) -> str:
    return error.strerror or os.strerror(error.errno or errno.EIO)
