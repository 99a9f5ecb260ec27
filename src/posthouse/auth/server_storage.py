"""The directory's tables on a MariaDB, MySQL or PostgreSQL server.

The schema is brought up to date by the account commands (auth.upgrade); auth only looks whether it is.
"""

import functools
from typing import Any, Final

from posthouse.auth.databases.sql import Driver, MySqlDriver, PgDriver
from posthouse.auth.schema import VERSIONS
from posthouse.auth.storage import DirectoryError, Rows

VERSION_TABLE: Final = "posthouse_directory_version"
REVISION: Final = f"{len(VERSIONS):04}"
"""Alembic's name of the schema this release knows."""


class ServerStorage:
    def __init__(self, driver: Driver, *, create: bool) -> None:
        if not isinstance(driver, (MySqlDriver, PgDriver)):
            raise DirectoryError(f"{driver.name} is no server")
        self._driver = driver
        self._placeholder = "%s" if isinstance(driver, MySqlDriver) else "$"
        self._is_inside = False
        try:
            self._connection: Any = driver.connect()
        except driver.errors as error:
            raise DirectoryError(f"{driver.name}: {words(error)}") from error
        try:
            found = self.revision()
            if found != REVISION and create:
                # Loaded here only: most commands and auth never need it.
                from posthouse.auth.upgrade import upgrade

                if found > REVISION:
                    raise DirectoryError(f"schema version {found} is from a later release (this one knows {REVISION})")
                upgrade(driver)
                found = self.revision()
            if found != REVISION:
                state = f"has version {found}" if found else "is not there yet"
                raise DirectoryError(
                    f"the schema {state}, {REVISION} is expected: posthouse domain list brings it up to date"
                )
        except BaseException:
            self.close()
            raise

    def revision(self) -> str:
        """ "" if there is no schema yet."""
        where = "DATABASE()" if isinstance(self._driver, MySqlDriver) else "current_schema()"
        query = f"SELECT 1 FROM information_schema.tables WHERE table_name = ? AND table_schema = {where}"  # noqa: S608
        if not self.rows(query, (VERSION_TABLE,)):
            return ""
        rows = self.rows(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608
        return str(rows[0][0]) if rows else ""

    def rows(self, statement: str, bindings: tuple[str | int, ...] = ()) -> Rows:
        try:
            found: Rows = self._connection.tuples(_placed(statement, self._placeholder), bindings)
        except self._driver.errors as error:
            raise DirectoryError(f"{self._driver.name}: {words(error)}") from error
        return found

    def begin(self) -> None:
        # Two commands at the same time: one of them is told to try again.
        for statement in self._driver.serializable:
            self.rows(statement)
        self._is_inside = True

    def commit(self) -> None:
        if self._is_inside:
            self.rows("COMMIT")
            self._is_inside = False

    def rollback(self) -> None:
        if self._is_inside:
            self._is_inside = False
            try:
                self.rows("ROLLBACK")
            except DirectoryError:
                pass  # the connection is lost, and the transaction with it

    def version(self) -> int | None:
        return None

    def close(self) -> None:
        try:
            self._connection.close()
        except self._driver.errors:
            pass  # it was lost


@functools.lru_cache(200)
def _placed(statement: str, placeholder: str) -> str:
    """ "?" as the driver writes it; "$" is numbered."""
    parts = statement.split("?")
    out = parts[0]
    for number, part in enumerate(parts[1:], 1):
        out += (f"${number}" if placeholder == "$" else placeholder) + part
    return out


def words(error: Exception) -> str:
    """PyMySQL's errors are (number, text)."""
    return str(error.args[-1]) if error.args else type(error).__name__
