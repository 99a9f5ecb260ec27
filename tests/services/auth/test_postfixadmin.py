"""PostfixAdmin's tables on a real MariaDB and a real PostgreSQL: read as they are by the query files of
docs/migration.md, and taken over into the directory."""

import asyncio
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.auth.directory import Directory
from posthouse.auth.imports import dovecot_sql, postfixadmin
from posthouse.auth.imports.database import opened, query_file, settings_of_url
from posthouse.auth.imports.harvest import Unreadable
from posthouse.auth.imports.taking import take
from posthouse.auth.schemes import verify
from posthouse.runtime.schema import (
    AUTH_DIRECTORY,
    AUTH_LOGIN,
    AUTH_USERDB,
    AuthFailure,
    AuthSuccess,
    DirectoryValues,
    LookupDirectory,
    LookupUser,
    NoSuchUser,
    Redeem,
    UserEntry,
)
from tests.auth.imports import postfixadmin_tables
from tests.auth.imports.test_imports import check_postfixadmin
from tests.auth.test_directory import CHEAP
from tests.queue.asynchronous import asynchronous
from tests.services.auth.test_mariadb import MariaDb
from tests.services.auth.test_postgresql import BINARIES, running
from tests.services.auth.world import auth_running, plain

DOCUMENT = Path(__file__).parents[3] / "docs/migration.md"

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        os.getuid() != 0 or shutil.which("mariadbd") is None or not BINARIES,
        reason="needs root and Debian's mariadb-server and postgresql",
    ),
]


class Server:
    def __init__(self, driver: str, host: str, url: str, run: Callable[[str], None]) -> None:
        self.driver = driver
        self.host = host
        self.url = url
        self._run = run

    def set_password(self, user: str, stored: str) -> None:
        use = "USE postfix;" if self.driver == "mysql" else "\\connect postfix\n"
        self._run(f"{use} UPDATE mailbox SET password = '{stored}' WHERE username = '{user}';")

    def query_file(self, directory: Path) -> Path:
        """The one of the document, with this server's address."""
        blocks = re.findall(r"```ini\n(driver = .*?)```", DOCUMENT.read_text(), re.DOTALL)
        text = next(one for one in blocks if one.startswith(f"driver = {self.driver}\n"))
        path = directory / "dovecot-sql.conf.ext"
        path.write_text(re.sub(r"^connect = host=\S+", f"connect = host={self.host}", text, flags=re.MULTILINE))
        return path


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("mariadb")
    path = directory / "s"
    server = MariaDb(directory, path)
    server.start()
    server.run(
        "CREATE DATABASE postfix; CREATE USER reader@localhost IDENTIFIED BY 'secret';"
        "GRANT SELECT, UPDATE ON postfix.* TO reader@localhost; USE postfix;"
        + postfixadmin_tables.tables("tinyint(1)")
        + postfixadmin_tables.rows("1", "0")
    )
    yield Server("mysql", str(path), f"mysql://reader@/postfix?host={path}", server.run)
    server.stop()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    with running() as server:
        server.run(
            "CREATE DATABASE postfix; CREATE USER reader PASSWORD 'secret';\n\\connect postfix\n"
            + postfixadmin_tables.tables("boolean")
            + postfixadmin_tables.rows("true", "false")
            + "GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO reader;"
        )
        yield Server(
            "pgsql",
            f"{server.directory}/socket",
            f"postgresql://reader@/postfix?host={server.directory}/socket",
            server.run,
        )


@pytest.fixture(params=["mariadb", "postgresql"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def test_the_documents_query_files_let_users_in(tmp_path: Path, server: Server) -> None:
    query_file = server.query_file(tmp_path)
    inside = {"driver": "sql", "args": str(query_file)}
    blocks = {f"{kind}/1/{name}": value for kind in ("passdb", "userdb") for name, value in inside.items()}

    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {}, blocks) as world:
            login = world.peer(AUTH_LOGIN, "login")
            for user in ("ann@example.test", "bob@example.test"):
                answer = await login.call(plain(user, "secret"))
                assert isinstance(answer, AuthSuccess), user
                entry = await world.peer(AUTH_USERDB, "mailbox").call(Redeem(answer.ticket, "imap"))
                assert isinstance(entry, UserEntry)
                name = user.partition("@")[0]
                assert (entry.user, entry.mail) == (user, f"maildir:/var/vmail/example.test/{name}/")
                assert entry.quota_octets == (1048576 if name == "ann" else 0)
                wrong = await login.call(plain(user, "wrong"))
                assert isinstance(wrong, AuthFailure)
                assert not wrong.temporary
            for user in ("carl@example.test", "dora@closed.test", "eve@example.test"):
                refused = await login.call(plain(user, "secret"))
                assert isinstance(refused, AuthFailure), user
                assert not refused.temporary
            asks = world.peer(AUTH_DIRECTORY, "tables")
            found = await asks.call(LookupDirectory("accounts", "bob@example.test"))
            assert found == DirectoryValues(("bob@example.test",))
            for user in ("carl@example.test", "dora@closed.test", "nobody@example.test"):
                assert isinstance(await world.peer(AUTH_USERDB, "queue").call(LookupUser(user, "lmtp")), NoSuchUser)
                assert await asks.call(LookupDirectory("accounts", user)) == DirectoryValues(None)

    test(tmp_path)


UPDATE = "update_query = UPDATE mailbox SET password = '%w' WHERE username = '%u'\n"


def stored(server: Server, user: str) -> str:
    with opened(settings_of_url(server.url, "secret"), "the database") as database:
        rows = database.rows("SELECT password FROM mailbox WHERE username = '%u'", [user])
    return str(rows[0]["password"])


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_weak_hash_becomes_a_better_one_in_the_database(tmp_path: Path, server: Server, is_cached: bool) -> None:
    query_file = server.query_file(tmp_path)
    query_file.write_text(query_file.read_text() + UPDATE)
    inside = {"driver": "sql", "args": str(query_file)}
    blocks = {f"{kind}/1/{name}": value for kind in ("passdb", "userdb") for name, value in inside.items()}
    blocks["auth_cache_size"] = "1M" if is_cached else "0"
    server.set_password("ann@example.test", postfixadmin_tables.MD5)

    @asynchronous
    async def test(directory: Path) -> None:
        async def login(user: str, password: str = "secret") -> bool:
            return isinstance(await world.peer(AUTH_LOGIN, "login").call(plain(user, password)), AuthSuccess)

        async def settled() -> None:
            """The one thread has done what it was asked before this."""
            await asyncio.get_running_loop().run_in_executor(world.process._books._thread, int)

        async def ask(user: str) -> str:
            return await asyncio.get_running_loop().run_in_executor(None, stored, server, user)

        async with auth_running(directory, {}, blocks) as world:
            assert await login("ann@example.test")
            await settled()
            assert await ask("ann@example.test") == postfixadmin_tables.MD5, "not asked for"
        shutil.rmtree(directory / "run")
        async with auth_running(directory, {"auth_rehash_weak_passwords": "yes"}, blocks) as world:
            assert not await login("ann@example.test", "wrong")
            assert await login("ann@example.test")
            assert await login("bob@example.test")
            await settled()
            new = await ask("ann@example.test")
            assert new.startswith("{ARGON2ID}")
            assert verify(new, b"secret", "")
            assert await ask("bob@example.test") == postfixadmin_tables.BLF, "strong enough"
            assert await login("ann@example.test")
            assert not await login("ann@example.test", "wrong")
            await settled()
            assert await ask("ann@example.test") == new
            # Changed by somebody else, while we compute: theirs stays.
            rehash = world.process._chains.rehashes[str(query_file)]
            await asyncio.get_running_loop().run_in_executor(
                None, server.set_password, "ann@example.test", postfixadmin_tables.MD5
            )

            def meanwhile(password: str) -> str:
                server.set_password("ann@example.test", "{PLAIN}newer")
                return "{PLAIN}" + password

            def replace() -> bool:
                return rehash.replace("ann@example.test", b"secret", frozenset(), meanwhile)

            assert not await asyncio.get_running_loop().run_in_executor(None, replace)
            assert await ask("ann@example.test") == "{PLAIN}newer"

    test(tmp_path)
    server.set_password("ann@example.test", postfixadmin_tables.MD5)


def test_everything_is_taken_over(tmp_path: Path, server: Server) -> None:
    directory = Directory.open(tmp_path / "auth" / "directory.sqlite", hasher=CHEAP)
    with opened(settings_of_url(server.url, "secret"), "the database") as database:
        check_postfixadmin(directory, postfixadmin.read(database, default_scheme="CRYPT", mail_base="/var/vmail"))
    directory.close()


def test_the_users_of_the_query_file_are_taken_over(tmp_path: Path, server: Server) -> None:
    path = server.query_file(tmp_path)
    directory = Directory.open(tmp_path / "auth" / "directory.sqlite", hasher=CHEAP)
    settings = query_file(path.read_text(), str(path))
    with opened(settings, str(path)) as database:
        summary = take(directory, dovecot_sql.read(database, settings), updates=False, is_dry=False)
    assert summary.accounts.taken == 3
    # They are listed, but the domain is not active, or there is no password.
    assert sorted(one.what for one in summary.skipped) == ["dora@closed.test", "eve@example.test"]
    ann = directory.account("ann@example.test")
    assert ann is not None
    assert ann.password == "{MD5-CRYPT}" + postfixadmin_tables.MD5
    directory.close()


def test_a_wrong_password_of_the_database_is_told(mariadb: Server) -> None:
    with pytest.raises(Unreadable, match="Access denied"), opened(settings_of_url(mariadb.url, "wrong"), "x"):
        pass
