"""The index of one user's Maildir: one SQLite file for all folders.

Writing: the first change of a turn of the event loop opens a transaction, the end of the turn commits it, so that many
changes share one. Nothing is flushed to disk here: `Store.flush` does that for files and index together
(write-ahead log, synchronous=NORMAL). Only new blocks of UIDs and new UIDVALIDITYs are waited for, because they must be
on disk before they are shown. The write-ahead log is copied back by a second connection in a thread.

UIDs: `uid_reserved` is the durable mark. After an unclean stop (or a restart of the machine) numbering goes on there.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import apsw
import msgspec

from posthouse.core.identifiers import DeliveryId
from posthouse.runtime.crashpoints import reach
from posthouse.store.crashpoints import StoreStep
from posthouse.store.flush import sync_file
from posthouse.store.interface import Cached
from posthouse.store.wiretexts import WireTexts

FILE: Final = "posthouse.index"
SCHEMA_VERSION: Final = 1
CACHE_KIB: Final = 512
"""Of SQLite pages per open user; rows of an open mailbox are in memory anyway."""
CHECKPOINT_PAGES: Final = 1000
UID_BLOCK: Final = 1000
MODSEQ_BLOCK: Final = 1_000_000
MAX_CACHED_HEADER: Final = 64 * 1024
"""Longer headers are read from the message each time."""

_SCHEMA: Final = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE mailbox(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, uid_validity INTEGER NOT NULL,
    uid_next INTEGER NOT NULL, uid_reserved INTEGER NOT NULL,
    modseq INTEGER NOT NULL, modseq_reserved INTEGER NOT NULL, recent_from INTEGER NOT NULL,
    messages INTEGER NOT NULL, unseen INTEGER NOT NULL, octets INTEGER NOT NULL,
    new_mtime_ns INTEGER NOT NULL, cur_mtime_ns INTEGER NOT NULL);
CREATE TABLE message(
    mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, file TEXT NOT NULL, fresh INTEGER NOT NULL, extra TEXT NOT NULL,
    modseq INTEGER NOT NULL, date REAL NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY(mailbox, uid)) WITHOUT ROWID;
CREATE INDEX message_fresh ON message(mailbox) WHERE fresh;
CREATE TABLE texts(
    mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, envelope BLOB, body BLOB, bodystructure BLOB,
    PRIMARY KEY(mailbox, uid)) WITHOUT ROWID;
CREATE TABLE header(
    mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, header BLOB, PRIMARY KEY(mailbox, uid)) WITHOUT ROWID;
CREATE TABLE tombstone(delivery TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE doomed(path TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_LISTS_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS header_list(id INTEGER PRIMARY KEY, names BLOB NOT NULL UNIQUE, asked REAL NOT NULL);
CREATE TABLE IF NOT EXISTS fields(
    mailbox INTEGER NOT NULL, list INTEGER NOT NULL, uid INTEGER NOT NULL, text BLOB NOT NULL,
    PRIMARY KEY(mailbox, list, uid)) WITHOUT ROWID;
"""
"""Header lists that clients ask for, and their answers. Made when the first client does."""
MAX_LISTS: Final = 8
"""Of one user: each client has one or two of its own; the one asked for longest ago gives way."""
ASKED_RESOLUTION_S: Final = 86400.0
"""How exactly that is known: a question costs a write once a day, not each time."""
_TEXT_COLUMN: Final = {
    Cached.ENVELOPE: ("texts", "envelope"),
    Cached.BODY: ("texts", "body"),
    Cached.BODYSTRUCTURE: ("texts", "bodystructure"),
    Cached.HEADER: ("header", "header"),
}


class MailboxState(msgspec.Struct, gc=False):
    """What is known of a mailbox without loading its rows; the counters are those of the index, so they are true if
    the directories still have these modification times (0: they have to be looked at)."""

    id: int
    name: str
    uid_validity: int
    uid_next: int
    uid_reserved: int
    modseq: int
    modseq_reserved: int
    recent_from: int
    messages: int = 0
    unseen: int = 0
    octets: int = 0
    new_mtime_ns: int = 0
    cur_mtime_ns: int = 0


class IndexRow(msgspec.Struct, gc=False):
    """One message: `file` is "cur/…" or "new/…" below the folder, `extra` keywords that have no letter."""

    uid: int
    file: str
    extra: str
    modseq: int
    date: float
    size: int


class IndexDamaged(Exception):
    """SQLite found the file to be broken."""


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


BOOT: Final = _boot_id()
"""Read at import, before any jail. What was written before the machine started anew may have been lost."""


def _identity(path: str) -> tuple[int, int]:
    facts = os.stat(path)
    return facts.st_dev, facts.st_ino


class Index:
    """Belongs to one event loop (or to none: then every change is committed at once)."""

    def __init__(self, path: str, executor: ThreadPoolExecutor) -> None:
        self.path = path
        self.error: apsw.Error | None = None
        """Set once a transaction was lost: what is in memory is ahead of the file, which must be opened anew."""
        self._executor = executor
        self._in_transaction = False
        self._held = 0
        self._changed = False
        self._marked = False
        self._checkpointing = False
        self._lists: dict[bytes, int] | None = None
        self._stale_lists: set[int] = set()
        """Header lists whose time of the last question is old: to be written when they are asked for again."""
        self._used_s = time.monotonic()
        fresh = not os.path.exists(path)
        self._connection: apsw.Connection | None = apsw.Connection(path)
        try:
            self._set_up(fresh)
            self._file = _identity(path)
            if not self._was_clean():
                self._jump()
        except apsw.Error as error:
            with contextlib.suppress(apsw.Error):
                self._connection.close(True)
            if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.SQLError | apsw.ConstraintError):
                raise IndexDamaged(str(error)) from error
            raise

    @property
    def _db(self) -> apsw.Connection:
        """The connection, opened again if it was resting. Raises apsw.Error, also if the file is another one now: what
        is in memory is not about that."""
        self._used_s = time.monotonic()
        if self._connection is None:
            connection = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                if _identity(self.path) != self._file:
                    raise apsw.CantOpenError(f"{self.path} was replaced")
                self._configure(connection)
            except OSError as error:
                connection.close(True)
                raise apsw.CantOpenError(str(error)) from error
            except apsw.Error:
                connection.close(True)
                raise
            self._connection = connection
        return self._connection

    def rest(self, unused_s: float) -> None:
        """Close the connection if nothing was asked for so long: SQLite keeps some 150 KB for it. What is committed and
        not checkpointed stays in the log; nothing waits for the disk."""
        connection = self._connection
        if (
            connection is None
            or self._in_transaction
            or self._held
            or self._checkpointing
            or self.error is not None
            or time.monotonic() - self._used_s < unused_s
        ):
            return
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.close()
        self._connection = None

    def _configure(self, db: apsw.Connection) -> None:
        db.set_busy_timeout(5000)
        db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA wal_autocheckpoint=0")
        db.set_wal_hook(self._on_commit)

    def _set_up(self, fresh: bool) -> None:
        db = self._db
        db.set_busy_timeout(5000)
        # While the default (FULL) holds, so that the file is a database before its log begins.
        db.execute("PRAGMA journal_mode=WAL")
        self._configure(db)
        if fresh or not db.execute("SELECT count(*) FROM sqlite_schema").get:
            with db:
                db.execute(_SCHEMA)
                db.execute("INSERT INTO meta VALUES('schema', ?)", (SCHEMA_VERSION,))
            # On disk with the first mailbox's row, which is waited for.
            db.release_memory()
        version = db.execute("SELECT value FROM meta WHERE key='schema'").get
        if version != SCHEMA_VERSION:
            raise IndexDamaged(f"schema version {version}")

    def _was_clean(self) -> bool:
        values = dict(self._db.execute("SELECT key, value FROM meta WHERE key IN ('clean', 'boot')"))
        # A new file has neither; it has no numbers to protect.
        return not values or (values.get("clean") == 1 and values.get("boot") == BOOT and BOOT != "")

    def _jump(self) -> None:
        """Numbers up to the reserved ones may have been shown: go on behind them."""
        self._change().execute(
            "UPDATE mailbox SET uid_next=uid_reserved, uid_reserved=uid_reserved+?, modseq=modseq_reserved,"
            " modseq_reserved=modseq_reserved+?",
            (UID_BLOCK, MODSEQ_BLOCK),
        )
        self.commit_durably()

    # ── transactions ──

    def _change(self) -> apsw.Connection:
        """The connection, in a transaction."""
        if self._in_transaction:
            return self._db
        if not self._marked:
            # Committed before any number can be shown: a process that is killed in this turn has stopped uncleanly.
            with self._db:
                self._db.execute("REPLACE INTO meta VALUES('clean', 0), ('boot', ?)", (BOOT,))
            self._marked = True
        self._db.execute("BEGIN IMMEDIATE")
        self._in_transaction = True
        if not self._held:
            try:
                asyncio.get_running_loop().call_soon(self.commit)
            except RuntimeError:
                pass
        return self._db

    @contextlib.contextmanager
    def grouped(self) -> Iterator[None]:
        """Changes inside belong together; without an event loop they are committed at the end."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if not self._held and self._in_transaction:
                try:
                    asyncio.get_running_loop().call_soon(self.commit)
                except RuntimeError:
                    self.commit()

    def commit(self) -> None:
        """A failure is kept in `error` and met by the next flush: this is also called from the loop, by nobody."""
        if not self._in_transaction:
            return
        self._in_transaction = False
        self._changed = True
        try:
            self._db.execute("COMMIT")
            reach(StoreStep.STORE_INDEX_COMMITTED)
        except apsw.Error as error:
            self.error = error
            with contextlib.suppress(apsw.Error):
                self._db.execute("ROLLBACK")

    def commit_durably(self) -> None:
        """Waits for the disk. For what must not be shown or done before it is safe."""
        self.commit()
        if self.error is not None:
            raise self.error
        sync_file(self.path + "-wal")
        sync_file(os.path.dirname(self.path))

    def take_changed(self) -> bool:
        """Was anything committed since the last question?"""
        changed, self._changed = self._changed, False
        return changed

    @property
    def log_path(self) -> str:
        return self.path + "-wal"

    def _on_commit(self, _: apsw.Connection, __: str, pages: int) -> int:
        if pages >= CHECKPOINT_PAGES and not self._checkpointing:
            self._checkpointing = True
            self._executor.submit(self._checkpoint)
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        try:
            db = apsw.Connection(self.path)
            try:
                db.execute("PRAGMA wal_autocheckpoint=0")
                db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            finally:
                db.close()
        except apsw.Error:
            pass  # the log grows on, and the next commit tries again
        finally:
            self._checkpointing = False

    def close(self) -> Callable[[], None]:
        """Ends the use; the answer does the rest, which waits for the disk and may run in a thread. The mark of a clean
        stop is set only when everything before it is on disk."""
        self.commit()

        def finish() -> None:
            try:
                if self._marked and self.error is None:
                    sync_file(self.log_path)
                    self._db.execute("REPLACE INTO meta VALUES('clean', 1)")
            finally:
                if self._connection is not None:
                    self._connection.close(True)

        return finish

    # ── renames under way ──

    def announce_rename(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Directories are about to be renamed: after a crash, whoever opens the index finishes it."""
        self._change().execute("REPLACE INTO meta VALUES('rename', ?)", (msgspec.json.encode(pairs).decode(),))
        self.commit()

    def announced_rename(self) -> list[tuple[str, str]]:
        text = self._db.execute("SELECT value FROM meta WHERE key='rename'").get
        return msgspec.json.decode(text, type=list[tuple[str, str]]) if text else []

    def rename_done(self) -> None:
        self._change().execute("DELETE FROM meta WHERE key='rename'")

    # ── mailboxes ──

    def mailboxes(self) -> list[MailboxState]:
        return [MailboxState(*row) for row in self._db.execute("SELECT * FROM mailbox")]

    def mailbox(self, name: str) -> MailboxState | None:
        for row in self._db.execute("SELECT * FROM mailbox WHERE name=?", (name,)):
            return MailboxState(*row)
        return None

    def highest_uid_validity(self) -> int:
        return int(self._db.execute("SELECT max(uid_validity) FROM mailbox").get or 0)

    def add_mailbox(self, state: MailboxState) -> None:
        """Gives it its id; durable only after `commit_durably`."""
        self._change().execute(
            "INSERT INTO mailbox VALUES(NULL,?,?,?,?,?,?,?,?,?,?,?,?)", msgspec.structs.astuple(state)[1:]
        )
        state.id = self._db.last_insert_rowid()

    def save(self, state: MailboxState) -> None:
        self._change().execute(
            "UPDATE mailbox SET uid_next=?,uid_reserved=?,modseq=?,modseq_reserved=?,recent_from=?,messages=?,unseen=?,"
            "octets=?,new_mtime_ns=?,cur_mtime_ns=? WHERE id=?",
            (
                state.uid_next,
                state.uid_reserved,
                state.modseq,
                state.modseq_reserved,
                state.recent_from,
                state.messages,
                state.unseen,
                state.octets,
                state.new_mtime_ns,
                state.cur_mtime_ns,
                state.id,
            ),
        )

    def rename_mailboxes(self, pairs: Iterable[tuple[str, str]]) -> None:
        db = self._change()
        for old, new in pairs:
            self._remove_mailbox(db, new)
            db.execute("UPDATE mailbox SET name=? WHERE name=?", (new, old))

    def remove_mailbox(self, name: str) -> None:
        self._remove_mailbox(self._change(), name)

    @staticmethod
    def _remove_mailbox(db: apsw.Connection, name: str) -> None:
        found = db.execute("SELECT id FROM mailbox WHERE name=?", (name,)).get
        if found is not None:
            tables = ["message", "texts", "header"]
            if db.execute("SELECT count(*) FROM sqlite_schema WHERE name='fields'").get:
                tables.append("fields")
            for table in tables:
                db.execute(f"DELETE FROM {table} WHERE mailbox=?", (found,))  # noqa: S608  # our own table names
            db.execute("DELETE FROM mailbox WHERE id=?", (found,))

    # ── messages ──

    def rows(self, mailbox: int) -> list[tuple[Any, ...]]:
        """Everything, ascending by UID: plain tuples (uid, file, extra, modseq, date, size), because there are many."""
        return self._db.execute(
            "SELECT uid,file,extra,modseq,date,size FROM message WHERE mailbox=? ORDER BY uid", (mailbox,)
        ).fetchall()

    def fresh_files(self, mailbox: int) -> dict[str, int]:
        """The messages that stand in new, as the index knows it."""
        return dict(self._db.execute("SELECT file, uid FROM message WHERE mailbox=? AND fresh", (mailbox,)))

    def recent(self, mailbox: int, recent_from: int) -> int:
        return int(
            self._db.execute("SELECT count(*) FROM message WHERE mailbox=? AND uid>=?", (mailbox, recent_from)).get
        )

    def add_rows(self, mailbox: int, rows: Sequence[IndexRow]) -> None:
        self._change().executemany(
            "INSERT INTO message VALUES(?,?,?,?,?,?,?,?)",
            (
                (mailbox, row.uid, row.file, row.file.startswith("new/"), row.extra, row.modseq, row.date, row.size)
                for row in rows
            ),
        )

    def update_rows(self, mailbox: int, changes: Iterable[tuple[str, str, int, int]]) -> None:
        """(file, extra, modseq, uid)."""
        self._change().executemany(
            "UPDATE message SET file=?,fresh=?,extra=?,modseq=? WHERE mailbox=? AND uid=?",
            ((file, file.startswith("new/"), extra, modseq, mailbox, uid) for file, extra, modseq, uid in changes),
        )

    def update_size(self, mailbox: int, uid: int, size: int) -> None:
        self._change().execute("UPDATE message SET size=? WHERE mailbox=? AND uid=?", (size, mailbox, uid))

    def remove_rows(self, mailbox: int, uids: Collection[int]) -> None:
        keys = [(mailbox, uid) for uid in uids]
        db = self._change()
        for table in ("message", "texts", "header"):
            db.executemany(f"DELETE FROM {table} WHERE mailbox=? AND uid=?", keys)  # noqa: S608  # our own table names
        for number in self._known_lists().values():
            db.executemany(
                "DELETE FROM fields WHERE mailbox=? AND list=? AND uid=?", ((mailbox, number, uid) for uid in uids)
            )

    # ── wire texts ──

    def texts(self, mailbox: int, uids: Sequence[int], what: Cached) -> dict[int, bytes]:
        table, column = _TEXT_COLUMN[what]
        low, high = min(uids), max(uids)
        if high - low < 2 * len(uids):
            found = self._db.execute(
                f"SELECT uid,{column} FROM {table} WHERE mailbox=? AND uid BETWEEN ? AND ?",  # noqa: S608  # our columns
                (mailbox, low, high),
            )
            return {uid: text for uid, text in found if text is not None}
        query = f"SELECT {column} FROM {table} WHERE mailbox=? AND uid=?"  # noqa: S608  # our own columns
        one_by_one = ((uid, self._db.execute(query, (mailbox, uid)).get) for uid in uids)
        return {uid: text for uid, text in one_by_one if text is not None}

    def ready_texts(self, mailbox: int, uids: list[int], what: Cached) -> list[bytes] | None:
        """The texts of these messages in their order, if they stand together and each has one; else None."""
        if uids[-1] - uids[0] >= 2 * len(uids):
            return None
        table, column = _TEXT_COLUMN[what]
        rows = self._db.execute(
            f"SELECT uid,{column} FROM {table} WHERE mailbox=? AND uid BETWEEN ? AND ?",  # noqa: S608  # our columns
            (mailbox, uids[0], uids[-1]),
        ).fetchall()
        if len(rows) != len(uids):
            return None
        found_uids, texts = zip(*rows, strict=True)
        return list(texts) if list(found_uids) == uids and None not in texts else None

    def add_texts(self, mailbox: int, found: Sequence[tuple[int, WireTexts]]) -> None:
        db = self._change()
        # Where only the header was looked at, a structure that is known already stays.
        db.executemany(
            "INSERT INTO texts VALUES(?,?,?,?,?) ON CONFLICT DO UPDATE SET envelope=excluded.envelope,"
            " body=coalesce(excluded.body,body), bodystructure=coalesce(excluded.bodystructure,bodystructure)",
            ((mailbox, uid, texts.envelope, texts.body, texts.bodystructure) for uid, texts in found),
        )
        db.executemany(
            "REPLACE INTO header VALUES(?,?,?)",
            ((mailbox, uid, texts.header) for uid, texts in found if len(texts.header) <= MAX_CACHED_HEADER),
        )

    # ── header lists ──

    def _known_lists(self) -> dict[bytes, int]:
        """Ids by names."""
        if self._lists is None:
            if not self._db.execute("SELECT count(*) FROM sqlite_schema WHERE name='fields'").get:
                return {}
            rows: Iterable[Any] = self._db.execute("SELECT names, id, asked FROM header_list").fetchall()
            self._lists = {names: number for names, number, _ in rows}
            now_s = time.time()
            self._stale_lists = {number for _, number, asked_s in rows if not 0 <= now_s - asked_s < ASKED_RESOLUTION_S}
        return self._lists

    def _list_number(self, names: bytes) -> int | None:
        """Of a list that is asked for now."""
        number = self._known_lists().get(names)
        if number in self._stale_lists:
            self._stale_lists.discard(number)
            self._change().execute("UPDATE header_list SET asked=? WHERE id=?", (time.time(), number))
        return number

    def ready_fields(self, mailbox: int, uids: list[int], names: bytes) -> list[bytes] | None:
        """As `ready_texts`, for a header list."""
        number = self._list_number(names)
        if number is None or uids[-1] - uids[0] >= 2 * len(uids):
            return None
        rows = self._db.execute(
            "SELECT uid,text FROM fields WHERE mailbox=? AND list=? AND uid BETWEEN ? AND ?",
            (mailbox, number, uids[0], uids[-1]),
        ).fetchall()
        if len(rows) != len(uids):
            return None
        found_uids, texts = zip(*rows, strict=True)
        return list(texts) if list(found_uids) == uids else None

    def add_fields(self, mailbox: int, uids: Sequence[int], texts: Sequence[bytes], names: bytes) -> None:
        db = self._change()
        number = self._list_number(names)
        if number is None:
            number = self._add_list(names)
        db.executemany(
            "REPLACE INTO fields VALUES(?,?,?,?)",
            ((mailbox, number, uid, text) for uid, text in zip(uids, texts, strict=True)),
        )

    def _add_list(self, names: bytes) -> int:
        db = self._change()
        db.execute(_LISTS_SCHEMA)
        for (old,) in db.execute(
            "SELECT id FROM header_list ORDER BY asked DESC LIMIT -1 OFFSET ?", (MAX_LISTS - 1,)
        ).fetchall():
            db.execute("DELETE FROM fields WHERE list=?", (old,))
            db.execute("DELETE FROM header_list WHERE id=?", (old,))
        db.execute("INSERT INTO header_list(names, asked) VALUES(?,?)", (names, time.time()))
        self._lists = None
        return self._known_lists()[names]

    # ── tombstones ──

    def bury(self, deliveries: Iterable[DeliveryId]) -> None:
        now_s = time.time()
        self._change().executemany("REPLACE INTO tombstone VALUES(?,?)", ((one, now_s) for one in deliveries))

    def is_buried(self, delivery: DeliveryId) -> bool:
        return self._db.execute("SELECT 1 FROM tombstone WHERE delivery=?", (delivery,)).get is not None

    def unbury(self, deliveries: Iterable[DeliveryId], older_than_s: float | None = None) -> None:
        db = self._change()
        db.executemany("DELETE FROM tombstone WHERE delivery=?", ((one,) for one in deliveries))
        if older_than_s is not None:
            db.execute("DELETE FROM tombstone WHERE at<?", (older_than_s,))

    def buried(self) -> set[DeliveryId]:
        return {one for (one,) in self._db.execute("SELECT delivery FROM tombstone")}

    def doom(self, paths: Iterable[str]) -> None:
        """Files that go as soon as their tombstones are on disk."""
        self._change().executemany("REPLACE INTO doomed VALUES(?)", ((path,) for path in paths))

    def doomed(self) -> list[str]:
        return [path for (path,) in self._db.execute("SELECT path FROM doomed")]

    def forget_doomed(self, paths: Iterable[str]) -> None:
        self._change().executemany("DELETE FROM doomed WHERE path=?", ((path,) for path in paths))


def set_aside(path: str, now_s: float) -> str:
    """Put a damaged index out of the way, for whoever wants to look at it; the answer is its new name."""
    aside = f"{path}.damaged-{int(now_s)}"
    os.rename(path, aside)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + suffix, aside + suffix)
    return aside
