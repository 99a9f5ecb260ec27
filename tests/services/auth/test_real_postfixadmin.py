"""What Debian's PostfixAdmin itself makes, with each of its ways to hash: read as it is, and taken over."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.auth.directory import Directory
from posthouse.auth.imports import postfixadmin
from posthouse.auth.imports.database import opened, settings_of_url
from posthouse.auth.imports.taking import take
from posthouse.runtime.schema import AUTH_LOGIN, AUTH_USERDB, AuthFailure, AuthSuccess, Redeem, UserEntry
from tests.auth.test_directory import CHEAP
from tests.queue.asynchronous import asynchronous
from tests.services.auth.test_mariadb import MariaDb
from tests.services.auth.test_postfixadmin import Server
from tests.services.auth.test_postgresql import BINARIES, running
from tests.services.auth.world import auth_running, plain

UNPACKED = Path(__file__).parents[3] / ".foreign"
"""See tests/debian-packages-unpacked.txt."""
HASHES = {
    "md5": ("md5crypt", "{MD5-CRYPT}$1$"),
    "sha512": ("php_crypt:SHA512", "{SHA512-CRYPT}$6$"),
    "blowfish": ("php_crypt:BLOWFISH", "{BLF-CRYPT}$2y$"),
    "prefixed": ("php_crypt:SHA256::{SHA256-CRYPT}", "{SHA256-CRYPT}$5$"),
    "doveadm": ("dovecot:SSHA256", "{SSHA256}"),
}
"""Account: how it is hashed, and how that begins."""
PASSWORD = "a secret 12"

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        os.getuid() != 0
        or not BINARIES
        or not all(shutil.which(one) for one in ("mariadbd", "php", "doveadm"))
        or not (UNPACKED / "usr/share/postfixadmin").exists(),
        reason="needs root and Debian's mariadb-server, postgresql, php-cli, dovecot, and postfixadmin unpacked",
    ),
]


class PostfixAdmin:
    def __init__(self, directory: Path, settings: dict[str, str]) -> None:
        self._place = directory / "postfixadmin"
        self._settings = settings
        for one in ("lib", "model", "languages", "public", "scripts", "templates", "configs"):
            shutil.copytree(UNPACKED / "usr/share/postfixadmin" / one, self._place / one)
        for one in ("common.php", "functions.inc.php"):
            shutil.copy(UNPACKED / "usr/share/postfixadmin" / one, self._place)
        (self._place / "templates_c").mkdir()
        text = (UNPACKED / "etc/postfixadmin/config.inc.php").read_text()
        (self._place / "config.inc.php").write_text(text.replace("require_once('dbconfig.inc.php');", ""))
        self.hashes_with("md5crypt")
        self._php("public", "upgrade.php")

    def hashes_with(self, how: str) -> None:
        values = {
            **self._settings,
            "encrypt": how,
            "quota": "YES",
            "quota_multiplier": "1048576",
            "alias_domain": "YES",
            "emailcheck_resolve_domain": "NO",
            "dovecotpw": f"{shutil.which('doveadm')} pw",
        }
        lines = "".join(f"$CONF['{name}'] = '{value}';\n" for name, value in values.items())
        (self._place / "config.local.php").write_text(f"<?php\n{lines}")

    def command(self, *arguments: str) -> None:
        said = self._php("scripts", "postfixadmin-cli.php", *arguments)
        assert " has been " in said, said

    def _php(self, place: str, *arguments: str) -> str:
        done = subprocess.run(
            ["php", "-d", "display_errors=stderr", *arguments],
            cwd=self._place / place,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def fill(admin: PostfixAdmin) -> None:
    for domain in ("example.test", "other.test"):
        options = ("--default-aliases", "0", "--aliases", "10", "--mailboxes", "20", "--maxquota", "10", "--quota", "0")
        admin.command("domain", "add", domain, *options)
    for name, (how, _) in HASHES.items():
        admin.hashes_with(how)
        options = ("--password", PASSWORD, "--password2", PASSWORD, "--quota", "5", "--welcome-mail", "0")
        admin.command("mailbox", "add", f"{name}@example.test", *options)
    admin.command("mailbox", "add", "closed@example.test", *options)
    admin.command("mailbox", "update", "closed@example.test", "--active", "0")
    admin.command("alias", "add", "info@example.test", "--goto", "md5@example.test,x@elsewhere.test")
    admin.command("aliasdomain", "add", "other.test", "--target-domain", "example.test")


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("mariadb")
    process = MariaDb(directory, directory / "s")
    process.start()
    process.run(
        "CREATE DATABASE postfix; CREATE USER reader@localhost IDENTIFIED BY 'secret';"
        "GRANT ALL ON postfix.* TO reader@localhost;"
    )
    settings = {"database_type": "mysqli", "database_host": "localhost", "database_socket": str(directory / "s")}
    fill(PostfixAdmin(directory, {**settings, **_DATABASE}))
    yield Server("mysql", str(directory / "s"), f"mysql://reader@/postfix?host={directory}/s", process.run)
    process.stop()


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running() as process:
        process.run("CREATE USER reader PASSWORD 'secret'")
        process.run("CREATE DATABASE postfix OWNER reader")
        settings = {"database_type": "pgsql", "database_host": f"{process.directory}/socket"}
        fill(PostfixAdmin(tmp_path_factory.mktemp("postfixadmin"), {**settings, **_DATABASE}))
        yield Server(
            "pgsql",
            f"{process.directory}/socket",
            f"postgresql://reader@/postfix?host={process.directory}/socket",
            process.run,
        )


_DATABASE = {"database_name": "postfix", "database_user": "reader", "database_password": "secret"}


@pytest.fixture(params=["mariadb", "postgresql"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def test_its_users_log_in_while_it_stays_where_it_is(tmp_path: Path, server: Server) -> None:
    inside = {"driver": "sql", "args": str(server.query_file(tmp_path))}
    blocks = {f"{kind}/1/{name}": value for kind in ("passdb", "userdb") for name, value in inside.items()}

    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {}, blocks) as world:
            login = world.peer(AUTH_LOGIN, "login")
            for name in HASHES:
                answer = await login.call(plain(f"{name}@example.test", PASSWORD))
                assert isinstance(answer, AuthSuccess), name
                entry = await world.peer(AUTH_USERDB, "mailbox").call(Redeem(answer.ticket, "imap"))
                assert isinstance(entry, UserEntry)
                assert entry.mail == f"maildir:/var/vmail/example.test/{name}/"
                assert entry.quota_octets == 5 << 20
                assert isinstance(await login.call(plain(f"{name}@example.test", "wrong")), AuthFailure)
            closed = await login.call(plain("closed@example.test", PASSWORD))
            assert isinstance(closed, AuthFailure)
            assert not closed.temporary

    test(tmp_path)


def test_its_users_log_in_after_they_were_taken_over(tmp_path: Path, server: Server) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory) as world:
            login = world.peer(AUTH_LOGIN, "login")
            for name in HASHES:
                answer = await login.call(plain(f"{name}@example.test", PASSWORD))
                assert isinstance(answer, AuthSuccess), name
                assert isinstance(await login.call(plain(f"{name}@example.test", "wrong")), AuthFailure)
            closed = await login.call(plain("closed@example.test", PASSWORD))
            assert isinstance(closed, AuthFailure)
            assert closed.disabled

    taken = Directory.open(tmp_path / "auth" / "directory.sqlite", hasher=CHEAP)
    with opened(settings_of_url(server.url, "secret"), "the database") as database:
        harvest = postfixadmin.read(database, default_scheme="CRYPT", mail_base="/var/vmail")
    summary = take(taken, harvest, updates=False, is_dry=False)
    assert (summary.skipped, summary.domains.taken, summary.accounts.taken) == ([], 2, len(HASHES) + 1)
    for name, (_, begins) in HASHES.items():
        account = taken.account(f"{name}@example.test")
        assert account is not None
        assert account.password.startswith(begins)
        assert (account.quota_octets, account.mail) == (5 << 20, f"maildir:/var/vmail/example.test/{name}")
        assert taken.targets(f"{name}@other.test") == (f"{name}@example.test",)
    assert taken.targets("info@example.test") == ("md5@example.test", "x@elsewhere.test")
    assert taken.targets("info@other.test") == ("info@example.test",)
    taken.close()
    test(tmp_path)
