"""The embedded directory: domains, accounts and aliases in one SQLite database.

Commands write, the auth process reads; both may be at it at the same time (WAL), and a change is seen by the next
look-up: `PRAGMA data_version` tells when somebody else has written, and only then is the cache of answers dropped.
Everything above uses the methods here and never SQL, so that the same schema can live in another database.

A disabled account cannot log in, but its mail goes on arriving: switching somebody off must not lose mail.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

import apsw
import msgspec

from posthouse.auth.names import fold_address, fold_domain, parse_address, parse_alias, parse_domain, parse_target
from posthouse.auth.schema import migrate
from posthouse.auth.schemes import Hasher

T = TypeVar("T")
Value = str | int | float | bytes | None

BUSY_TIMEOUT_MS: Final = 5000
"""How long a writer waits for another writer; readers never wait."""
MAXIMAL_TARGETS: Final = 1000
"""Targets of one alias: as many as one virtual expansion may yield (virtual_alias_expansion_limit)."""


class DirectoryError(Exception):
    """The database could not answer: a temporary failure, never "no such user"."""


class Refused(ValueError):
    """A change that makes no sense; the text is for the administrator."""


class Account(msgspec.Struct, frozen=True):
    """`home` and `mail` are "" unless they differ from mail_home and mail_location; `quota_octets` 0 is no limit."""

    address: str
    password: str
    quota_octets: int = 0
    is_disabled: bool = False
    created_s: int = 0
    home: str = ""
    mail: str = ""


class Alias(msgspec.Struct, frozen=True):
    address: str
    targets: tuple[str, ...]


_ACCOUNT: Final = "SELECT address, password, quota_octets, disabled, created, home, mail FROM accounts"


class Directory:
    """One connection; use it from one thread."""

    def __init__(self, connection: apsw.Connection, hasher: Hasher, cache_entries: int) -> None:
        self._connection = connection
        self._hasher = hasher
        self._cache_entries = cache_entries
        self._domains: dict[str, bool] = {}
        self._accounts: dict[str, Account | None] = {}
        self._aliases: dict[str, tuple[str, ...]] = {}
        self._version = -1

    @classmethod
    def open(
        cls, path: str | Path, *, create: bool = True, hasher: Hasher | None = None, cache_entries: int = 0
    ) -> Self:
        """Open, make or upgrade the database at `path`; its directory is made, for its owner only, if it is missing."""
        try:
            if create:
                os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
                _touch(path)
            connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            connection.pragma("journal_mode", "wal")
            # A password change that was acknowledged must survive a power cut.
            connection.pragma("synchronous", "full")
            connection.pragma("foreign_keys", True)
            migrate(connection)
        except (apsw.Error, OSError) as error:
            raise DirectoryError(f"{path}: {error}") from error
        return cls(connection, hasher or Hasher(), cache_entries)

    def close(self) -> None:
        self._connection.close()

    # ── look-ups ──

    def has_domain(self, domain: str) -> bool:
        domain = fold_domain(domain)
        self._validate()
        found = self._domains.get(domain)
        if found is None:
            found = bool(self._rows("SELECT 1 FROM domains WHERE name = ?", (domain,)))
            self._remember(self._domains, domain, found)
        return found

    def account(self, address: str) -> Account | None:
        address = fold_address(address)
        self._validate()
        try:
            return self._accounts[address]
        except KeyError:
            pass
        rows = self._rows(_ACCOUNT + " WHERE address = ?", (address,))
        found = _account(rows[0]) if rows else None
        self._remember(self._accounts, address, found)
        return found

    def targets(self, address: str) -> tuple[str, ...]:
        """Where mail for this address (or "@domain") is sent on to; () if it is no alias.

        A catch-all must not swallow the accounts of its domain: an account without an alias of its own, in a domain
        with a catch-all, is its own target, which ends the search of those who ask for user@domain first and @domain
        then.
        """
        address = fold_address(address)
        self._validate()
        found = self._aliases.get(address)
        if found is None:
            found = self._stored_targets(address)
            if not found and address[:1] != "@":
                domain = address.rpartition("@")[2]
                if self._stored_targets("@" + domain) and self.account(address) is not None:
                    found = (address,)
            self._remember(self._aliases, address, found)
        return found

    def _stored_targets(self, address: str) -> tuple[str, ...]:
        rows = self._rows("SELECT target FROM aliases WHERE address = ? ORDER BY position", (address,))
        return tuple(str(row[0]) for row in rows)

    # ── lists ──

    def domains(self) -> list[str]:
        return [str(row[0]) for row in self._rows("SELECT name FROM domains ORDER BY name")]

    def accounts(self, domain: str = "") -> list[Account]:
        if not domain:
            return [_account(row) for row in self._rows(_ACCOUNT + " ORDER BY domain, address")]
        return [
            _account(row)
            for row in self._rows(_ACCOUNT + " WHERE domain = ? ORDER BY address", (self._known_domain(domain),))
        ]

    def aliases(self, domain: str = "") -> list[Alias]:
        where = "WHERE domain = ? " if domain else ""
        bindings = (self._known_domain(domain),) if domain else ()
        query = f"SELECT address, target FROM aliases {where}ORDER BY domain, address, position"  # noqa: S608
        found: dict[str, list[str]] = {}
        for address, target in self._rows(query, bindings):
            found.setdefault(str(address), []).append(str(target))
        return [Alias(address, tuple(targets)) for address, targets in found.items()]

    # ── changes: each is on the disk when the method returns ──

    def add_domain(self, domain: str) -> str:
        name = parse_domain(domain)
        with self._transaction():
            if self._rows("SELECT 1 FROM domains WHERE name = ?", (name,)):
                raise Refused(f"the domain {name} exists already")
            self._rows("INSERT INTO domains (name, created) VALUES (?, ?)", (name, int(time.time())))
        return name

    def remove_domain(self, domain: str, *, with_contents: bool = False) -> None:
        """Without `with_contents` a domain that still has accounts or aliases stays."""
        with self._transaction():
            name = self._known_domain(domain)
            if not with_contents and (self.accounts(name) or self.aliases(name)):
                raise Refused(
                    f"the domain {name} still has {len(self.accounts(name))} accounts"
                    f" and {len(self.aliases(name))} aliases"
                )
            self._rows("DELETE FROM aliases WHERE domain = ?", (name,))
            self._rows("DELETE FROM accounts WHERE domain = ?", (name,))
            self._rows("DELETE FROM domains WHERE name = ?", (name,))

    def add_account(
        self,
        address: str,
        password: str,
        *,
        quota_octets: int = 0,
        home: str = "",
        mail: str = "",
        hashed: bool = False,
    ) -> Account:
        """`password` in clear text, or with `hashed` as "{SCHEME}hash"."""
        key = parse_address(address)
        stored = self._hasher.checked(password) if hashed else self._hasher.hash(password)
        with self._transaction():
            domain = self._known_domain(key.rpartition("@")[2])
            if self._rows("SELECT 1 FROM accounts WHERE address = ?", (key,)):
                raise Refused(f"the account {key} exists already")
            if self._stored_targets(key):
                raise Refused(f"{key} is an alias; remove it first (posthouse alias remove {key})")
            account = Account(key, stored, quota_octets, False, int(time.time()), home, mail)
            self._rows(
                "INSERT INTO accounts (address, domain, password, quota_octets, disabled, created, home, mail)"
                " VALUES (?, ?, ?, ?, 0, ?, ?, ?)",
                (key, domain, stored, quota_octets, account.created_s, home, mail),
            )
        return account

    def remove_account(self, address: str) -> None:
        """The account only: its mail stays on the disk."""
        with self._transaction():
            self._rows("DELETE FROM accounts WHERE address = ?", (self._known_account(address),))

    def set_password(self, address: str, password: str, *, hashed: bool = False) -> None:
        stored = self._hasher.checked(password) if hashed else self._hasher.hash(password)
        self._update(address, "UPDATE accounts SET password = ? WHERE address = ?", stored)

    def set_quota(self, address: str, quota_octets: int) -> None:
        if quota_octets < 0:
            raise Refused("a quota cannot be negative; 0 means no limit")
        self._update(address, "UPDATE accounts SET quota_octets = ? WHERE address = ?", quota_octets)

    def set_disabled(self, address: str, disabled: bool) -> None:
        self._update(address, "UPDATE accounts SET disabled = ? WHERE address = ?", int(disabled))

    def add_alias(self, address: str, targets: Sequence[str]) -> Alias:
        """Adds targets to the alias, which is made if it is new."""
        key = parse_alias(address)
        wanted = [parse_target(target) for target in targets]
        if not wanted:
            raise Refused("an alias needs at least one target")
        with self._transaction():
            domain = self._known_domain(key.rpartition("@")[2])
            present = self._stored_targets(key)
            merged = tuple(dict.fromkeys((*present, *wanted)))
            if len(merged) > MAXIMAL_TARGETS:
                raise Refused(f"an alias has at most {MAXIMAL_TARGETS} targets")
            if merged == present:
                raise Refused(f"{key} leads there already")
            if self._rows("SELECT 1 FROM accounts WHERE address = ?", (key,)) and key not in merged and not present:
                raise Refused(
                    f"{key} is an account, and the alias would take all its mail away;"
                    f" name {key} among the targets to keep a copy"
                )
            for position in range(len(present), len(merged)):
                self._rows(
                    "INSERT INTO aliases (address, domain, position, target) VALUES (?, ?, ?, ?)",
                    (key, domain, position, merged[position]),
                )
        return Alias(key, merged)

    def remove_alias(self, address: str, targets: Sequence[str] = ()) -> None:
        """The alias, or only these targets of it."""
        key = parse_alias(address)
        with self._transaction():
            present = self._stored_targets(key)
            if not present:
                raise Refused(f"there is no alias {key}")
            unwanted = {parse_target(target) for target in targets}
            if missing := unwanted.difference(present):
                raise Refused(f"{key} does not lead to {', '.join(sorted(missing))}")
            self._rows("DELETE FROM aliases WHERE address = ?", (key,))
            left = [target for target in present if target not in unwanted] if unwanted else []
            for position, target in enumerate(left):
                self._rows(
                    "INSERT INTO aliases (address, domain, position, target) VALUES (?, ?, ?, ?)",
                    (key, key.rpartition("@")[2], position, target),
                )

    # ── the database ──

    def _update(self, address: str, statement: str, value: str | int) -> None:
        with self._transaction():
            self._rows(statement, (value, self._known_account(address)))

    def _known_domain(self, domain: str) -> str:
        name = parse_domain(domain)
        if not self._rows("SELECT 1 FROM domains WHERE name = ?", (name,)):
            raise Refused(f"there is no domain {name}; add it with: posthouse domain add {name}")
        return name

    def _known_account(self, address: str) -> str:
        key = parse_address(address)
        if not self._rows("SELECT 1 FROM accounts WHERE address = ?", (key,)):
            raise Refused(f"there is no account {key}")
        return key

    def _rows(self, statement: str, bindings: tuple[str | int, ...] = ()) -> list[tuple[Value, ...]]:
        # apsw keeps prepared statements by their text.
        try:
            return self._connection.execute(statement, bindings).fetchall()
        except apsw.Error as error:
            raise DirectoryError(str(error)) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._rows("BEGIN IMMEDIATE")
        try:
            yield
            self._rows("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._rows("ROLLBACK")
            raise
        finally:
            self._forget()

    def _validate(self) -> None:
        """Drop what is remembered if another connection has written since."""
        version = self._rows("PRAGMA data_version")[0][0]
        if version != self._version:
            self._forget()
            self._version = int(version)  # type: ignore[arg-type]  # SQLite documents an integer

    def _forget(self) -> None:
        self._domains.clear()
        self._accounts.clear()
        self._aliases.clear()

    def _remember(self, cache: dict[str, T], key: str, value: T) -> None:
        if self._cache_entries:
            if len(cache) >= self._cache_entries:
                # Full: begin anew, which costs one query per name in use.
                cache.clear()
            cache[key] = value


def _account(row: tuple[Value, ...]) -> Account:
    address, password, quota, disabled, created, home, mail = row
    return Account(
        str(address),
        str(password),
        int(quota or 0),
        bool(disabled),
        int(created or 0),
        str(home or ""),
        str(mail or ""),
    )


def _touch(path: str | Path) -> None:
    """Make the file with a mode of our own: SQLite would take what the umask leaves, and its -wal and -shm copy it."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
