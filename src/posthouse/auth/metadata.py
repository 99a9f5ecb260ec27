"""The directory's tables as SQLAlchemy describes them: what Alembic compares a database with.

The statements that make them are in auth.schema, for every database the same; a test compares the two on each of them.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, SmallInteger, String, Table, text

METADATA: Final = MetaData()
_NOTHING: Final = text("''")


def _number(name: str, kind: type[Integer], default: str | None = None) -> "Column[int]":
    return Column(name, kind, nullable=False, server_default=text(default) if default else None)


def _text(name: str, length: int) -> "Column[str]":
    return Column(name, String(length), nullable=False, server_default=_NOTHING)


DOMAINS: Final = Table(
    "domains",
    METADATA,
    Column("name", String(255), primary_key=True),
    _number("created", BigInteger),
    _number("disabled", SmallInteger, "0"),
)
ACCOUNTS: Final = Table(
    "accounts",
    METADATA,
    Column("address", String(320), primary_key=True),
    Column("domain", String(255), ForeignKey("domains.name"), nullable=False),
    Column("password", String(1024), nullable=False),
    _number("quota_octets", BigInteger, "0"),
    _number("disabled", SmallInteger, "0"),
    _number("created", BigInteger),
    _text("home", 1024),
    _text("mail", 1024),
    _number("app_passwords_only", SmallInteger, "0"),
    Index("accounts_domain", "domain"),
)
ALIASES: Final = Table(
    "aliases",
    METADATA,
    Column("address", String(320), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("domain", String(255), ForeignKey("domains.name"), nullable=False),
    Column("target", String(320), nullable=False),
    Index("aliases_domain", "domain"),
)
APP_PASSWORDS: Final = Table(
    "app_passwords",
    METADATA,
    Column("address", String(320), ForeignKey("accounts.address"), primary_key=True),
    Column("label", String(64), primary_key=True),
    Column("digest", String(255), nullable=False),
    _text("services", 255),
    _number("created", BigInteger),
    _number("expires", BigInteger, "0"),
    _number("last_used", BigInteger, "0"),
)
LOGINS: Final = Table(
    "logins",
    METADATA,
    Column("address", String(320), ForeignKey("accounts.address"), primary_key=True),
    Column("service", String(32), primary_key=True),
    _number("last_login", BigInteger),
)
