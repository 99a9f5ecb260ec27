"""Domains, accounts, aliases."""

from posthouse.auth.migrations import run_version

revision = "0001"
down_revision = None


def upgrade() -> None:
    run_version(1)
