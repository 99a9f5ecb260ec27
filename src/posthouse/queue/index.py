"""The queue index: the messages that stay, in SQLite, so that a hundred thousand deferred messages cost no memory.

It is a cache of the journal's fold up to `position`: written in batches, behind the journal, by one thread that owns
the database (`IndexThread`). A row is either `loaded` (the message is in memory, under delivery) or waiting for `due`.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import msgspec

from posthouse.core.identifiers import QueueId
from posthouse.queue.crashpoints import QueueStep
from posthouse.queue.fold import SegmentKey, Usage
from posthouse.queue.message import Message, Place
from posthouse.runtime.crashpoints import reach

T = TypeVar("T")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS message (
    queue_id TEXT PRIMARY KEY,
    queue INTEGER NOT NULL,
    due REAL NOT NULL,
    loaded INTEGER NOT NULL,
    sites TEXT NOT NULL,
    large TEXT NOT NULL,
    source TEXT NOT NULL,
    area INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    size INTEGER NOT NULL,
    state BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS message_due ON message (queue, due) WHERE loaded = 0;
CREATE INDEX IF NOT EXISTS message_loaded ON message (loaded) WHERE loaded = 1;
CREATE INDEX IF NOT EXISTS message_place ON message (area, segment);
CREATE INDEX IF NOT EXISTS message_large ON message (large) WHERE large <> '';
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
_VERSION: Final = 1
INCOMING, DEFERRED, HELD = 0, 1, 2
QUEUE_NAMES: Final = ("incoming", "deferred", "hold")

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Message)

Row = tuple[str, int, float, int, str, str, str, int, int, int, int, bytes]


def encode_row(message: Message, loaded: bool) -> Row:
    """Made in the loop's thread, so that the row is one moment of the message."""
    sites = {recipient.address.domain.lower() for recipient in message.recipients.values()}
    return (
        message.queue_id,
        HELD if message.hold else DEFERRED if message.due else INCOMING,
        message.due or message.entered_s,
        int(loaded),
        f" {' '.join(sites)} ",
        message.large,
        message.source,
        message.place.area,
        message.place.number,
        message.place.offset,
        message.size,
        _encoder.encode(message),
    )


def _decode(row: Sequence[Any]) -> Message:
    """`row` has the columns of `_COLUMNS`."""
    state, area, segment, offset, due, queue_number = row
    message: Message = _decoder.decode(state)
    message.place = Place(area, segment, offset)
    if queue_number == DEFERRED:
        message.due = due  # a flush brings it forward in the row only
    return message


_COLUMNS: Final = "state, area, segment, offset, due, queue"
# ruff: noqa: S608 - the only text put into statements is this list of columns; values are bound


class Index:
    """The database itself; used by one thread. Raises apsw.Error."""

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        self._db = apsw.Connection(path, flags=flags)
        self._db.set_busy_timeout(5000)
        if read_only:
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        # Segments are unlinked because a commit says they may be: it must be durable.
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA wal_autocheckpoint = 2000")
        if self._one("PRAGMA user_version") not in (0, _VERSION):
            raise apsw.NotADBError("the queue index was made by another version")
        self._db.execute(_SCHEMA)
        self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        self._db.close()

    def check(self) -> bool:
        """Is the database sound, as far as a quick look tells?"""
        return bool(self._one("PRAGMA quick_check(1)") == "ok")

    def _one(self, sql: str, bindings: tuple[Any, ...] = ()) -> Any:
        for row in self._db.execute(sql, bindings):
            return row[0]
        return None

    def meta(self, name: str) -> int:
        return int(self._one("SELECT value FROM meta WHERE name = ?", (name,)) or 0)

    # ── the fold's side ──

    def write(self, rows: Sequence[Row], deletes: Iterable[QueueId], position: int, lease: int) -> None:
        """One checkpoint, atomic and durable."""
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO message VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", rows)
            self._db.executemany("DELETE FROM message WHERE queue_id = ?", ((one,) for one in deletes))
            self._db.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)", (("position", position), ("lease", lease))
            )
            reach(QueueStep.INDEX_WRITTEN)

    def is_empty(self) -> bool:
        return self._one("SELECT 1 FROM message LIMIT 1") is None

    def get(self, queue_id: QueueId) -> Message | None:
        for row in self._db.execute(f"SELECT {_COLUMNS} FROM message WHERE queue_id = ?", (queue_id,)):
            return _decode(row)
        return None

    def usage(self) -> dict[SegmentKey, Usage]:
        rows = self._db.execute(
            "SELECT area, segment, count(*), sum(size) FROM message WHERE large = '' GROUP BY area, segment"
        )
        return {(area, segment): Usage(count, octets) for area, segment, count, octets in rows}

    def large_files(self) -> set[str]:
        return {row[0] for row in self._db.execute("SELECT large FROM message WHERE large <> ''")}

    def sources(self) -> list[tuple[QueueId, str]]:
        return list(self._db.execute("SELECT queue_id, source FROM message WHERE source <> ''"))

    def unload_all(self) -> None:
        """At start nothing is under delivery."""
        self._db.execute("UPDATE message SET loaded = 0 WHERE loaded = 1")

    # ── the scheduler's side ──

    def load_due(self, queue_number: int, now_s: float, latest_s: float, limit: int) -> list[Message]:
        """The messages that may be tried now, longest waiting first; they count as loaded from here on.

        None waits until after `latest_s`: where one seems to, the clock has been set back since.
        """
        question = f"SELECT queue_id, {_COLUMNS} FROM message WHERE loaded = 0 AND queue = ? AND due "
        rows = list(self._db.execute(question + "<= ? ORDER BY due LIMIT ?", (queue_number, now_s, limit)))
        if len(rows) < limit:
            rows += self._db.execute(
                question + "> ? ORDER BY due LIMIT ?", (queue_number, max(now_s, latest_s), limit - len(rows))
            )
        if rows:
            with self._db:
                self._db.executemany("UPDATE message SET loaded = 1 WHERE queue_id = ?", ((row[0],) for row in rows))
        return [_decode(row[1:]) for row in rows]

    def load(self, queue_ids: Iterable[QueueId]) -> list[Message]:
        """These messages, if they are rows and not loaded; they count as loaded from here on."""
        found: list[Message] = []
        with self._db:
            for queue_id in queue_ids:
                for row in self._db.execute(
                    f"UPDATE message SET loaded = 1 WHERE queue_id = ? AND loaded = 0 RETURNING {_COLUMNS}",
                    (queue_id,),
                ).fetchall():
                    found.append(_decode(row))
        return found

    def expedite(self, site: str, due: float) -> int:
        """A flush: deferred messages (for `site`, or all) are due now. Not a record: forgotten by a crash."""
        if site:
            self._db.execute(
                "UPDATE message SET due = ? WHERE queue = ? AND loaded = 0 AND instr(sites, ?)",
                (due, DEFERRED, f" {site.lower()} "),
            )
        else:
            self._db.execute("UPDATE message SET due = ? WHERE queue = ? AND loaded = 0", (due, DEFERRED))
        return self._db.changes()

    # ── moving content ──

    def in_segment(self, key: SegmentKey, limit: int) -> list[Message]:
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM message WHERE area = ? AND segment = ? AND large = '' ORDER BY offset LIMIT ?",
            (*key, limit),
        )
        return [_decode(row) for row in rows]

    def relocate(self, moves: Iterable[tuple[QueueId, Place, Place]]) -> list[QueueId]:
        """Content was copied from one place to another; returns the messages that are still there and moved."""
        moved: list[QueueId] = []
        with self._db:
            for queue_id, old, new in moves:
                self._db.execute(
                    "UPDATE message SET area = ?, segment = ?, offset = ?"
                    " WHERE queue_id = ? AND area = ? AND segment = ? AND offset = ?",
                    (new.area, new.number, new.offset, queue_id, old.area, old.number, old.offset),
                )
                if self._db.changes():
                    moved.append(queue_id)
        return moved

    # ── the administrators' side ──

    def page(self, after: str, limit: int) -> list[tuple[str, Message]]:
        """(queue name, message) in the order of queue ids."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM message WHERE queue_id > ? ORDER BY queue_id LIMIT ?", (after, limit)
        )
        return [(QUEUE_NAMES[row[5]], _decode(row)) for row in rows]

    def ids(self, after: str, queue_numbers: Sequence[int], limit: int) -> list[QueueId]:
        wanted = ",".join(str(int(number)) for number in queue_numbers)
        return [
            QueueId(row[0])
            for row in self._db.execute(
                f"SELECT queue_id FROM message WHERE queue_id > ? AND queue IN ({wanted}) ORDER BY queue_id LIMIT ?",
                (after, limit),
            )
        ]


class IndexThread:
    """The thread that owns the index: work is done in the order it is given, results come back to the event loop."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[Callable[[Index], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="index", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[Index], T]) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self._loop.create_future()
        self._work.put((work, future))
        return future

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, future = item
            result: Any = None
            error: Exception | None = None
            try:
                result = work(self._index)
            except Exception as problem:  # the asker decides; the thread lives on
                error = problem
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._deliver, future, result, error)
        self._index.close()

    @staticmethod
    def _deliver(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    async def close(self) -> None:
        self._work.put(None)
        await self._loop.run_in_executor(None, self._thread.join)


def open_index(path: str, set_aside: Callable[[str], None]) -> tuple[Index, bool]:
    """The index, and whether it had to be begun anew: a damaged database is set aside, the segments still know."""
    existed = Path(path).exists()
    try:
        index = Index(path)
        if index.check():
            return index, not existed
        index.close()
    except apsw.Error:
        pass
    set_aside(path)
    return Index(path), True
