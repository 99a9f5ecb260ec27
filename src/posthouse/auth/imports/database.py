"""A database to read from, named by a URL or by one of Dovecot's query files."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from posthouse.auth import database_url
from posthouse.auth.databases.lookup import BadDatabase
from posthouse.auth.databases.queries import Query, parse_query_file
from posthouse.auth.databases.sql import DRIVERS, Driver, Row
from posthouse.auth.imports.harvest import Unreadable


def settings_of_url(url: str, password: str) -> dict[str, str]:
    """driver and connect, as in a query file. Raises Unreadable."""
    try:
        return database_url.settings_of_url(url, password)
    except BadDatabase as error:
        raise Unreadable(str(error)) from error


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
