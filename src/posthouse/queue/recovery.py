"""Start of the queue: read what the last run left, apply what the index does not know, put damage aside, tidy up.

Runs before anything is accepted or delivered. What it leaves behind is a `QueueState` whose index can be written at
once; files nobody refers to are named in `Recovered.garbage` and removed by the caller after that.
"""

import itertools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from posthouse.core.logline import Level
from posthouse.queue.fold import QueueState
from posthouse.queue.index import Index, open_index
from posthouse.queue.message import Area, Place
from posthouse.queue.segment import (
    HEADER_OCTETS,
    BadHeader,
    Damage,
    SegmentReader,
    position,
    segment_name,
    segment_numbers,
    segment_of,
)

Report = Callable[[Level, str], None]

AREA_DIRECTORIES: Final = {Area.JOURNAL: "journal", Area.DEFERRED: "deferred"}


@dataclass(frozen=True, slots=True)
class Spool:
    """The directories below $queue_directory."""

    root: str

    @property
    def journal(self) -> str:
        return f"{self.root}/journal"

    @property
    def deferred(self) -> str:
        return f"{self.root}/deferred"

    @property
    def large(self) -> str:
        return f"{self.root}/large"

    @property
    def corrupt(self) -> str:
        return f"{self.root}/corrupt"

    @property
    def maildrop(self) -> str:
        return f"{self.root}/maildrop"

    @property
    def index_path(self) -> str:
        return f"{self.root}/index/queue.sqlite"

    def area(self, area: int) -> str:
        return f"{self.root}/{AREA_DIRECTORIES[Area(area)]}"

    def segment_path(self, place: Place) -> str:
        return f"{self.area(place.area)}/{segment_name(place.number)}"

    def make(self) -> None:
        """Create what is missing. The maildrop is open to everyone's new files and nobody's looks (mode 3733): its
        group, which files inherit, tells pickup that they were made there."""
        for name in ("journal", "deferred", "large", "corrupt", "index"):
            Path(self.root, name).mkdir(mode=0o700, parents=True, exist_ok=True)
        maildrop = Path(self.maildrop)
        if not maildrop.exists():
            maildrop.mkdir(mode=0o700)
            maildrop.chmod(0o3733)


@dataclass(slots=True)
class Recovered:
    state: QueueState
    index: Index
    next_number: int
    previous_end: int
    next_deferred: int
    clean: bool
    """The last run stopped in order: no recipient can have been delivered without our knowing."""
    garbage: list[str] = field(default_factory=list)


def recover(spool: Spool, report: Report) -> Recovered:
    def set_aside(path: str) -> None:
        target = _set_aside(spool, path)
        report(Level.ERROR, f"the queue index is damaged: set aside as {target}, building it anew from the segments")
        for suffix in ("-wal", "-shm"):
            Path(path + suffix).unlink(missing_ok=True)

    spool.make()
    index, rebuilding = open_index(spool.index_path, set_aside)
    index.unload_all()
    state = QueueState(index.get)
    state.usage = index.usage()
    state.lease = index.meta("lease")
    start = index.meta("position")
    state.end = start
    replay = _Replay(spool, state, 0.0, report)
    if rebuilding:
        for number in segment_numbers(spool.deferred):
            replay(Area.DEFERRED, number, start=0, known_end=0)
    numbers = segment_numbers(spool.journal)
    previous_end = _replay_all(spool, numbers, start, replay)
    recovered = Recovered(
        state=state,
        index=index,
        next_number=max((*numbers, segment_of(start), 0)) + 1,
        previous_end=previous_end,
        next_deferred=max((*segment_numbers(spool.deferred), 0)) + 1,
        clean=state.clean or (not numbers and not state.messages),
    )
    state.clean = False
    _find_garbage(spool, recovered, numbers)
    return recovered


def _replay_all(spool: Spool, numbers: list[int], start: int, replay: "_Replay") -> int:
    """All segments from position `start` on; returns where the last one ends."""
    ends = _known_ends(spool, numbers)
    end = 0
    for number in numbers:
        if number >= segment_of(start):
            end = replay(Area.JOURNAL, number, start=start, known_end=ends.get(number, 0))
    return end


def replay_journal(spool: Spool, state: QueueState, start: int, report: Report) -> None:
    """Apply what the index does not know, without changing a file."""
    _replay_all(spool, segment_numbers(spool.journal), start, _Replay(spool, state, 0.0, report, is_repairing=False))


def _known_ends(spool: Spool, numbers: list[int]) -> dict[int, int]:
    """Where the frames of each segment end, as the header of the next one says."""
    ends: dict[int, int] = {}
    for earlier, later in itertools.pairwise(numbers):
        try:
            with open(f"{spool.journal}/{segment_name(later)}", "rb") as file:
                ends[earlier] = SegmentReader.previous_end_of(file.read(HEADER_OCTETS))
        except BadHeader:
            continue
    return ends


@dataclass(frozen=True, slots=True)
class _Replay:
    spool: Spool
    state: QueueState
    now_s: float
    report: Report
    is_repairing: bool = True

    def __call__(self, area: Area, number: int, *, start: int, known_end: int) -> int:
        """Apply the frames of one segment from position `start` on; returns where its valid frames end."""
        spool, state, report = self.spool, self.state, self.report
        path = f"{spool.area(area)}/{segment_name(number)}"
        try:
            reader = SegmentReader(path)
        except BadHeader as error:
            if self.is_repairing:
                _bad_segment(spool, path, str(error), report)
            return 0
        except OSError as error:
            report(Level.ERROR, f"{path}: {error.strerror}: this segment is left out")
            return 0
        offset = start & 0xFFFFFFFF if segment_of(start) == number else 0
        for item in reader.frames(known_end, max(offset, HEADER_OCTETS)):
            if isinstance(item, Damage):
                if not self.is_repairing:
                    continue
                target = _set_aside_octets(spool, path, item.start, reader.data[item.start : item.end])
                report(
                    Level.ERROR,
                    f"{path}: damaged record at octets {item.start}-{item.end} ({item.why}):"
                    f" set aside as {target}, everything else is intact",
                )
                continue
            lsn, end = position(number, item.offset), position(number, item.end)
            if area is Area.DEFERRED:
                lsn, end = 0, 0
            state.apply(item.records, lsn, end, Place(area, number, item.content_offset), self.now_s)
        tail = reader.torn_tail() if not known_end else b""
        if tail and area is Area.JOURNAL and self.is_repairing:
            target = _set_aside_octets(spool, path, reader.end, tail)
            report(
                Level.INFO,
                f"{path}: an unfinished write of {len(tail)} octets at {reader.end} was cut off (kept as {target})",
            )
            os.truncate(path, reader.end)
        return reader.end


def _bad_segment(spool: Spool, path: str, why: str, report: Report) -> None:
    with open(path, "rb") as file:
        empty = not file.read(HEADER_OCTETS).strip(b"\0")
    if empty:
        Path(path).unlink()  # the machine stopped while it was being made: nothing was ever acknowledged from it
        return
    target = _set_aside(spool, path)
    report(Level.ERROR, f"{path}: {why}: the segment cannot be read and is set aside as {target}")


def _set_aside(spool: Spool, path: str) -> str:
    name = os.path.basename(path)
    for number in range(1000):
        target = f"{spool.corrupt}/{name}.{number}"
        if not Path(target).exists():
            shutil.move(path, target)
            return target
    raise OSError(f"{spool.corrupt} is full of {name}")


def _set_aside_octets(spool: Spool, path: str, start: int, octets: bytes) -> str:
    target = f"{spool.corrupt}/{os.path.basename(path)}-{start}"
    try:
        Path(target).write_bytes(octets)
    except OSError:
        return "(nothing: it could not be written)"
    return target


def _find_garbage(spool: Spool, recovered: Recovered, numbers: list[int]) -> None:
    """Segments and large files that nobody refers to any more. The journal's own are garbage only behind the index."""
    state, garbage = recovered.state, recovered.garbage
    first_needed = segment_of(recovered.index.meta("position"))
    garbage.extend(
        f"{spool.journal}/{segment_name(number)}"
        for number in numbers
        if number < first_needed and (Area.JOURNAL, number) not in state.usage
    )
    garbage.extend(
        f"{spool.deferred}/{segment_name(number)}"
        for number in segment_numbers(spool.deferred)
        if (Area.DEFERRED, number) not in state.usage
    )
    wanted = recovered.index.large_files() | state.large
    garbage.extend(f"{spool.large}/{name}" for name in os.listdir(spool.large) if name not in wanted)
