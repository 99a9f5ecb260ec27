"""The directory's tables, version by version.

Plain SQL that MariaDB and PostgreSQL take as it is: VARCHAR with lengths that their indexes allow, times and sizes as
BIGINT, truth values as SMALLINT. A version is never edited after a release; a change is a new entry at the end, a
revision that runs it on servers (auth/migrations/versions), and the new picture in auth/metadata.py.
"""

from typing import Final

import apsw

VERSIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE domains (name VARCHAR(255) NOT NULL PRIMARY KEY, created BIGINT NOT NULL)",
        "CREATE TABLE accounts ("
        " address VARCHAR(320) NOT NULL PRIMARY KEY,"
        " domain VARCHAR(255) NOT NULL REFERENCES domains (name),"
        " password VARCHAR(1024) NOT NULL,"
        " quota_octets BIGINT NOT NULL DEFAULT 0,"
        " disabled SMALLINT NOT NULL DEFAULT 0,"
        " created BIGINT NOT NULL,"
        " home VARCHAR(1024) NOT NULL DEFAULT '',"
        " mail VARCHAR(1024) NOT NULL DEFAULT '')",
        "CREATE INDEX accounts_domain ON accounts (domain)",
        "CREATE TABLE aliases ("
        " address VARCHAR(320) NOT NULL,"
        " position INTEGER NOT NULL,"
        " domain VARCHAR(255) NOT NULL REFERENCES domains (name),"
        " target VARCHAR(320) NOT NULL,"
        " PRIMARY KEY (address, position))",
        "CREATE INDEX aliases_domain ON aliases (domain)",
    ),
    (
        "ALTER TABLE domains ADD COLUMN disabled SMALLINT NOT NULL DEFAULT 0",
        "ALTER TABLE accounts ADD COLUMN app_passwords_only SMALLINT NOT NULL DEFAULT 0",
        "CREATE TABLE app_passwords ("
        " address VARCHAR(320) NOT NULL REFERENCES accounts (address),"
        " label VARCHAR(64) NOT NULL,"
        " digest VARCHAR(255) NOT NULL,"
        " services VARCHAR(255) NOT NULL DEFAULT '',"
        " created BIGINT NOT NULL,"
        " expires BIGINT NOT NULL DEFAULT 0,"
        " last_used BIGINT NOT NULL DEFAULT 0,"
        " PRIMARY KEY (address, label))",
        "CREATE TABLE logins ("
        " address VARCHAR(320) NOT NULL REFERENCES accounts (address),"
        " service VARCHAR(32) NOT NULL,"
        " last_login BIGINT NOT NULL,"
        " PRIMARY KEY (address, service))",
    ),
)


class TooNew(apsw.Error):
    """The database was written by a later release."""


def migrate(connection: apsw.Connection) -> None:
    """Bring the database to the last version, or leave it as it was."""
    if _version(connection) == len(VERSIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have done it while we waited for the lock.
        version = _version(connection)
        if version > len(VERSIONS):
            raise TooNew(f"schema version {version} is from a later release (this one knows {len(VERSIONS)})")
        if version == 0:
            connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
            connection.execute("INSERT INTO schema_version (version) VALUES (0)")
        for statements in VERSIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute("UPDATE schema_version SET version = ?", (len(VERSIONS),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: apsw.Connection) -> int:
    try:
        row = connection.execute("SELECT version FROM schema_version").fetchone()
    except apsw.SQLError:
        # No such table: a new database.
        return 0
    return int(row[0]) if row is not None else 0
