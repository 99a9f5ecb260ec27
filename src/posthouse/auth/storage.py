"""Where the directory's tables are: what `Directory` needs of a database, and SQLite.

Statements are written once, for SQLite, MariaDB and PostgreSQL: "?" for parameters, and nothing that one of them does
not know.
"""

import os
from pathlib import Path
from typing import Final, Protocol

import apsw

from posthouse.auth.schema import migrate

Value = str | int | float | bytes | None
Rows = list[tuple[Value, ...]]

BUSY_TIMEOUT_MS: Final = 5000
"""How long a writer waits for another writer; readers never wait."""


class DirectoryError(Exception):
    """The database could not answer: a temporary failure, never "no such user"."""


class Storage(Protocol):
    """One connection, for one thread. Everything raises DirectoryError."""

    def rows(self, statement: str, bindings: tuple[str | int, ...] = ()) -> Rows: ...

    def begin(self) -> None: ...

    def commit(self) -> None:
        """Nothing is left to do after a rollback."""
        ...

    def rollback(self) -> None: ...

    def version(self) -> int | None:
        """Another number when somebody else has written since; None: that cannot be told, so remember nothing."""
        ...

    def close(self) -> None: ...


class SqliteStorage:
    def __init__(self, path: str | Path, *, create: bool) -> None:
        """Open, make or upgrade; the file's directory is made, for its owner only, if it is missing."""
        try:
            if create:
                os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
                _touch(path)
            self.connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            self.connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            self.connection.pragma("journal_mode", "wal")
            # A password change that was acknowledged must survive a power cut.
            self.connection.pragma("synchronous", "full")
            self.connection.pragma("foreign_keys", True)
            migrate(self.connection)
        except (apsw.Error, OSError) as error:
            raise DirectoryError(f"{path}: {error}") from error

    def rows(self, statement: str, bindings: tuple[str | int, ...] = ()) -> Rows:
        # apsw keeps prepared statements by their text.
        try:
            return self.connection.execute(statement, bindings).fetchall()
        except apsw.Error as error:
            raise DirectoryError(str(error)) from error

    def begin(self) -> None:
        self.rows("BEGIN IMMEDIATE")

    def commit(self) -> None:
        if self.connection.in_transaction:
            self.rows("COMMIT")

    def rollback(self) -> None:
        if self.connection.in_transaction:
            self.rows("ROLLBACK")

    def version(self) -> int | None:
        return int(self.rows("PRAGMA data_version")[0][0] or 0)

    def need_no_flush(self) -> None:
        """What is written from now on may be lost in a power cut; the database stays whole."""
        self.connection.pragma("synchronous", "normal")

    def close(self) -> None:
        self.connection.close()


def _touch(path: str | Path) -> None:
    """Make the file with a mode of our own: SQLite would take what the umask leaves, and its -wal and -shm copy it."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
