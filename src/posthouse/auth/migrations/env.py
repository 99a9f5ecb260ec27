"""Run by Alembic, on the connection that auth.upgrade gives it."""

from alembic import context

from posthouse.auth.metadata import METADATA
from posthouse.auth.server_storage import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
