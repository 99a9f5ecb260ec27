"""The users' password as both sides store it."""

import subprocess
from functools import cache
from pathlib import Path

import apsw

from bench.server import PASSWORD, USERS
from posthouse.auth.schemes import Hasher


@cache
def stored(scheme: str) -> str:
    """PLAIN, so that a login costs no hash; ARGON2ID, which a cache of right passwords saves; MD5-CRYPT, as
    databases of old installations have it."""
    if scheme == "PLAIN":
        return f"{{PLAIN}}{PASSWORD}"
    if scheme == "ARGON2ID":
        return Hasher().hash(PASSWORD)
    if scheme == "MD5-CRYPT":
        done = subprocess.run(
            ["openssl", "passwd", "-1", PASSWORD], capture_output=True, text=True, check=True, timeout=60
        )
        return f"{{MD5-CRYPT}}{done.stdout.strip()}"
    raise ValueError(f"no scheme of the benchmark: {scheme}")


def sqlite_users(root: Path, scheme: str) -> Path:
    """A database of the users, and the query file that both servers read."""
    database, query_file = root / "users.sqlite", root / "sql.conf"
    connection = apsw.Connection(str(database))
    connection.execute("CREATE TABLE mailbox (username TEXT PRIMARY KEY, password TEXT NOT NULL)")
    rows = [(f"u{number:02d}@example.test", stored(scheme)) for number in range(USERS)]
    connection.executemany("INSERT INTO mailbox VALUES (?, ?)", rows)
    connection.close()
    for path in (root, database):
        path.chmod(0o755)
    query_file.write_text(
        f"driver = sqlite\nconnect = {database}\npassword_query = SELECT password FROM mailbox WHERE username = '%u'\n"
    )
    return query_file
