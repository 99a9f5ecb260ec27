"""Alembic's environment of the directory on a server: one revision for each version of auth.schema.

A downgrade is a restored backup.
"""

from alembic import op

from posthouse.auth.schema import VERSIONS


def run_version(number: int) -> None:
    """The statements of this version, counted from 1."""
    is_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    # Names are compared octet by octet: "é" is not "e".
    options = " ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" if is_mysql else ""
    for statement in VERSIONS[number - 1]:
        op.execute(statement + (options if statement.startswith("CREATE TABLE") else ""))
