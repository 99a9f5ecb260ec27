"""passdb and userdb on a real PostgreSQL, reached by its socket."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

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
from tests.services.auth.world import auth_running, plain

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
TABLE = """
CREATE USER mailreader PASSWORD 'secret';
CREATE TABLE users (name varchar(100) PRIMARY KEY, domain text, password text, quota bigint, active boolean);
INSERT INTO users VALUES ('carol', 'example.org', '{SSHA256}' || 'rubbish', 0, false);
INSERT INTO users VALUES ('bob', 'example.org', '$1$5pZSV9va$azfrPr6af3Fc7dLblQXVa0', 1048576, true);
GRANT SELECT ON users TO mailreader;
"""
QUERY_FILE = """
driver = pgsql
connect = host={socket} dbname=postgres user=mailreader password=secret
default_pass_scheme = MD5-CRYPT
password_query = SELECT name || '@' || domain AS user, password, active::int AS userdb_active, \\
  CASE WHEN active THEN NULL ELSE 'y' END AS nologin FROM users WHERE name = '%n' AND domain = '%d'
user_query = SELECT '/var/vmail/%d/%n' AS home, 5000 AS uid, 5000 AS gid, '*:bytes=' || quota AS quota_rule \\
  FROM users WHERE name = '%n' AND domain = '%d' AND active
"""

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(os.getuid() != 0 or not BINARIES, reason="needs root and Debian's postgresql"),
]


class PostgreSql:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        owner = pwd.getpwnam("postgres")
        for one in (directory, directory / "socket"):
            one.mkdir(exist_ok=True)
            os.chown(one, owner.pw_uid, owner.pw_gid)
            one.chmod(0o755)
        self._as_postgres("initdb", "-D", str(directory / "data"), "-A", "trust", "--no-sync")

    def _as_postgres(self, program: str, *arguments: str, text: str = "") -> None:
        command = ["runuser", "-u", "postgres", "--", str(BINARIES[-1] / program), *arguments]
        subprocess.run(command, input=text.encode(), check=True, capture_output=True, timeout=60, cwd="/")

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.directory}/socket"
        data, log = str(self.directory / "data"), str(self.directory / "data/log")
        self._as_postgres("pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start")

    def stop(self) -> None:
        self._as_postgres("pg_ctl", "-D", str(self.directory / "data"), "-m", "fast", "-w", "stop")

    def run(self, sql: str) -> None:
        self._as_postgres("psql", "-h", f"{self.directory}/socket", "postgres", text=sql)


@contextlib.contextmanager
def running() -> Iterator[PostgreSql]:
    """Not below pytest's directory, which every other run of pytest closes to other users."""
    directory = Path(tempfile.mkdtemp(prefix="posthouse-postgresql-"))
    server = PostgreSql(directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSql]:
    with running() as server:
        server.run(TABLE)
        yield server


def test_users_of_postgresql_log_in_and_wait_while_it_is_away(tmp_path: Path, postgresql: PostgreSql) -> None:
    query_file = tmp_path / "dovecot-sql.conf.ext"
    query_file.write_text(QUERY_FILE.format(socket=f"{postgresql.directory}/socket"))
    chain = {
        "passdb/1/driver": "sql",
        "passdb/1/args": str(query_file),
        "userdb/1/driver": "sql",
        "userdb/1/args": str(query_file),
    }

    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {}, chain) as world:
            login, users = world.peer(AUTH_LOGIN, "login"), world.peer(AUTH_USERDB, "queue")
            assert isinstance(await login.call(plain("bob@example.org", "password")), AuthSuccess)
            for user, password in (("bob@example.org", "x"), ("carol@example.org", "x"), ("' OR 1=1 --", "password")):
                answer = await login.call(plain(user, password))
                assert isinstance(answer, AuthFailure)
                assert not answer.temporary
            found = await users.call(LookupUser("bob@example.org", "lmtp"))
            assert isinstance(found, UserEntry)
            assert (found.home, found.uid, found.quota_octets) == ("/var/vmail/example.org/bob", 5000, 1 << 20)
            assert isinstance(await users.call(LookupUser("carol@example.org", "lmtp")), NoSuchUser)
            postgresql.stop()
            try:
                answer = await login.call(plain("bob@example.org", "password"))
                assert isinstance(answer, AuthFailure)
                assert answer.temporary
            finally:
                postgresql.start()
            give_up = time.monotonic() + 20
            while not isinstance(await login.call(plain("bob@example.org", "password")), AuthSuccess):
                assert time.monotonic() < give_up

    test(tmp_path)
