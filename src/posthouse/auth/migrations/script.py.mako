"""${message}"""

from posthouse.auth.migrations import run_version

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    run_version(int(revision))
