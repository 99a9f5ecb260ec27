"""SQL databases as Dovecot's `driver = sql` has them: MySQL and MariaDB, PostgreSQL, SQLite.

Questions run in threads, each with a connection of its own that is opened when it is first needed and again when it was
lost. A query that fails on a connection that was open before is tried once more on a new one: the server may just have
been restarted.
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import apsw

from posthouse.auth.databases.lookup import WEAK_FIELD, BadDatabase, DatabaseError, PassFound, Question
from posthouse.auth.databases.queries import Query, compile_query, parse_connect, parse_query_file
from posthouse.auth.databases.rehash import SqlRehash
from posthouse.auth.schemes import is_weak

CONNECT_TIMEOUT_S: Final = 5.0
QUERY_TIMEOUT_S: Final = 10.0
"""A client waits for both; SMTP and IMAP clients do so for a minute and more."""
MYSQL_SOCKETS: Final = ("/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock")
"""Where "host=localhost" is, for the client library too."""
PG_SOCKETS: Final = "/var/run/postgresql"
"""Where libpq looks without a host on Debian."""
LOOK_AGAIN_S: Final = 1.0
"""After which a SQLite file is looked at again: it may have been replaced by another one."""
QUICK_STEPS: Final = 20_000
"""Of SQLite's machine: about half a millisecond. A look-up by an index takes fewer than a hundred."""
Row = Mapping[str, str | None]


class Connection(Protocol):
    """Raises `Driver.errors`."""

    def rows(self, query: Query, values: Sequence[str]) -> list[Row]: ...

    def close(self) -> None: ...


class Driver(Protocol):
    name: str
    errors: tuple[type[Exception], ...]
    serializable: tuple[str, ...]
    """Begins such a transaction."""

    def compile(self, text: str) -> Query: ...

    def connect(self) -> Connection: ...


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "surrogateescape")
    return str(value)


# ── SQLite ──


class _SqliteConnection:
    """`steps`: of SQLite's machine, after which a query is given up (apsw.InterruptError); 0 has no limit."""

    def __init__(self, path: str, *, busy_timeout_s: float, steps: int = 0) -> None:
        self._path = path
        self._connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        self._connection.set_busy_timeout(int(busy_timeout_s * 1000))
        if steps:
            self._connection.set_progress_handler(lambda: True, steps)
        self._file = _identity(path)
        self._looked_s = time.monotonic()

    def rows(self, query: Query, values: Sequence[str]) -> list[Row]:
        now_s = time.monotonic()
        if now_s - self._looked_s > LOOK_AGAIN_S:
            self._looked_s = now_s
            if _identity(self._path) != self._file:
                raise apsw.CantOpenError(f"{self._path} was replaced")
        cursor = self._connection.execute(query.text, tuple(values))
        found: list[Row] = []
        for row in cursor:
            names = [one[0] for one in cursor.get_description()]
            found.append({name: _text(value) for name, value in zip(names, row, strict=True)})
        return found

    def close(self) -> None:
        self._connection.close()


def _identity(path: str) -> tuple[int, int]:
    try:
        facts = os.stat(path)
    except OSError as error:
        raise apsw.CantOpenError(f"{path}: {error.strerror}") from error
    return facts.st_dev, facts.st_ino


class SqliteDriver:
    name = "sqlite"
    serializable: tuple[str, ...] = ("BEGIN IMMEDIATE",)
    errors: tuple[type[Exception], ...] = (apsw.Error,)

    def __init__(self, connect: str, path: str) -> None:
        self.path = connect.strip()
        if not self.path.startswith("/"):
            raise BadDatabase(f"{path}: connect: the path of the database file is expected")

    def compile(self, text: str) -> Query:
        return compile_query(text, lambda _: "?")

    def connect(self) -> Connection:
        return _SqliteConnection(self.path, busy_timeout_s=QUERY_TIMEOUT_S)

    def connect_quick(self) -> Connection:
        return _SqliteConnection(self.path, busy_timeout_s=0, steps=QUICK_STEPS)


# ── MySQL and MariaDB ──


class _MySqlConnection:
    def __init__(self, connection: Any) -> None:  # PyMySQL has no types
        self._connection = connection

    def rows(self, query: Query, values: Sequence[str]) -> list[Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(query.text, tuple(values))
            names = [one[0] for one in cursor.description or ()]
            return [{name: _text(value) for name, value in zip(names, row, strict=True)} for row in cursor.fetchall()]

    def tuples(self, text: str, values: Sequence[str | int]) -> list[tuple[Any, ...]]:
        """Values as the database has them; "%s" for each parameter."""
        with self._connection.cursor() as cursor:
            cursor.execute(text, tuple(values) or None)
            return list(cursor.fetchall())

    def close(self) -> None:
        self._connection.close()


class MySqlDriver:
    name = "mysql"
    serializable: tuple[str, ...] = ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "START TRANSACTION")

    def __init__(self, connect: str, path: str) -> None:
        # Loaded where it is configured, and before the jail closes.
        import pymysql  # type: ignore[import-untyped]

        self._module: Any = pymysql
        self.errors: tuple[type[Exception], ...] = (pymysql.Error, OSError)
        found = parse_connect(connect, path)
        known = {"host", "port", "user", "password", "dbname", "ssl_ca", "client_flags", "option_file", "option_group"}
        if unknown := sorted(set(found) - known):
            raise BadDatabase(f"{path}: connect: {unknown[0]} is not known (known: {', '.join(sorted(known))})")
        self._hosts = found.get("host", ["localhost"])
        self._port = int(found.get("port", ["3306"])[-1])
        self._user = found.get("user", [""])[-1]
        self._password = found.get("password", [""])[-1]
        self._database = found.get("dbname", [""])[-1]
        self._ca = found.get("ssl_ca", [""])[-1]

    @staticmethod
    def _socket_of(host: str) -> str:
        return host if host.startswith("/") else MYSQL_SOCKETS[0] if host == "localhost" else ""

    def compile(self, text: str) -> Query:
        return compile_query(text, lambda _: "%s", doubles_percent=True)

    def connect(self) -> Connection:
        return _MySqlConnection(self.raw())

    def raw(self) -> Any:
        """A connection of PyMySQL."""
        failure: Exception | None = None
        for host in self._hosts:
            sockets = MYSQL_SOCKETS if host == "localhost" else (self._socket_of(host),)
            for path in sockets:
                try:
                    return self._open(host, path)
                except self.errors as error:
                    failure = failure or error
        assert failure is not None
        raise failure

    def _open(self, host: str, path: str) -> Any:
        connection = self._module.connect(
            host=host,
            unix_socket=path or None,
            defer_connect=True,
            port=self._port,
            user=self._user,
            password=self._password,
            database=self._database or None,
            ssl={"ca": self._ca} if self._ca else None,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=QUERY_TIMEOUT_S,
            write_timeout=QUERY_TIMEOUT_S,
            charset="utf8mb4",
            autocommit=True,
        )
        # The module forgets to close a socket that cannot be connected, so it gets one that is.
        if path:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.settimeout(CONNECT_TIMEOUT_S)
                sock.connect(path)
            except OSError:
                sock.close()
                raise
        else:
            sock = socket.create_connection((host, self._port), CONNECT_TIMEOUT_S)
        connection.connect(sock)
        return connection


# ── PostgreSQL ──


class _PgConnection:
    """asyncpg in a thread of ours: the thread has a loop of its own, which runs while a question is open."""

    def __init__(self, driver: "PgDriver") -> None:
        self._loop = asyncio.new_event_loop()
        try:
            self._connection: Any = self._loop.run_until_complete(driver.open())
        except BaseException:
            self._loop.close()
            raise

    def rows(self, query: Query, values: Sequence[str]) -> list[Row]:
        found = self._loop.run_until_complete(self._connection.fetch(query.text, *values, timeout=QUERY_TIMEOUT_S))
        return [{name: _text(value) for name, value in row.items()} for row in found]

    def tuples(self, text: str, values: Sequence[str | int]) -> list[tuple[Any, ...]]:
        """Values as the database has them; "$1" for the first parameter."""
        found = self._loop.run_until_complete(self._connection.fetch(text, *values, timeout=QUERY_TIMEOUT_S))
        return [tuple(row) for row in found]

    def close(self) -> None:
        # The caller's thread may have a loop that runs; two of them do not go together.
        ending = threading.Thread(target=self._end)
        ending.start()
        ending.join()

    def _end(self) -> None:
        self._connection.terminate()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


class PgDriver:
    name = "pgsql"
    serializable: tuple[str, ...] = ("BEGIN ISOLATION LEVEL SERIALIZABLE",)

    def __init__(self, connect: str, path: str) -> None:
        import asyncpg  # type: ignore[import-untyped]

        self._module: Any = asyncpg
        self.errors: tuple[type[Exception], ...] = (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            OSError,
            TimeoutError,
        )
        found = parse_connect(connect, path)
        known = {"host", "hostaddr", "port", "user", "password", "dbname", "sslmode", "connect_timeout"}
        if unknown := sorted(set(found) - known):
            raise BadDatabase(f"{path}: connect: {unknown[0]} is not known (known: {', '.join(sorted(known))})")
        self._options: dict[str, Any] = {
            "host": [*found.get("host", []), *found.get("hostaddr", [])] or [PG_SOCKETS],
            "port": int(found.get("port", ["5432"])[-1]),
            "user": found.get("user", [None])[-1],
            "password": found.get("password", [None])[-1],
            "database": found.get("dbname", [None])[-1],
            "ssl": found.get("sslmode", ["prefer"])[-1],
        }

    async def open(self) -> Any:
        failure: Exception | None = None
        for host in self._options["host"]:
            options = {**self._options, "host": host}
            if host.startswith("/"):
                options["ssl"] = False
            try:
                # No prepared statements are kept: poolers between us and the server do not like them.
                return await self._module.connect(**options, timeout=CONNECT_TIMEOUT_S, statement_cache_size=0)
            except self.errors as error:
                failure = failure or error
        assert failure is not None
        raise failure

    def compile(self, text: str) -> Query:
        return compile_query(text, lambda number: f"${number}::text")

    def connect(self) -> Connection:
        return _PgConnection(self)


DRIVERS: Final[Mapping[str, Callable[[str, str], Driver]]] = {
    "mysql": MySqlDriver,
    "pgsql": PgDriver,
    "sqlite": SqliteDriver,
}


# ── a database ──


class SqlDatabase:
    """Implements PassDatabase and UserDatabase from one query file. Raises BadDatabase."""

    name = "sql"
    is_immediate = True

    def __init__(self, path: str, text: str, *, threads: int) -> None:
        settings = parse_query_file(text, path)
        kind = settings.get("driver", "")
        make = DRIVERS.get(kind)
        if make is None:
            known = ", ".join(DRIVERS)
            raise BadDatabase(f"{path}: driver = {kind or '(not set)'} is not supported (supported: {known})")
        self.path = path
        self.default_scheme = settings.get("default_pass_scheme", "CRYPT").upper()
        try:
            self.driver = make(settings.get("connect", ""), path)
        except ModuleNotFoundError as error:
            raise BadDatabase(f"{path}: driver = {kind} needs the Python module {error.name}") from error
        self._password_query = self._compiled(settings, "password_query")
        self._user_query = self._compiled(settings, "user_query")
        self._iterate_query = self._compiled(settings, "iterate_query")
        update_query = self._compiled(settings, "update_query")
        self.rehash: SqlRehash | None = None
        if update_query is not None and self._password_query is not None and kind != "sqlite":
            self.rehash = SqlRehash(path, self.driver, self._password_query, update_query, self.default_scheme)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="sql")
        self._local = threading.local()
        self._open: list[Connection] = []
        self._quick: Connection | None = None

    def _compiled(self, settings: Mapping[str, str], name: str) -> Query | None:
        try:
            return self.driver.compile(settings[name]) if name in settings else None
        except BadDatabase as error:
            raise BadDatabase(f"{self.path}: {name}: {error}") from error

    async def password(self, question: Question) -> PassFound | None:
        row = await self._one(self._password_query, "password_query", question)
        if row is None:
            return None
        fields = {name: value for name, value in row.items() if value is not None}
        if "password" not in row:
            raise DatabaseError(f"{self.path}: Password query must return a field named 'password'")
        stored = fields.pop("password", "")
        if self.rehash is not None and is_weak(stored, self.default_scheme):
            fields[WEAK_FIELD] = self.path
        return PassFound(stored, fields)

    async def fields(self, question: Question) -> Mapping[str, str] | None:
        row = await self._one(self._user_query, "user_query", question)
        return None if row is None else {name: value for name, value in row.items() if value is not None}

    async def users(self) -> list[str]:
        """Columns user, or username and domain, as Dovecot's iterate_query has them."""
        if self._iterate_query is None:
            raise DatabaseError(f"{self.path}: iterate_query is not set, so that users cannot be listed")
        values = self._iterate_query.bound(Question("").values())
        try:
            rows = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._ask, self._iterate_query, values
            )
        except self.driver.errors as error:
            raise DatabaseError(f"{self.path}: {self.driver.name}: {_words(error)}") from error
        return [name for row in rows if (name := _listed(self.path, row))]

    def password_cache_key(self, question: Question) -> Sequence[str]:
        """What the answer depends on: the parameters of the query."""
        return self._password_query.bound(question.values()) if self._password_query is not None else ()

    def user_cache_key(self, question: Question) -> Sequence[str]:
        return self._user_query.bound(question.values()) if self._user_query is not None else ()

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        while self._open:
            self._open.pop().close()
        if self._quick is not None:
            self._quick.close()

    async def _one(self, query: Query | None, name: str, question: Question) -> Row | None:
        if query is None:
            raise DatabaseError(f"{self.path}: {name} is not set")
        values = query.bound(question.values())
        rows = self._ask_quickly(query, values)
        try:
            if rows is None:
                rows = await asyncio.get_running_loop().run_in_executor(self._executor, self._ask, query, values)
        except self.driver.errors as error:
            raise DatabaseError(f"{self.path}: {self.driver.name}: {_words(error)}") from error
        if len(rows) > 1:
            raise DatabaseError(f"{self.path}: {name} returned multiple matches for {question.user}")
        return rows[0] if rows else None

    def _ask_quickly(self, query: Query, values: Sequence[str]) -> list[Row] | None:
        """A file on this machine has answered before a thread had begun to. None: not at once, so ask in a thread."""
        if not isinstance(self.driver, SqliteDriver):
            return None
        try:
            if self._quick is None:
                self._quick = self.driver.connect_quick()
            return self._quick.rows(query, values)
        except self.driver.errors:
            if self._quick is not None:
                self._quick.close()
                self._quick = None
            return None

    def _ask(self, query: Query, values: Sequence[str]) -> list[Row]:
        """In a thread."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            try:
                return connection.rows(query, values)
            except self.driver.errors:
                self._forget(connection)
        connection = self.driver.connect()
        self._local.connection = connection
        self._open.append(connection)
        try:
            return connection.rows(query, values)
        except self.driver.errors:
            self._forget(connection)
            raise

    def _forget(self, connection: Connection) -> None:
        self._local.connection = None
        self._open.remove(connection)
        try:
            connection.close()
        except self.driver.errors:
            pass  # it was lost


def _listed(path: str, row: Row) -> str:
    name = row.get("user") or row.get("username")
    if name is None:
        raise DatabaseError(f"{path}: iterate_query must return a field named user, or username and domain")
    domain = row.get("domain")
    return f"{name}@{domain}" if domain else name


def _words(error: Exception) -> str:
    """PyMySQL's errors are (number, text)."""
    return str(error.args[-1]) if error.args else type(error).__name__
