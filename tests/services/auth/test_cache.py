"""The auth cache in front of a database elsewhere (here SQLite, which a test can change and take away)."""

from pathlib import Path

import apsw
import pytest

from posthouse.auth.databases import sql
from posthouse.runtime.schema import (
    AUTH_LOGIN,
    AUTH_USERDB,
    AuthFailure,
    AuthSuccess,
    LookupUser,
    NoSuchUser,
    UserEntry,
)
from tests.queue.asynchronous import asynchronous
from tests.services.auth.world import AuthWorld, auth_running, plain

QUERY_FILE = """\
driver = sqlite
connect = {path}
default_pass_scheme = PLAIN
password_query = SELECT password FROM users WHERE name = '%u'
user_query = SELECT 5000 AS uid, '/home/%n' AS home FROM users WHERE name = '%u'
"""
USER = "ann@example.org"


class Database:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "users.sqlite"
        self.query_file = directory / "sql.conf"
        self.query_file.write_text(QUERY_FILE.format(path=self.path))
        self.run("CREATE TABLE users (name TEXT PRIMARY KEY, password TEXT)")
        self.run(f"INSERT INTO users VALUES ('{USER}', 'old')")

    def run(self, sql: str) -> None:
        connection = apsw.Connection(str(self.path))
        connection.execute(sql)
        connection.close()

    def settings(self, **more: str) -> dict[str, str]:
        return {
            "passdb/1/driver": "sql",
            "passdb/1/args": str(self.query_file),
            "userdb/1/driver": "sql",
            "userdb/1/args": str(self.query_file),
            "auth_cache_size": "1M",
            "auth_verbose": "yes",
            **more,
        }


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path)


async def reason(world: AuthWorld, password: str, user: str = USER) -> str:
    """ "" for a login."""
    answer = await world.peer(AUTH_LOGIN, "login").call(plain(user, password))
    if isinstance(answer, AuthSuccess):
        return ""
    assert isinstance(answer, AuthFailure)
    return "later" if answer.temporary else answer.reason


def test_an_answer_is_remembered_and_a_new_password_works_at_once(tmp_path: Path, database: Database) -> None:
    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, database.settings()) as world:
            assert await reason(world, "old") == ""
            database.run("UPDATE users SET password = 'new'")
            assert await reason(world, "old") == "", "remembered"
            assert await reason(world, "new") == "", "asked anew, because the old one had been right"
            assert await reason(world, "old") == "Password mismatch"

    test()


def test_a_wrong_password_asks_the_database_once_in_the_negative_ttl(tmp_path: Path, database: Database) -> None:
    @asynchronous
    async def test() -> None:
        settings = database.settings(auth_cache_negative_ttl="60 secs")
        async with auth_running(tmp_path, {}, settings) as world:
            assert await reason(world, "new") == "Password mismatch"
            database.run("UPDATE users SET password = 'new'")
            assert await reason(world, "new") == "Password mismatch"
            world.clock.offset_s += 61
            assert await reason(world, "new") == ""

    test()


def test_unknown_users_are_remembered_for_the_negative_ttl(tmp_path: Path, database: Database) -> None:
    @asynchronous
    async def test() -> None:
        settings = database.settings(auth_cache_negative_ttl="60 secs")
        async with auth_running(tmp_path, {}, settings) as world:
            users = world.peer(AUTH_USERDB, "queue")
            assert await reason(world, "x", "zoe@example.org") == "unknown user"
            assert isinstance(await users.call(LookupUser("zoe@example.org", "lmtp")), NoSuchUser)
            database.run("INSERT INTO users VALUES ('zoe@example.org', 'x')")
            assert await reason(world, "x", "zoe@example.org") == "unknown user"
            assert isinstance(await users.call(LookupUser("zoe@example.org", "lmtp")), NoSuchUser)
            world.clock.offset_s += 61
            assert await reason(world, "x", "zoe@example.org") == ""
            assert isinstance(await users.call(LookupUser("zoe@example.org", "lmtp")), UserEntry)

    test()


def test_while_the_database_is_away_what_is_known_stays_known(tmp_path: Path, database: Database) -> None:
    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, database.settings(auth_cache_ttl="60 secs")) as world:
            users = world.peer(AUTH_USERDB, "queue")
            assert await reason(world, "old") == ""
            assert isinstance(await users.call(LookupUser(USER, "lmtp")), UserEntry)
            database.run("ALTER TABLE users RENAME TO away")
            world.clock.offset_s += 61
            assert await reason(world, "old") == ""
            assert isinstance(await users.call(LookupUser(USER, "lmtp")), UserEntry)
            # It may be the new password: nobody is refused for what cannot be found out.
            assert await reason(world, "other") == "later"
            assert await reason(world, "old", "zoe@example.org") == "later"

    test()


def test_without_a_size_nothing_is_remembered(tmp_path: Path, database: Database) -> None:
    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, database.settings(auth_cache_size="0")) as world:
            assert await reason(world, "old") == ""
            database.run("UPDATE users SET password = 'new'")
            assert await reason(world, "old") == "Password mismatch"

    test()


def test_a_replaced_database_file_is_read_anew(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "LOOK_AGAIN_S", 0.0)

    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, database.settings(auth_cache_size="0")) as world:
            assert await reason(world, "old") == ""
            other = tmp_path / "other"
            other.mkdir()
            new = Database(other)
            new.run("UPDATE users SET password = 'new'")
            new.path.rename(database.path)
            assert await reason(world, "new") == ""
            assert await reason(world, "old") == "Password mismatch"

    test()


def test_a_query_that_takes_long_is_asked_in_a_thread(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "QUICK_STEPS", 3)
    quickly: list[object] = []
    ask = sql.SqlDatabase._ask_quickly
    monkeypatch.setattr(sql.SqlDatabase, "_ask_quickly", lambda *of: quickly.append(ask(*of)) or quickly[-1])

    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, database.settings(auth_cache_size="0")) as world:
            assert await reason(world, "old") == ""
            assert await reason(world, "x") == "Password mismatch"
            assert quickly == [None, None]

    test()
