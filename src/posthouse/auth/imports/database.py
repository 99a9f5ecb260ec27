"""A database to read from, named by a URL or by one of Dovecot's query files."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

from posthouse.auth.databases.lookup import BadDatabase
from posthouse.auth.databases.queries import Query, parse_query_file
from posthouse.auth.databases.sql import DRIVERS, Driver, Row
from posthouse.auth.imports.harvest import Unreadable

SCHEMES: Final = {
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgresql": "pgsql",
    "postgres": "pgsql",
    "sqlite": "sqlite",
}


def is_url(source: str) -> bool:
    return source.partition("://")[0] in SCHEMES


def settings_of_url(url: str, password: str = "") -> dict[str, str]:
    """driver and connect, as in a query file. `password` counts if the URL has none. Raises Unreadable."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Unreadable(f"not a URL: {error}") from error
    kind = SCHEMES.get(parts.scheme)
    if kind is None:
        raise Unreadable(f"{parts.scheme}: is not known (known: {', '.join(SCHEMES)})")
    path = unquote(parts.path)
    if kind == "sqlite":
        return {"driver": kind, "connect": path}
    words = {
        "host": unquote(parts.hostname or ""),
        "port": str(port or ""),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or "") or password,
        "dbname": path.removeprefix("/"),
    }
    # A socket has no place in a URL's host: mysql://user@/database?host=/run/mysqld/mysqld.sock
    for word in parts.query.split("&"):
        name, equals, value = word.partition("=")
        if equals and name in ("host", "sslmode", "ssl_ca"):
            words[name] = unquote(value)
        elif word:
            raise Unreadable(f"{name} is not known in a URL (known: host, sslmode, ssl_ca)")
    return {"driver": kind, "connect": " ".join(f"{name}={_quoted(value)}" for name, value in words.items() if value)}


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class SourceDatabase:
    """Raises Unreadable."""

    def __init__(self, settings: Mapping[str, str], where: str) -> None:
        self.where = where
        make = DRIVERS.get(settings.get("driver", ""))
        if make is None:
            raise Unreadable(
                f"{where}: driver = {settings.get('driver') or '(not set)'}: known are {', '.join(DRIVERS)}"
            )
        try:
            self._driver: Driver = make(settings.get("connect", ""), where)
        except ValueError as error:
            raise Unreadable(str(error)) from error
        try:
            self._connection = self._driver.connect()
        except self._driver.errors as error:
            raise Unreadable(f"{where}: {_words(error)}") from error

    def compile(self, text: str) -> Query:
        try:
            return self._driver.compile(text)
        except BadDatabase as error:
            raise Unreadable(f"{self.where}: {error}") from error

    def rows(self, query: Query | str, values: Sequence[str] = ()) -> list[Row]:
        compiled = self.compile(query) if isinstance(query, str) else query
        try:
            return self._connection.rows(compiled, values)
        except self._driver.errors as error:
            raise Unreadable(f"{self.where}: {_words(error)}") from error

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def opened(settings: Mapping[str, str], where: str) -> Iterator[SourceDatabase]:
    database = SourceDatabase(settings, where)
    try:
        yield database
    finally:
        database.close()


def query_file(text: str, path: str) -> dict[str, str]:
    try:
        return parse_query_file(text, path)
    except BadDatabase as error:
        raise Unreadable(str(error)) from error


def _words(error: Exception) -> str:
    """PyMySQL's errors are (number, text)."""
    return str(error.args[-1]) if error.args else type(error).__name__
