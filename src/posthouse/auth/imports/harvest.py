"""What was found elsewhere, before it is taken over."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from posthouse.auth.databases.chain import is_yes
from posthouse.auth.userdb import quota_octets

UNKEEPABLE: Final = {
    "allow_nets": "logins from some networks only",
    "nopassword": "logins without a password",
    "proxy": "logins are passed on to another server",
    "proxy_maybe": "logins are passed on to another server",
    "deny": "a list of users who may not log in",
}
"""Fields of a password database that the directory has no place for, and whose loss would let somebody in."""


class FoundDomain(msgspec.Struct, frozen=True):
    name: str
    is_disabled: bool = False


class FoundAccount(msgspec.Struct, frozen=True):
    """`password` with its scheme."""

    address: str
    password: str
    quota_octets: int = 0
    is_disabled: bool = False
    home: str = ""
    mail: str = ""


class FoundAlias(msgspec.Struct, frozen=True):
    address: str
    targets: tuple[str, ...]


class Skipped(msgspec.Struct, frozen=True):
    what: str
    why: str


class Harvest(msgspec.Struct):
    domains: list[FoundDomain] = []
    accounts: list[FoundAccount] = []
    aliases: list[FoundAlias] = []
    skipped: list[Skipped] = []
    notes: list[str] = []


class Unreadable(Exception):
    """The source cannot be read at all; the text says why."""


def with_scheme(stored: str, default_scheme: str) -> str:
    """ "{SCHEME}hash", whatever the source leaves out. crypt's own prefixes say more than a default does."""
    if re.match(r"\{[A-Za-z0-9.+_-]{1,32}\}", stored):
        return stored
    for prefix, scheme in _CRYPT_SCHEMES:
        if stored.startswith(prefix):
            return f"{{{scheme}}}{stored}"
    return f"{{{default_scheme.upper()}}}{stored}"


_CRYPT_SCHEMES: Final = (
    ("$1$", "MD5-CRYPT"),
    *((prefix, "BLF-CRYPT") for prefix in ("$2a$", "$2b$", "$2x$", "$2y$")),
    ("$5$", "SHA256-CRYPT"),
    ("$6$", "SHA512-CRYPT"),
    ("$argon2id$", "ARGON2ID"),
    ("$argon2i$", "ARGON2I"),
)


def account(
    address: str, stored: str, default_scheme: str, password_fields: Mapping[str, str], user_fields: Mapping[str, str]
) -> FoundAccount | Skipped:
    """From what the two kinds of database say about a user."""
    for name, means in UNKEEPABLE.items():
        value = password_fields.get(name, "")
        if value and (name == "allow_nets" or is_yes(value)):
            return Skipped(address, f"{name} ({means}) cannot be kept in the directory")
    if not stored or stored in ("*", "x", "!", "!!", "*LK*"):
        return Skipped(address, "no password is stored")
    return FoundAccount(
        address,
        with_scheme(stored, default_scheme),
        quota_octets(user_fields),
        is_yes(password_fields.get("nologin", "no")),
        user_fields.get("home", ""),
        user_fields.get("mail", ""),
    )
