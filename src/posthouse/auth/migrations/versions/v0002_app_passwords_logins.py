"""Application passwords, last logins, disabled domains."""

from posthouse.auth.migrations import run_version

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_version(2)
