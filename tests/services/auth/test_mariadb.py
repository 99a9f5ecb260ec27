"""The reference dovecot.conf and dovecot-mysql.conf, unchanged, against a real MariaDB with PostfixAdmin's table."""

import imaplib
import os
import shutil
import smtplib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.config.configuration import Problem
from posthouse.config.dovecotconf import Parser
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
    NoSuchUser,
    Redeem,
    UserEntry,
)
from tests.queue.asynchronous import asynchronous
from tests.running import RunningSystem
from tests.services.auth.world import auth_running, plain

REFERENCE = Path(__file__).parents[2] / "data/reference"
QUERY_FILE = Path("/etc/dovecot/dovecot-mysql.conf")
SOCKET = Path("/run/mysqld/mysqld.sock")
TABLE = """
CREATE DATABASE postfix;
CREATE USER postfix@localhost IDENTIFIED BY 'postfix123456';
GRANT SELECT ON postfix.* TO postfix@localhost;
USE postfix;
CREATE TABLE mailbox (username varchar(255) NOT NULL PRIMARY KEY, password varchar(255) NOT NULL,
  name varchar(255) NOT NULL DEFAULT '', maildir varchar(255) NOT NULL, quota bigint NOT NULL DEFAULT 0,
  local_part varchar(255) NOT NULL DEFAULT '', domain varchar(255) NOT NULL, active tinyint(1) NOT NULL DEFAULT 1);
INSERT INTO mailbox (username, password, maildir, domain) VALUES
  ('user1@example.test', '$1$5pZSV9va$azfrPr6af3Fc7dLblQXVa0', 'example.test/user1/', 'example.test'),
  ('broken@example.test', 'rubbish', 'example.test/broken/', 'example.test');
"""

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        os.getuid() != 0 or shutil.which("mariadbd") is None, reason="needs root and Debian's mariadb-server"
    ),
]


class MariaDb:
    def __init__(self, directory: Path, path: Path = SOCKET, port: int = 0) -> None:
        """`port` on loopback; 0 is none."""
        self._listens = [f"--port={port}", "--bind-address=127.0.0.1"] if port else ["--skip-networking"]
        self.data = directory / "data"
        self.socket = path
        self.process: subprocess.Popen[bytes] | None = None
        options = ["--no-defaults", f"--datadir={self.data}", "--user=root", "--auth-root-authentication-method=socket"]
        subprocess.run(["mariadb-install-db", *options], check=True, capture_output=True, timeout=120)

    def start(self) -> None:
        self.socket.parent.mkdir(exist_ok=True)
        options = [
            "--no-defaults",
            f"--datadir={self.data}",
            f"--socket={self.socket}",
            *self._listens,
            "--user=root",
        ]
        self.process = subprocess.Popen(["mariadbd", *options], stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(str(self.socket)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("mariadbd does not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def run(self, sql: str) -> None:
        subprocess.run(["mariadb", f"--socket={self.socket}"], input=sql.encode(), check=True, timeout=60)


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(SOCKET)) == 0:
            pytest.skip("a MariaDB of somebody else is running here")
    directory = tmp_path_factory.mktemp("mariadb")
    directory.chmod(0o755)
    server = MariaDb(directory)
    server.start()
    server.run(TABLE)
    was_there = QUERY_FILE.exists()
    if not was_there:
        QUERY_FILE.parent.mkdir(exist_ok=True)
        shutil.copy(REFERENCE / "dovecot-mysql.conf", QUERY_FILE)
    try:
        yield server
    finally:
        server.stop()
        if not was_there:
            QUERY_FILE.unlink()


@pytest.fixture(scope="module")
def values() -> dict[str, str]:
    problems: list[Problem] = []
    parser = Parser(problems)
    parser.parse_file(str(REFERENCE / "dovecot.conf"))
    assert problems == []
    return {name: setting.value for name, setting in parser.settings.items()}


def test_the_user_logs_in_and_his_mail_is_where_the_settings_say(
    tmp_path: Path, mariadb: MariaDb, values: dict[str, str]
) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {}, values) as world:
            login = world.peer(AUTH_LOGIN, "login")
            answer = await login.call(plain("user1@example.test", "password"))
            assert isinstance(answer, AuthSuccess)
            entry = await world.peer(AUTH_USERDB, "mailbox").call(Redeem(answer.ticket, "imap"))
            assert isinstance(entry, UserEntry)
            assert (entry.user, entry.uid, entry.gid) == ("user1@example.test", 89, 89)
            assert entry.mail == "maildir:/var/vmail/example.test/user1@example.test"
            for user, password in (("user1@example.test", "wrong"), ("nobody@example.test", "password")):
                refused = await login.call(plain(user, password))
                assert isinstance(refused, AuthFailure)
                assert not refused.temporary
            found = await world.peer(AUTH_USERDB, "queue").call(LookupUser("user1@example.test", "lmtp"))
            assert isinstance(found, UserEntry)
            directory_peer = world.peer(AUTH_DIRECTORY, "tables")
            known = await directory_peer.call(LookupDirectory("accounts", "user1@example.test"))
            assert known == DirectoryValues(("user1@example.test",))
            assert await directory_peer.call(LookupDirectory("accounts", "x@example.test")) == DirectoryValues(None)

    test(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "' OR '1'='1",
        "user1@example.test' -- ",
        'x" OR ""="',
        "user1@example.test\\",
        "%u",
        "user1@example.test ",
        "../../user1@example.test",
    ],
)
def test_no_name_is_sql(tmp_path: Path, mariadb: MariaDb, values: dict[str, str], name: str) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        # Even if the administrator allows every character.
        every = {**values, "auth_username_chars": "", "auth_username_format": "%u"}
        async with auth_running(directory, {}, every) as world:
            answer = await world.peer(AUTH_LOGIN, "login").call(plain(name, "password"))
            if isinstance(answer, AuthSuccess):
                # MariaDB itself takes a name with a space behind it for the name without; it opens no mailbox.
                assert name.strip() == "user1@example.test"
                entry = await world.peer(AUTH_USERDB, "mailbox").call(Redeem(answer.ticket, "imap"))
                assert isinstance(entry, NoSuchUser)
            else:
                assert isinstance(answer, AuthFailure)
            found = await world.peer(AUTH_USERDB, "queue").call(LookupUser(name, "lmtp"))
            assert isinstance(found, NoSuchUser)

    test(tmp_path)


def test_a_hash_that_is_none_is_a_temporary_failure_and_an_error_in_the_log(
    tmp_path: Path, mariadb: MariaDb, values: dict[str, str]
) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {}, values) as world:
            answer = await world.peer(AUTH_LOGIN, "login").call(plain("broken@example.test", "rubbish"))
            assert isinstance(answer, AuthFailure)
            assert answer.temporary
            assert any("of the scheme it names" in line for line in world.log())

    test(tmp_path)


def test_while_the_server_is_away_logins_wait_and_afterwards_they_work(
    tmp_path: Path, mariadb: MariaDb, values: dict[str, str]
) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {}, values) as world:
            login = world.peer(AUTH_LOGIN, "login")
            assert isinstance(await login.call(plain("user1@example.test", "password")), AuthSuccess)
            mariadb.stop()
            try:
                for password in ("password", "wrong"):
                    answer = await login.call(plain("user1@example.test", password))
                    assert isinstance(answer, AuthFailure)
                    assert answer.temporary
                with pytest.raises(MailError):
                    await world.peer(AUTH_USERDB, "queue").call(LookupUser("user1@example.test", "lmtp"))
                assert any("mysql" in line and "Error" in line for line in world.log())
            finally:
                mariadb.start()
            assert isinstance(await login.call(plain("user1@example.test", "password")), AuthSuccess)

    test(tmp_path)


def test_the_whole_system_logs_him_in_from_inside_its_jails(
    mariadb: MariaDb, values: dict[str, str], new_sandbox: Callable[..., RunningSystem]
) -> None:
    values = {**values, "first_valid_uid": "89"}
    blocks = [
        f"dovecot/{name}={value}" for name, value in values.items() if name.startswith(("passdb", "userdb", "first_"))
    ]
    system = new_sandbox(*blocks, "dovecot/disable_plaintext_auth=no")
    # The database says 89; this system is one user's.
    system.expect_log(r"uid=89, but mailboxes are opened with uid")
    host, port = system.endpoint("imap")
    with imaplib.IMAP4(host, port, timeout=20) as client:
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            client.login("user1@example.test", "wrong")
        assert client.login("user1@example.test", "password")[0] == "OK"
        assert client.append("INBOX", "", "", b"Subject: x\r\n\r\nhello\r\n")[0] == "OK"
        assert client.select("INBOX")[1] == [b"1"]
    message = "Subject: to an SQL user\r\n\r\nhello\r\n"
    host, port = system.endpoint("smtp")
    with smtplib.SMTP(host, port, timeout=20) as smtp:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            smtp.sendmail("a@b.example", ["nobody@example.test"], message)
        smtp.sendmail("a@b.example", ["user1@example.test"], message)
    host, port = system.endpoint("imap")
    give_up = time.monotonic() + 20
    with imaplib.IMAP4(host, port, timeout=20) as client:
        client.login("user1@example.test", "password")
        while client.select("INBOX")[1] != [b"2"]:
            assert time.monotonic() < give_up
            time.sleep(0.1)
