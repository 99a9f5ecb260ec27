"""From the passdb and userdb blocks of dovecot.conf to chains. Without any, the embedded directory is asked.

Query files and the like are read here, with the rights of the process before its jail.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from posthouse.auth.database_url import is_elsewhere
from posthouse.auth.databases.cached import AnswerCache, cached_passwords, cached_users
from posthouse.auth.databases.chain import AnyPassDatabase, Block, Rule
from posthouse.auth.databases.embedded import EmbeddedDatabase
from posthouse.auth.databases.ldap import LdapSettings, LdapUsers, addresses, parse_ldap_file, passwords
from posthouse.auth.databases.ldap import Server as LdapServer
from posthouse.auth.databases.lookup import BadDatabase, UserDatabase
from posthouse.auth.databases.oauth2_file import key_prefix, parse_oauth2_file
from posthouse.auth.databases.prefetch import PrefetchDatabase
from posthouse.auth.databases.queries import parse_query_file
from posthouse.auth.databases.rehash import SqlRehash
from posthouse.auth.databases.simple import PasswdFileDatabase, StaticDatabase, parse_fields
from posthouse.auth.databases.sql import SqlDatabase
from posthouse.auth.directory import Directory
from posthouse.auth.server_directory import ServerDatabase, ServerDirectory
from posthouse.config.dovecotconf import blocks

PASS_DRIVERS: Final = ("sql", "ldap", "oauth2", "passwd-file", "static", "directory")
QUERY_FILE_DRIVERS: Final = ("sql", "ldap", "oauth2")
"""Whose args is a file of settings."""
USER_DRIVERS: Final = (*(one for one in PASS_DRIVERS if one != "oauth2"), "prefetch")


class Chains(msgspec.Struct, frozen=True):
    """`masters` are the passdb blocks with master = yes."""

    passdbs: tuple[Block[AnyPassDatabase], ...]
    masters: tuple[Block[AnyPassDatabase], ...]
    userdbs: tuple[Block[UserDatabase], ...]
    are_configured: tuple[bool, bool]
    """Do passdbs and userdbs stand in the file?"""
    rehashes: Mapping[str, SqlRehash] = {}
    """By query file: those with an update_query."""

    def close(self) -> None:
        for password in (*self.passdbs, *self.masters):
            password.database.close()
        for user in self.userdbs:
            user.database.close()


def build(
    values: Mapping[str, str],
    directory: Callable[[], Directory] | ServerDirectory,
    cache: AnswerCache,
    read: Callable[[str], str],
    *,
    threads: int,
    default_scheme: str,
    token_clock_skew_s: float,
) -> Chains:
    """`values` are dovecot.conf's; `read` gives the text of a query file. Raises BadDatabase, OSError."""
    sql: dict[str, SqlDatabase] = {}
    ldap: dict[str, LdapServer] = {}
    embedded: EmbeddedDatabase | ServerDatabase
    if isinstance(directory, ServerDirectory):
        embedded = ServerDatabase(directory, default_scheme)
    else:
        embedded = EmbeddedDatabase(directory, default_scheme)

    def database(kind: str, name: str, inside: Mapping[str, str]) -> Any:  # one class is often both kinds
        where, driver, args = f"{kind} {name}", inside.get("driver", ""), inside.get("args", "")
        match driver:
            case "sql":
                if args not in sql:
                    sql[args] = SqlDatabase(args, read(args), threads=threads)
                return sql[args]
            case "ldap":
                if args not in ldap:
                    ldap[args] = LdapServer(LdapSettings(args, read(args), read), threads=threads)
                return LdapUsers(ldap[args]) if kind == "userdb" else passwords(ldap[args])
            case "oauth2" if kind == "passdb":
                # Loaded where it is configured: master imports this module too, and all others are forked from it.
                from posthouse.auth.databases.oauth2 import Oauth2Database

                return Oauth2Database(
                    args, read(args), read, lambda path: Path(path).read_bytes(), _stamp, skew_s=token_clock_skew_s
                )
            case "passwd-file":
                return PasswdFileDatabase(args, where, lambda path: Path(path).read_bytes(), _stamp)
            case "static":
                return StaticDatabase(args, where)
            case "directory":
                return embedded
            case "prefetch" if kind == "userdb":
                return PrefetchDatabase()
            case _:
                known = ", ".join(USER_DRIVERS if kind == "userdb" else PASS_DRIVERS)
                raise BadDatabase(f"{where}: driver = {driver or '(not set)'} is not supported (supported: {known})")

    def cached(kind: str, name: str, inside: Mapping[str, str]) -> Any:
        in_front = cached_passwords if kind == "passdb" else cached_users
        return in_front(database(kind, name, inside), cache, f"{kind} {name}")

    found = {
        kind: [
            (_is_yes(inside, "master"), _block(cached(kind, name, inside), f"{kind} {name}", inside))
            for name, inside in blocks(values, kind)
        ]
        for kind in ("passdb", "userdb")
    }
    passdbs = tuple(block for is_master, block in found["passdb"] if not is_master)
    userdbs = tuple(block for _, block in found["userdb"])
    return Chains(
        passdbs or (Block(embedded),),
        tuple(block for is_master, block in found["passdb"] if is_master),
        userdbs or (Block(embedded),),
        (bool(passdbs), bool(userdbs)),
        {path: one.rehash for path, one in sql.items() if one.rehash is not None},
    )


def _is_yes(inside: Mapping[str, str], name: str) -> bool:
    return inside.get(name, "no").lower() in ("yes", "y", "1", "true")


def files(values: Mapping[str, str]) -> list[str]:
    """Directories that the databases read while the process runs: of a file that is replaced, the new one too."""
    found: list[str] = []
    for kind in ("passdb", "userdb"):
        for _, inside in blocks(values, kind):
            path = inside.get("args", "").split(" ")[-1]
            if inside.get("driver") in ("sql", "passwd-file") and path.startswith("/"):
                found.append(os.path.dirname(path.partition("%")[0]))
                found += _sqlite_directories(path) if inside.get("driver") == "sql" else []
            elif inside.get("driver") == "oauth2" and path.startswith("/"):
                found += [os.path.dirname(one) for one in (key_prefix(_settings(path, parse_oauth2_file)),) if one]
    return list(dict.fromkeys(found))


def query_files(values: Mapping[str, str]) -> list[str]:
    """The files with queries and passwords of databases, and what they name, read at start and at a reload only."""
    found: list[str] = []
    for kind in ("passdb", "userdb"):
        for _, inside in blocks(values, kind):
            path = inside.get("args", "")
            if inside.get("driver") in QUERY_FILE_DRIVERS and path.startswith("/"):
                found.append(path)
                if parse := _FILE_PARSERS.get(inside.get("driver", "")):
                    found += [one for one in (_settings(path, parse).get("tls_ca_cert_file", ""),) if one]
    return list(dict.fromkeys(found))


_FILE_PARSERS: Final = {"ldap": parse_ldap_file, "oauth2": parse_oauth2_file}


def _settings(path: str, parse: Callable[[str, str], dict[str, str]]) -> dict[str, str]:
    try:
        return parse(Path(path).read_text("utf-8"), path)
    except (OSError, ValueError):
        return {}  # auth says what is wrong


def uses_network(values: Mapping[str, str]) -> bool:
    """Is one of the databases not on this machine, or a policy server asked? Read by master, before auth is jailed."""
    if values.get("auth_policy_server_url"):
        return True
    for kind in ("passdb", "userdb"):
        for _, inside in blocks(values, kind):
            path = inside.get("args", "")
            if inside.get("driver") == "ldap":
                try:
                    if any(not one.path for one in addresses(_settings(path, parse_ldap_file), path)):
                        return True
                except BadDatabase:
                    continue  # auth says what is wrong
            if inside.get("driver") == "oauth2":
                found = _settings(path, parse_oauth2_file)
                if found.get("tokeninfo_url") or found.get("introspection_url"):
                    return True
            if inside.get("driver") == "sql":
                try:
                    settings = parse_query_file(Path(path).read_text("utf-8"), path)
                    if is_elsewhere(settings):
                        return True
                except (OSError, ValueError):
                    continue  # auth says what is wrong
    return False


def _sqlite_directories(path: str) -> list[str]:
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, ValueError):
        return []  # whoever needs it says so
    lines = (line.partition("=") for line in text.splitlines())
    settings = {name.strip(): value.strip() for name, _, value in lines}
    connect = settings.get("connect", "")
    return [os.path.dirname(connect)] if settings.get("driver") == "sqlite" and connect.startswith("/") else []


def _stamp(path: str) -> object:
    facts = os.stat(path)
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _block(database: Any, where: str, inside: Mapping[str, str]) -> Block[Any]:
    is_deny = _is_yes(inside, "deny")
    if is_deny and not hasattr(database, "password"):
        raise BadDatabase(f"{where}: deny = yes needs a driver that can be asked without a password")

    def rule(name: str, default: Rule) -> Rule:
        try:
            return Rule(inside.get(name, default.value))
        except ValueError:
            known = ", ".join(one.value for one in Rule)
            raise BadDatabase(f"{where}: {name} = {inside[name]}: known are {known}") from None

    return Block(
        database,
        rule("result_success", Rule.RETURN_OK),
        rule("result_failure", Rule.CONTINUE),
        rule("result_internalfail", Rule.CONTINUE),
        inside.get("skip", "never"),
        is_deny,
        parse_fields(inside.get("default_fields", ""), where),
        parse_fields(inside.get("override_fields", ""), where),
        frozenset(inside.get("mechanisms", "").upper().replace(",", " ").split()),
        passes_on=_is_yes(inside, "pass"),
    )
