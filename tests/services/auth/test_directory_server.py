"""The directory on a real MariaDB and a real PostgreSQL: the same schema, the same commands, the same logins."""

import asyncio
import imaplib
import os
import shutil
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from posthouse.auth import upgrade
from posthouse.auth.database_url import settings_of_url
from posthouse.auth.databases.sql import MySqlDriver, PgDriver
from posthouse.auth.directory import Directory, DirectoryError, Login, Refused
from posthouse.auth.imports import postfixadmin
from posthouse.auth.imports.database import opened as source_opened
from posthouse.auth.metadata import METADATA
from posthouse.auth.opening import is_on_another_host, open_directory
from posthouse.auth.server_directory import driver_of
from posthouse.auth.server_storage import REVISION, VERSION_TABLE, ServerStorage
from posthouse.auth.storage import SqliteStorage
from posthouse.core.reply import MailError
from posthouse.runtime.schema import (
    AUTH_DIRECTORY,
    AUTH_LOGIN,
    AUTH_USERDB,
    AuthFailure,
    AuthSuccess,
    DirectoryValues,
    LookupDirectory,
    LookupUser,
    Redeem,
    UserEntry,
)
from tests.auth.imports.test_imports import check_postfixadmin, sqlite_file
from tests.auth.test_directory import CHEAP
from tests.interop.test_postfix_peer import free_port
from tests.queue.asynchronous import asynchronous
from tests.running import RunningSystem
from tests.services.auth.test_mariadb import MariaDb
from tests.services.auth.test_postgresql import BINARIES, PostgreSql, running
from tests.services.auth.world import AuthWorld, plain, until

BOB = "bob@example.org"

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        os.getuid() != 0 or shutil.which("mariadbd") is None or not BINARIES,
        reason="needs root and Debian's mariadb-server and postgresql",
    ),
]


class Server:
    """`make` makes an empty database and gives its URL."""

    def __init__(self, process: MariaDb | PostgreSql, socket: str, secret: Path) -> None:
        self.process = process
        self.socket = socket
        self._secret = secret
        self._made = 0

    def make(self) -> str:
        self._made += 1
        name = f"posthouse{self._made}"
        if isinstance(self.process, MariaDb):
            self.process.run(f"CREATE DATABASE {name}; GRANT ALL ON {name}.* TO posthouse@localhost;")
            return f"mysql://posthouse@/{name}?host={self.socket}&password_file={self._secret}"
        self.process.run(f"CREATE DATABASE {name} OWNER posthouse")
        return f"postgresql://posthouse@/{name}?host={self.socket}&password_file={self._secret}"


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("mariadb")
    for one in (directory, *directory.parents):
        if one != Path("/"):
            one.chmod(one.stat().st_mode | 0o011)
    process = MariaDb(directory, directory / "s")
    process.start()
    process.run("CREATE USER posthouse@localhost IDENTIFIED BY 'it''s a secret';")
    yield Server(process, str(directory / "s"), _secret(directory))
    process.stop()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    with running() as process:
        process.run("CREATE USER posthouse PASSWORD 'it''s a secret'")
        yield Server(process, f"{process.directory}/socket", _secret(process.directory))


def _secret(directory: Path) -> Path:
    path = directory / "secret"
    path.write_text("it's a secret\n")
    return path


@pytest.fixture(params=["mariadb", "postgresql"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def opened(url: str) -> Directory:
    return open_directory(url, CHEAP, lambda path: Path(path).read_text())


def test_the_schema_is_what_the_metadata_says(server: Server) -> None:
    url = server.make()
    directory = opened(url)
    storage = directory._storage
    assert isinstance(storage, ServerStorage)
    differences: list[object] = []
    options = {"opts": {"version_table": VERSION_TABLE}}

    def compare(connection: sqlalchemy.Connection) -> None:
        differences.extend(compare_metadata(MigrationContext.configure(connection, **options), METADATA))

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(upgrade, "run", compare)
    upgrade.upgrade(storage._driver)  # type: ignore[arg-type]
    monkeypatch.undo()
    assert differences == []
    directory.close()


def test_the_schema_of_sqlite_is_too(tmp_path: Path) -> None:
    path = tmp_path / "directory.sqlite"
    SqliteStorage(path, create=True).close()
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "schema_version"})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_everything_that_a_directory_does(server: Server) -> None:
    url = server.make()
    directory = opened(url)
    directory.add_domain("example.org")
    directory.add_domain("example.net")
    account = directory.add_account(BOB, "secret", quota_octets=1 << 40, home="/home/bob")
    assert directory.account("BOB@example.org") == account
    assert directory.account("bób@example.org") is None
    directory.add_account("bób@example.org", "other")
    assert directory.account(BOB) == account
    assert directory.account("bob@example.org ") is None
    assert not directory.has_domain("example.org ")
    directory.set_disabled(BOB, True)
    directory.set_domain_disabled("example.org", True)
    directory.set_quota(BOB, 5)
    directory.set_place(BOB, mail="maildir:~/M")
    found = directory.account(BOB)
    assert found is not None
    assert (found.is_disabled, found.is_domain_disabled, found.quota_octets, found.mail) == (
        True,
        True,
        5,
        "maildir:~/M",
    )
    directory.set_disabled(BOB, False)
    found = directory.account(BOB)
    assert found is not None
    assert not found.is_disabled
    made, _ = directory.add_app_password(BOB, "phone", services=["imap"])
    assert directory.app_passwords(BOB) == (made,)
    directory.note_logins([Login(BOB, "imap", 7, "phone"), Login("gone@example.org", "imap", 7)])
    directory.note_logins([Login(BOB, "imap", 9)])
    assert directory.logins() == [Login(BOB, "imap", 9)]
    assert directory.replace_hash(BOB, found.password, "{PLAIN}x")
    directory.add_alias("info@example.org", [BOB, "x@elsewhere.test"])
    directory.add_alias("@example.org", ["all@elsewhere.test"])
    assert directory.targets("info@example.org") == (BOB, "x@elsewhere.test")
    assert directory.targets(BOB) == (BOB,)
    directory.rename_account(BOB, "robert@example.net", home="/home/bob", mail="")
    assert directory.targets("info@example.org") == ("robert@example.net", "x@elsewhere.test")
    assert [one.last_used_s for one in directory.app_passwords("robert@example.net")] == [7]
    directory.remove_alias("info@example.org", ["x@elsewhere.test"])
    with pytest.raises(Refused):
        directory.remove_domain("example.org")
    with directory.one_transaction(keep=False):
        directory.remove_domain("example.org", with_contents=True)
    assert directory.domains() == ["example.net", "example.org"]
    directory.remove_domain("example.org", with_contents=True)
    directory.remove_account("robert@example.net")
    assert [one.name for one in directory.domain_facts()] == ["example.net"]
    assert directory.accounts() == []
    directory.close()
    again = opened(url)
    assert again.domains() == ["example.net"]
    again.close()


def test_what_quotes_mean_to_sql_is_only_text(server: Server) -> None:
    directory = opened(server.make())
    directory.add_domain("example.org")
    directory.add_account("o'brien@example.org", "x'); DROP TABLE accounts; --", home="%s ? $1 \\")
    found = directory.account("o'brien@example.org")
    assert found is not None
    assert found.home == "%s ? $1 \\"
    assert directory.account("' OR 1=1 --") is None
    directory.close()


def test_a_schema_of_a_later_release_is_refused_and_none_waits_for_a_command(server: Server) -> None:
    url = server.make()
    settings = upgradeable(url)
    with pytest.raises(DirectoryError, match="posthouse domain list"):
        ServerStorage(settings, create=False)
    directory = opened(url)
    directory._rows(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    directory.close()
    for create in (True, False):
        with pytest.raises(DirectoryError, match="later release" if create else "9999"):
            ServerStorage(settings, create=create)


def upgradeable(url: str) -> MySqlDriver | PgDriver:
    driver = driver_of(settings_of_url(url, read=lambda path: Path(path).read_text()))
    assert isinstance(driver, (MySqlDriver, PgDriver))
    return driver


def test_two_commands_upgrade_at_the_same_time(server: Server) -> None:
    url = server.make()
    code = (
        "import sys; from pathlib import Path; from posthouse.auth.opening import open_directory;"
        "from posthouse.auth.schemes import Hasher;"
        "open_directory(sys.argv[1], Hasher(), lambda path: Path(path).read_text()).close()"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE) for _ in range(3)]
    for one in running:
        _, errors = one.communicate(timeout=60)
        assert (one.returncode, errors) == (0, b"")
    directory = opened(url)
    storage = directory._storage
    assert isinstance(storage, ServerStorage)
    assert storage.revision() == REVISION
    directory.close()


def test_an_import_goes_there_too(server: Server, tmp_path: Path) -> None:
    directory = opened(server.make())
    with source_opened(settings_of_url(f"sqlite://{sqlite_file(tmp_path)}"), "x") as database:
        check_postfixadmin(directory, postfixadmin.read(database, default_scheme="CRYPT", mail_base="/var/vmail"))
    directory.close()


# ── auth ──


class InThread:
    """A directory whose driver has a loop of its own, for a test that runs in a loop too."""

    def __init__(self, url: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._directory = self._thread.submit(opened, url).result()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._directory, name)
        return lambda *values, **options: self._thread.submit(method, *values, **options).result()


class ServerWorld(AuthWorld):
    def __init__(self, directory: Path, url: str, main: dict[str, str]) -> None:
        self.url = url
        super().__init__(directory, {"directory_database": url, **main}, {"auth_verbose": "yes"})
        self.directory.close()
        self.directory = InThread(url)  # type: ignore[assignment]


async def auth_with(directory: Path, url: str, main: dict[str, str] | None = None) -> ServerWorld:
    world = ServerWorld(directory, url, main or {})
    if not world.directory.domains():
        world.directory.add_domain("example.org")
        world.directory.add_account(BOB, "secret", quota_octets=1000)
        world.directory.add_alias("info@example.org", [BOB])
    world.process.before_jail()
    await world.process.start()
    return world


async def check(world: AuthWorld, password: str, service: str = "imap") -> AuthSuccess | AuthFailure:
    client = "smtpd" if service == "smtp" else "login"
    answer = await world.peer(AUTH_LOGIN, client).call(plain(BOB, password, service=service))
    assert isinstance(answer, AuthSuccess | AuthFailure)
    return answer


def test_users_log_in_and_tables_are_asked(server: Server, tmp_path: Path) -> None:
    url = server.make()

    @asynchronous
    async def test(directory: Path) -> None:
        world = await auth_with(directory, url, {"auth_last_login_interval": "1"})
        try:
            answer = await check(world, "secret")
            assert isinstance(answer, AuthSuccess)
            entry = await world.peer(AUTH_USERDB, "mailbox").call(Redeem(answer.ticket, "imap"))
            assert isinstance(entry, UserEntry)
            assert (entry.user, entry.quota_octets) == (BOB, 1000)
            _, phone = world.directory.add_app_password(BOB, "phone", services=["imap"])
            assert isinstance(await check(world, phone), AuthSuccess)
            for password, service in (("wrong", "imap"), (phone, "smtp")):
                refused = await check(world, password, service)
                assert isinstance(refused, AuthFailure)
                assert not refused.temporary
            asks = world.peer(AUTH_DIRECTORY, "tables")
            for table, key, values in (
                ("accounts", BOB, (BOB,)),
                ("accounts", "x@example.org", None),
                ("aliases", "info@example.org", (BOB,)),
                ("domains", "example.org", ("example.org",)),
                ("domains", "example.net", None),
            ):
                assert await asks.call(LookupDirectory(table, key)) == DirectoryValues(values)
            assert isinstance(await world.peer(AUTH_USERDB, "queue").call(LookupUser(BOB, "lmtp")), UserEntry)
            await until(lambda: world.directory.logins() != [])
            assert world.directory.app_passwords(BOB)[0].last_used_s > 0
            world.directory.set_domain_disabled("example.org", True)
            barred = await check(world, "secret")
            assert isinstance(barred, AuthFailure)
            assert barred.disabled
            # Many at once share the connections.
            await asyncio.gather(*(asks.call(LookupDirectory("domains", "example.org")) for _ in range(50)))
        finally:
            await world.stop()

    test(tmp_path)


def test_while_the_server_is_away_everybody_waits(server: Server, tmp_path: Path) -> None:
    url = server.make()

    @asynchronous
    async def test(directory: Path) -> None:
        world = await auth_with(directory, url)
        try:
            assert isinstance(await check(world, "secret"), AuthSuccess)
            server.process.stop()
            try:
                for password in ("secret", "wrong"):
                    answer = await check(world, password)
                    assert isinstance(answer, AuthFailure)
                    assert answer.temporary
                for table in ("accounts", "aliases", "domains"):
                    with pytest.raises(MailError):
                        await world.peer(AUTH_DIRECTORY, "tables").call(LookupDirectory(table, BOB))
                with pytest.raises(MailError):
                    await world.peer(AUTH_USERDB, "queue").call(LookupUser(BOB, "lmtp"))
                assert any("Error: directory" in line for line in world.log())
            finally:
                server.process.start()
            assert isinstance(await check(world, "secret"), AuthSuccess)
            assert isinstance(await check(world, "wrong"), AuthFailure)
        finally:
            await world.stop()

    test(tmp_path)


def test_the_whole_system_works_with_it_from_inside_its_jails(
    server: Server, new_sandbox: Callable[..., RunningSystem]
) -> None:
    url = server.make()
    directory = opened(url)
    directory.add_domain("example.test")
    directory.add_account("zoe@example.test", "secret")
    directory.add_alias("sales@example.test", ["zoe@example.test"])
    _, phone = directory.add_app_password("zoe@example.test", "phone", services=["imap"])
    system = new_sandbox(f"directory_database={url.replace('$', '$$')}", "auth_last_login_interval=1")
    host, port = system.endpoint("smtp")
    with smtplib.SMTP(host, port, timeout=20) as smtp:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            smtp.sendmail("a@b.example", ["nobody@example.test"], "Subject: x\r\n\r\nhello\r\n")
        smtp.sendmail("a@b.example", ["sales@example.test"], "Subject: x\r\n\r\nhello\r\n")
    host, port = system.endpoint("imap")
    give_up = time.monotonic() + 20
    with imaplib.IMAP4(host, port, timeout=20) as client:
        client.login("zoe@example.test", phone)
        while client.select("INBOX")[1] != [b"1"]:
            assert time.monotonic() < give_up
            time.sleep(0.1)
    while not directory.logins("zoe@example.test"):
        assert time.monotonic() < give_up
        time.sleep(0.1)
    directory.close()


def test_the_whole_system_works_with_a_server_on_another_host(
    tmp_path: Path, new_sandbox: Callable[..., RunningSystem]
) -> None:
    # Not another one, but by TCP, which the jail of auth forbids otherwise.
    port = free_port()
    process = MariaDb(tmp_path, tmp_path / "s", port)
    process.start()
    try:
        process.run(
            "CREATE DATABASE x; CREATE USER joe@127.0.0.1 IDENTIFIED BY 'p'; GRANT ALL ON x.* TO joe@127.0.0.1;"
        )
        url = f"mysql://joe:p@127.0.0.1:{port}/x"
        directory = opened(url)
        directory.add_domain("example.test")
        directory.add_account("zoe@example.test", "secret")
        directory.close()
        system = new_sandbox(f"directory_database={url}")
        host, port = system.endpoint("imap")
        with imaplib.IMAP4(host, port, timeout=20) as client:
            client.login("zoe@example.test", "secret")
            assert client.select("INBOX")[0] == "OK"
        system.stop()
    finally:
        process.stop()


def test_only_a_server_elsewhere_needs_the_network() -> None:
    for value, needs in (
        ("/var/lib/directory.sqlite", False),
        ("sqlite:///var/lib/directory.sqlite", False),
        ("mysql://joe@localhost/x", False),
        ("mysql://joe@/x?host=/run/s", False),
        ("mysql://joe@db.example/x", True),
        ("postgresql://joe@/x", False),
        ("postgresql://joe@localhost/x", True),
        ("mysql://[nonsense", False),
    ):
        assert is_on_another_host(value) is needs, value


def test_the_first_version_is_upgraded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import alembic.command

    url = server.make()
    real = alembic.command.upgrade
    monkeypatch.setattr(alembic.command, "upgrade", lambda config, revision: real(config, "0001"))
    with pytest.raises(DirectoryError, match="0001"):
        opened(url)
    connection = upgradeable(url).connect()
    placeholder = "%s" if isinstance(server.process, MariaDb) else "$1"
    connection.tuples(f"INSERT INTO domains (name, created) VALUES ({placeholder}, 5)", ("example.org",))  # type: ignore[attr-defined]
    connection.close()
    monkeypatch.undo()
    directory = opened(url)
    assert [(one.name, one.is_disabled) for one in directory.domain_facts()] == [("example.org", False)]
    directory.close()
