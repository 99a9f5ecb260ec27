"""Bringing the directory's schema on a server up to date, with SQLAlchemy and Alembic (auth/migrations).

SQLite does without (auth.schema.migrate): these libraries cost a process 40 MB and a command half a second.
"""

import asyncio
from pathlib import Path
from typing import Final

import alembic.command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from posthouse.auth.databases.sql import MySqlDriver, PgDriver
from posthouse.auth.storage import DirectoryError

LOCK_TIMEOUT_S: Final = 60
"""How long a command waits for another one that upgrades."""
_PG_LOCK: Final = 0x706F737468  # "posth"


def upgrade(driver: MySqlDriver | PgDriver) -> None:
    """Raises DirectoryError. PostgreSQL does a version whole or not at all; MariaDB commits every statement by itself:
    there an upgrade that was killed half-way needs a backup."""
    try:
        if isinstance(driver, PgDriver):
            asyncio.run(_upgrade_postgresql(driver))
        else:
            _upgrade_mysql(driver)
    except driver.errors as error:
        raise DirectoryError(f"the schema cannot be brought up to date: {error}") from error
    except (SQLAlchemyError, CommandError) as error:
        raise DirectoryError(f"the schema cannot be brought up to date: {error}") from error


def _upgrade_mysql(driver: MySqlDriver) -> None:
    engine = create_engine("mysql+pymysql://", creator=driver.raw, poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT GET_LOCK('posthouse_directory', {LOCK_TIMEOUT_S})")
        run(connection)
    engine.dispose()


async def _upgrade_postgresql(driver: PgDriver) -> None:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=driver.open, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.exec_driver_sql(f"SELECT pg_advisory_lock({_PG_LOCK})")
        await connection.run_sync(run)
    await engine.dispose()


def run(connection: Connection) -> None:
    """To the newest revision."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")
    connection.commit()
