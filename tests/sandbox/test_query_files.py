"""Query files of databases belong to root: the jailed auth process reads them at start and at a reload all the same."""

import imaplib
import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tests.running import RunningSystem

QUERY_FILE = """\
driver = sqlite
connect = {path}
default_pass_scheme = PLAIN
password_query = SELECT '{password}' AS password FROM users WHERE name = '%u'
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_a_changed_query_file_that_only_root_may_read_counts_after_a_reload(
    new_sandbox: Callable[..., RunningSystem], tmp_path: Path
) -> None:
    public, private = tmp_path / "public", tmp_path / "private"
    for directory in (public, private):
        directory.mkdir(mode=0o755)
    database, query_file = public / "users.sqlite", private / "sql.conf"
    connection = apsw.Connection(str(database))
    connection.execute("CREATE TABLE users (name TEXT PRIMARY KEY)")
    connection.execute("INSERT INTO users VALUES ('alice@example.test')")
    connection.close()
    database.chmod(0o644)
    query_file.write_text(QUERY_FILE.format(path=database, password="first"))
    query_file.chmod(0o600)
    private.chmod(0o700)
    system = new_sandbox("dovecot/passdb/1/driver=sql", f"dovecot/passdb/1/args={query_file}")

    def logs_in(password: str) -> bool:
        with imaplib.IMAP4(*system.endpoint("imap"), timeout=20) as client:
            try:
                client.login("alice@example.test", password)
            except imaplib.IMAP4.error:
                return False
            return True

    assert logs_in("first")
    query_file.write_text(QUERY_FILE.format(path=database, password="second"))
    system.reload()
    system.wait_until(lambda: logs_in("second"), "the new query to be asked")
    assert not logs_in("first")
    # One that makes no sense leaves the old one in use, and says so.
    system.expect_log("Error: .*neither a comment")
    query_file.write_text("nonsense")
    system.reload()
    system.wait_for_log("neither a comment nor name = value.* stay in use")
    assert logs_in("second")
