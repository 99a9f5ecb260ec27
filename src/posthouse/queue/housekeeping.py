"""What happens behind the mail: the index is told what stays, segments nobody needs are retired, stragglers are moved.

One task, one step at a time, all file and database work in threads. The order in a step is what a crash relies on:
rows are committed before the segments that they replace are retired; copies are flushed before rows point to them; rows
point to them before the original goes.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw

from posthouse.core.identifiers import QueueId
from posthouse.core.logline import Level
from posthouse.queue.content import ContentFiles
from posthouse.queue.crashpoints import QueueStep
from posthouse.queue.fileops import FileOps
from posthouse.queue.fold import Checkpoint, SegmentKey
from posthouse.queue.index import Index, encode_row
from posthouse.queue.journal import RESERVE_OCTETS
from posthouse.queue.ledger import Ledger
from posthouse.queue.message import Area, Message, Place
from posthouse.queue.record import AnyRecord, Enter
from posthouse.queue.recovery import Report, Spool
from posthouse.queue.segment import SegmentWriter, read_content, segment_name, segment_numbers, segment_of
from posthouse.runtime.crashpoints import reach

SETTLE_S: Final = 5.0
"""A message that is still being tried after this long is written to the index; most are gone before."""
CHECKPOINT_ROWS: Final = 2000
MOVE_BATCH: Final = 200
MAX_MOVE_OCTETS: Final = 16 * 1024 * 1024
COMPACT_BELOW: Final = 0.25
"""A deferred segment with less live content than this is copied together."""

Move = tuple[QueueId, int, Place, Place]


ROOM_FOR_MAIL: Final = 4 * RESERVE_OCTETS
"""Free octets from which a file system that was full takes mail again, and the reserve is made anew."""


class Spares:
    """Retired segments kept for reuse. Taken by the journal's thread, filled by the pool's."""

    def __init__(self, directory: str, wanted: int) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._paths: deque[str] = deque()
        self._number = 0
        self.wanted = wanted
        for entry in (*Path(directory).glob("spare-*"), *Path(directory).glob("reserve*")):
            entry.unlink()  # its octets are of no use after a restart that may have cut it anywhere
        self._reserve = ""

    def take(self) -> str:
        with self._lock:
            return self._paths.popleft() if self._paths else ""

    def take_reserve(self) -> str:
        """Once; then there is none until `make_reserve`."""
        with self._lock:
            path, self._reserve = self._reserve, ""
            return path

    @property
    def has_reserve(self) -> bool:
        return bool(self._reserve)

    def make_reserve(self, ops: FileOps) -> None:
        """The segment for a full file system: its blocks are there before they are needed."""
        path = f"{self._directory}/reserve"
        _fill(ops, path, RESERVE_OCTETS)
        with self._lock:
            self._reserve = path

    def missing(self) -> int:
        with self._lock:
            return self.wanted - len(self._paths)

    def _name(self) -> str:
        self._number += 1
        return f"{self._directory}/spare-{self._number}"

    def keep(self, ops: FileOps, path: str, octets: int) -> bool:
        """Take over a retired segment; False if it is not wanted (too many, or cut short)."""
        with self._lock:
            if len(self._paths) >= self.wanted or Path(path).stat().st_size < octets:
                return False
            target = self._name()
            ops.rename(path, target)
            self._paths.append(target)
            return True

    def make(self, ops: FileOps, octets: int) -> None:
        """Write a new one: blocks that exist make later flushes cheap."""
        with self._lock:
            target = self._name()
        _fill(ops, target, octets)
        with self._lock:
            self._paths.append(target)


def _fill(ops: FileOps, path: str, octets: int) -> None:
    descriptor = ops.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        chunk = bytes(1024 * 1024)
        offset = 0
        while offset < octets:
            offset = ops.write_all(descriptor, (chunk[: octets - offset],), offset)
        ops.fsync(descriptor)
    except OSError:
        Path(path).unlink(missing_ok=True)
        raise
    finally:
        ops.close(descriptor)


class DeferredSegments:
    """Where content goes that stays. Used by one thread at a time (housekeeping waits for each step)."""

    def __init__(self, spool: Spool, ops: FileOps, next_number: int, segment_octets: int) -> None:
        self._spool = spool
        self._ops = ops
        self._next_number = next_number
        self._segment_octets = segment_octets
        self._writer: SegmentWriter | None = None

    @property
    def current(self) -> int:
        return self._writer.number if self._writer is not None else -1

    def copy(self, messages: list[Message]) -> tuple[list[Move], list[QueueId]]:
        """Copy content, flush it; (what moved, what could not be read)."""
        writer = self._writer
        if writer is None or writer.end >= self._segment_octets:
            if writer is not None:
                writer.close()
            self._writer = writer = SegmentWriter(self._ops, self._spool.deferred, self._next_number, 0)
            self._next_number += 1
        start = writer.end
        buffers: list[bytes] = []
        moves: list[Move] = []
        unreadable: list[QueueId] = []
        descriptors: dict[str, int] = {}
        try:
            for message in messages:
                path = self._spool.segment_path(message.place)
                try:
                    if path not in descriptors:
                        descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    content = read_content(descriptors[path], message.place.offset, message.size)
                except OSError:
                    unreadable.append(message.queue_id)
                    continue
                records: tuple[AnyRecord, ...] = (Enter(message, 0, len(content)),)
                _, content_offset = writer.frame(records, content, buffers)
                new = Place(Area.DEFERRED, writer.number, content_offset)
                moves.append((message.queue_id, message.size, message.place, new))
        finally:
            for descriptor in descriptors.values():
                os.close(descriptor)
        try:
            writer.write(buffers, start)
            writer.flush()
        except OSError:
            self._writer = None  # never written again; whatever is in it is complete or garbage
            writer.close()
            raise
        reach(QueueStep.MESSAGES_COPIED)
        return moves, unreadable

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


@dataclass(slots=True)
class HousekeepingSettings:
    interval_s: float
    segment_octets: int
    minfree: int


class Housekeeping:
    def __init__(
        self,
        ledger: Ledger,
        files: ContentFiles,
        deferred: DeferredSegments,
        spares: Spares,
        settings: HousekeepingSettings,
        *,
        position: int,
        is_waiting: Callable[[QueueId], bool],
        report: Report,
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._deferred = deferred
        self._spares = spares
        self.settings = settings
        self._position = position
        self._is_waiting = is_waiting
        self._report = report
        self._stuck: set[QueueId] = set()
        self._trouble = ""
        self.has_space = True
        """Is there queue_minfree room for new mail?"""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self.settings.interval_s)
            await self.step()

    async def step(self) -> None:
        """One round. Trouble with the disk or the database is logged once and tried again in the next."""
        try:
            await self.check_space()
            await self.checkpoint()
            await self._retire_journal()
            await self._compact_deferred()
            await self._prepare_spare()
        except (OSError, apsw.Error) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._report(Level.ERROR, f"error: the queue index or its segments cannot be written: {error}")
        else:
            self._trouble = ""

    async def check_space(self) -> None:
        """Raises OSError."""
        wanted = self.settings.minfree
        journal = self._ledger.journal
        if journal.is_on_reserve or not self._spares.has_reserve:
            wanted = max(wanted, ROOM_FOR_MAIL)
        if not wanted:
            self.has_space = True
            return
        free = await self._files.run(lambda: self._ledger.ops.free_octets(self._ledger.spool.root))
        if free >= wanted:
            journal.leave_reserve()
            if not self._spares.has_reserve:
                await self._files.run(lambda: self._spares.make_reserve(self._ledger.ops))
        self.has_space = free >= wanted

    # ── the index ──

    async def checkpoint(self, *, everything: bool = False) -> None:
        """Tell the index what stays; `everything` at the end of a run."""
        state = self._ledger.state
        complete = False
        while not complete:
            older_than_s = self._ledger.clock.monotonic() - SETTLE_S
            step = state.checkpoint(float("inf") if everything else older_than_s, self._is_waiting, CHECKPOINT_ROWS)
            complete = step.complete
            if not step.upserts and not step.deletes and step.position == self._position:
                return
            await self._write(step)

    async def _write(self, step: Checkpoint) -> None:
        state = self._ledger.state
        rows = [encode_row(message, not self._is_waiting(message.queue_id)) for message in step.upserts]
        state.taken(step)

        def write(index: Index) -> None:
            index.write(rows, step.deletes, step.position, step.lease)
            reach(QueueStep.INDEX_COMMITTED)

        try:
            await self._ledger.index.run(write)
        except BaseException:
            state.not_written(step, self._position)
            raise
        self._position = step.position
        for message in step.upserts:
            queue_id = message.queue_id
            if self._is_waiting(queue_id) and queue_id in state.messages and not state.is_changed(queue_id):
                state.drop(queue_id)

    # ── segments ──

    async def _retire_journal(self) -> None:
        """Segments wholly behind the index go: at once if nothing in them lives, else after what lives has moved."""
        journal = self._ledger.spool.journal
        first_needed = min(segment_of(self._position), self._ledger.journal.current_number)
        for number in await self._files.run(lambda: segment_numbers(journal)):
            if number >= first_needed:
                return
            key = (int(Area.JOURNAL), number)
            is_reusable = key not in self._ledger.state.usage
            if not is_reusable and not await self._evacuate(key):
                continue
            await self._files.run(lambda number=number, reuse=is_reusable: self._retire(number, reuse))  # type: ignore[misc]

    def _retire(self, number: int, is_reusable: bool) -> None:
        """In a thread. A file that readers may still have open (its content has moved) is not written over."""
        path = f"{self._ledger.spool.journal}/{segment_name(number)}"
        ops = self._ledger.ops
        if not is_reusable or not self._spares.keep(ops, path, self.settings.segment_octets):
            ops.unlink(path)
        reach(QueueStep.SEGMENT_RETIRED)

    async def _compact_deferred(self) -> None:
        spool, state = self._ledger.spool, self._ledger.state
        sizes = await self._files.run(lambda: _sizes(spool.deferred))
        for number, octets in sizes.items():
            if number == self._deferred.current:
                continue
            key = (int(Area.DEFERRED), number)
            usage = state.usage.get(key)
            if usage is not None and (usage.octets >= octets * COMPACT_BELOW or not await self._evacuate(key)):
                continue
            path = f"{spool.deferred}/{segment_name(number)}"
            await self._files.run(lambda path=path: Path(path).unlink(missing_ok=True))  # type: ignore[misc]

    async def _evacuate(self, key: SegmentKey) -> bool:
        """Copy what lives in a segment to the deferred ones; True when nothing is left in it."""
        state, ledger = self._ledger.state, self._ledger
        while key in state.usage:
            found = await ledger.index.run(lambda index: index.in_segment(key, MOVE_BATCH + len(self._stuck)))
            messages: list[Message] = []
            octets = 0
            for message in found:
                if message.queue_id in self._stuck or state.is_gone(message.queue_id):
                    continue
                messages.append(message)
                octets += message.size
                if octets > MAX_MOVE_OCTETS:
                    break
            if not messages:
                return key not in state.usage
            batch = messages
            moves, unreadable = await self._files.run(lambda batch=batch: self._deferred.copy(batch))  # type: ignore[misc]
            for queue_id in unreadable:
                self._stuck.add(queue_id)
                self._report(Level.ERROR, f"error: {queue_id}: the content cannot be read from segment {key[1]:012x}")

            def relocate(index: Index, moves: list[Move] = moves) -> list[QueueId]:
                moved = index.relocate((queue_id, old, new) for queue_id, _, old, new in moves)
                reach(QueueStep.COPIES_INDEXED)
                return moved

            moved = set(await ledger.index.run(relocate))
            for queue_id, size, _, new in moves:
                if queue_id in moved and not state.is_gone(queue_id):
                    state.relocate(key, size, new)
                    if (in_memory := state.messages.get(queue_id)) is not None:
                        in_memory.place = new
        return True

    async def _prepare_spare(self) -> None:
        """A first spare, once there is traffic enough to need a second segment."""
        offset = self._ledger.state.end & 0xFFFFFFFF
        if self._spares.missing() > 0 and offset * 4 > self.settings.segment_octets:
            await self._files.run(lambda: self._spares.make(self._ledger.ops, self.settings.segment_octets))


def _sizes(directory: str) -> dict[int, int]:
    return {number: os.stat(f"{directory}/{segment_name(number)}").st_size for number in segment_numbers(directory)}


def remove_garbage(paths: list[str]) -> None:
    """After recovery, when the index knows everything."""
    for path in paths:
        Path(path).unlink(missing_ok=True)
