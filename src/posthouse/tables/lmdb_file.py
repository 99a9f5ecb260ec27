"""lmdb: tables in Postfix's format: one unnamed database in FILE.lmdb, keys and values with a trailing NUL.

postmap of either system may write the file in place or replace it, so every lookup is one read transaction under
Postfix's lock (fcntl on the file), and the environment is opened again when the file is another one. Writing is the
job of the postmap command.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import lmdb

from posthouse.tables.file import FileTable
from posthouse.tables.source import Warn
from posthouse.tables.table import TableError

INITIAL_MAP_OCTETS: Final = 16 * 1024 * 1024
"""lmdb_map_size of Postfix; it grows by doubling while writing."""
MAXIMAL_KEY_OCTETS: Final = 511
"""LMDB's own limit for keys."""


@dataclass(slots=True)
class Environment:
    database: lmdb.Environment
    descriptor: int
    """For the lock only. LMDB has its own descriptor."""


class LmdbTable(FileTable[Environment]):
    def __init__(self, name: str, path: str, now: Callable[[], float], warn: Warn) -> None:
        super().__init__(name, path + ".lmdb", now, warn)

    def make(self, path: str) -> Environment:
        try:
            database = lmdb.open(path, subdir=False, readonly=True, lock=False, max_dbs=0, readahead=False)
        except lmdb.Error as error:
            raise ValueError(str(error)) from error
        try:
            return Environment(database, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            database.close()
            raise

    def discard(self, content: Environment) -> None:
        content.database.close()
        os.close(content.descriptor)

    def lookup(self, key: str) -> str | None:
        environment = self.content()
        octets = key.lower().encode("utf-8", "surrogateescape")
        if not octets or len(octets) >= MAXIMAL_KEY_OCTETS:
            return None
        try:
            fcntl.lockf(environment.descriptor, fcntl.LOCK_SH)
            try:
                with environment.database.begin() as transaction:
                    value: bytes | None = transaction.get(octets + b"\0")
                    if value is None:
                        value = transaction.get(octets)
            finally:
                fcntl.lockf(environment.descriptor, fcntl.LOCK_UN)
        except (lmdb.Error, OSError) as error:
            raise TableError(f"{self.name}: {error}") from error
        if value is None:
            return None
        return value.removesuffix(b"\0").decode("utf-8", "surrogateescape")

    def entries(self) -> Iterator[tuple[str, str]]:
        """Everything, for listing. Raises TableError."""
        try:
            with self.content().database.begin() as transaction:
                for key, value in transaction.cursor():
                    yield (
                        bytes(key).removesuffix(b"\0").decode("utf-8", "surrogateescape"),
                        bytes(value).removesuffix(b"\0").decode("utf-8", "surrogateescape"),
                    )
        except lmdb.Error as error:
            raise TableError(f"{self.name}: {error}") from error


def write_lmdb(path: str, entries: Iterable[tuple[str, str]], file_mode: int = 0o644) -> None:
    """Make `path` (with .lmdb) anew, in one step: readers see the old or the new file, never a half."""
    draft = f"{path}.{os.getpid()}.tmp"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft)
    pairs = [
        (key.encode("utf-8", "surrogateescape") + b"\0", value.encode("utf-8", "surrogateescape") + b"\0")
        for key, value in entries
    ]
    octets = INITIAL_MAP_OCTETS
    needed = sum(len(key) + len(value) + 64 for key, value in pairs) * 4
    while octets < needed:
        octets *= 2
    try:
        with lmdb.open(draft, subdir=False, lock=False, map_size=octets, mode=file_mode, sync=True) as environment:
            with environment.begin(write=True) as transaction:
                for key, value in pairs:
                    transaction.put(key, value, overwrite=True)
            environment.sync(True)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        raise
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
