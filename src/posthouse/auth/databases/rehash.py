"""A better hash in an SQL database of the administrator's own: update_query of its query file.

    update_query = UPDATE mailbox SET password = '%w' WHERE username = '%u'

%w is the new hash, with its {SCHEME}. What is stored is read again in the same serializable transaction, so that a
password that was changed meanwhile is never overwritten.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from posthouse.auth.databases.lookup import DatabaseError, Question
from posthouse.auth.databases.queries import Query
from posthouse.auth.schemes import is_weak, split, verify

if TYPE_CHECKING:
    from posthouse.auth.databases.sql import Connection, Driver

_COMMIT: Final = Query("COMMIT", ())


class SqlRehash:
    def __init__(
        self, path: str, driver: "Driver", password_query: Query, update_query: Query, default_scheme: str
    ) -> None:
        self._path = path
        self._driver = driver
        self._password_query = password_query
        self._update_query = update_query
        self._default_scheme = default_scheme

    def replace(self, user: str, password: bytes, kept: frozenset[str], new_hash: Callable[[str], str]) -> bool:
        """In a thread. `kept` are schemes that stay. Raises DatabaseError and what making a hash raises."""
        try:
            connection = self._driver.connect()
            try:
                return self._replace(connection, Question(user), password, kept, new_hash)
            finally:
                connection.close()
        except self._driver.errors as error:
            words = error.args[-1] if error.args else type(error).__name__
            raise DatabaseError(f"{self._path}: update_query: {words}") from error

    def _replace(
        self,
        connection: "Connection",
        question: Question,
        password: bytes,
        kept: frozenset[str],
        new_hash: Callable[[str], str],
    ) -> bool:
        stored = self._stored(connection, question)
        scheme = split(stored, self._default_scheme)[0].partition(".")[0]
        if not stored or scheme in kept or not is_weak(stored, self._default_scheme):
            return False
        if not verify(stored, password, self._default_scheme, question.user):
            return False
        new = new_hash(password.decode("utf-8", "surrogateescape"))
        # Computed before the transaction, which holds others up.
        for statement in self._driver.serializable:
            connection.rows(Query(statement, ()), ())
        if self._stored(connection, question) != stored:
            return False
        connection.rows(self._update_query, self._update_query.bound({**question.values(), "password": new}))
        connection.rows(_COMMIT, ())
        return self._stored(connection, question) == new

    def _stored(self, connection: "Connection", question: Question) -> str:
        rows = connection.rows(self._password_query, self._password_query.bound(question.values()))
        return rows[0].get("password") or "" if len(rows) == 1 else ""
