"""The directory: domains, accounts, application passwords and aliases, embedded (SQLite) or on a database server.

Commands write, the auth process reads; both may be at it at the same time, and a change is seen by the next look-up:
SQLite tells when somebody else has written, and only then is the cache of answers dropped. Everything above uses the
methods here and never SQL; where the tables are is the business of `auth.storage`.

A disabled account, or one in a disabled domain, cannot log in, but its mail goes on arriving: switching somebody off
must not lose mail.
"""

import contextlib
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec

from posthouse.auth import app_passwords
from posthouse.auth.app_passwords import AppPassword
from posthouse.auth.names import fold_address, fold_domain, parse_address, parse_alias, parse_domain, parse_target
from posthouse.auth.schemes import Hasher
from posthouse.auth.storage import DirectoryError, Rows, SqliteStorage, Storage, Value

__all__ = ("Account", "Alias", "Directory", "DirectoryError", "Domain", "Login", "Refused")

T = TypeVar("T")

MAXIMAL_QUOTA: Final = (1 << 63) - 1
MAXIMAL_TARGETS: Final = 1000
"""Targets of one alias: as many as one virtual expansion may yield (virtual_alias_expansion_limit)."""


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
    needs_app_password: bool = False
    """The main password opens no mailbox and sends no mail."""
    is_domain_disabled: bool = False


class Domain(msgspec.Struct, frozen=True):
    name: str
    is_disabled: bool = False
    created_s: int = 0


class Login(msgspec.Struct, frozen=True):
    """The last one of an account for a service; `label`: of the application password, if it was one."""

    address: str
    service: str
    at_s: int
    label: str = ""


class Alias(msgspec.Struct, frozen=True):
    address: str
    targets: tuple[str, ...]


_ACCOUNT: Final = (
    "SELECT accounts.address, accounts.password, accounts.quota_octets, accounts.disabled, accounts.created,"
    " accounts.home, accounts.mail, accounts.app_passwords_only, domains.disabled"
    " FROM accounts JOIN domains ON domains.name = accounts.domain"
)
_APP_PASSWORD: Final = "SELECT label, digest, services, created, expires, last_used FROM app_passwords"  # noqa: S105


class Directory:
    """One connection; use it from one thread."""

    def __init__(self, storage: Storage, hasher: Hasher, cache_entries: int = 0) -> None:
        self._storage = storage
        self._hasher = hasher
        self._cache_entries = cache_entries
        self._domains: dict[str, bool] = {}
        self._accounts: dict[str, Account | None] = {}
        self._aliases: dict[str, tuple[str, ...]] = {}
        self._app_passwords: dict[str, tuple[AppPassword, ...]] = {}
        self._version: int | None = -1
        self._is_inside = False
        """Inside of one_transaction?"""

    @classmethod
    def open(
        cls, path: str | Path, *, create: bool = True, hasher: Hasher | None = None, cache_entries: int = 0
    ) -> Self:
        """Open, make or upgrade the SQLite database at `path`."""
        return cls(SqliteStorage(path, create=create), hasher or Hasher(), cache_entries)

    @classmethod
    def open_for_notes(cls, path: str | Path) -> Self:
        """For writing what may be lost in a power cut."""
        storage = SqliteStorage(path, create=False)
        storage.need_no_flush()
        return cls(storage, Hasher())

    def close(self) -> None:
        self._storage.close()

    # ── look-ups ──

    def has_domain(self, domain: str) -> bool:
        domain = fold_domain(domain)
        self._validate()
        found = self._domains.get(domain)
        if found is None:
            # Databases compare more loosely than we do ("a " is "a"), so what they found is looked at.
            found = self._rows("SELECT name FROM domains WHERE name = ?", (domain,)) == [(domain,)]
            self._remember(self._domains, domain, found)
        return found

    def account(self, address: str) -> Account | None:
        address = fold_address(address)
        self._validate()
        try:
            return self._accounts[address]
        except KeyError:
            pass
        rows = self._rows(_ACCOUNT + " WHERE accounts.address = ?", (address,))
        found = _account(rows[0]) if rows and rows[0][0] == address else None
        self._remember(self._accounts, address, found)
        return found

    def app_passwords(self, address: str) -> tuple[AppPassword, ...]:
        address = fold_address(address)
        self._validate()
        found = self._app_passwords.get(address)
        if found is None:
            rows = self._rows(_APP_PASSWORD + " WHERE address = ? ORDER BY created, label", (address,))
            found = tuple(_app_password(row) for row in rows)
            self._remember(self._app_passwords, address, found)
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

    def alias_targets(self, address: str) -> tuple[str, ...]:
        """What is stored of an alias; () if there is none."""
        return self._stored_targets(fold_address(address))

    def _stored_targets(self, address: str) -> tuple[str, ...]:
        rows = self._rows("SELECT target, address FROM aliases WHERE address = ? ORDER BY position", (address,))
        return tuple(str(row[0]) for row in rows if row[1] == address)

    # ── lists ──

    def domains(self) -> list[str]:
        return [str(row[0]) for row in self._rows("SELECT name FROM domains ORDER BY name")]

    def domain_facts(self) -> list[Domain]:
        rows = self._rows("SELECT name, disabled, created FROM domains ORDER BY name")
        return [Domain(str(name), bool(disabled), int(created or 0)) for name, disabled, created in rows]

    def accounts(self, domain: str = "") -> list[Account]:
        where = " WHERE accounts.domain = ?" if domain else ""
        bindings = (self._known_domain(domain),) if domain else ()
        rows = self._rows(f"{_ACCOUNT}{where} ORDER BY accounts.domain, accounts.address", bindings)
        return [_account(row) for row in rows]

    def logins(self, address: str = "") -> list[Login]:
        """The last login for each service."""
        where = " WHERE address = ?" if address else ""
        query = f"SELECT address, service, last_login FROM logins{where} ORDER BY address, service"  # noqa: S608
        rows = self._rows(query, (fold_address(address),) if address else ())
        return [Login(str(whose), str(service), int(at or 0)) for whose, service, at in rows]

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
            for table in ("app_passwords", "logins"):
                inside = "address IN (SELECT address FROM accounts WHERE domain = ?)"
                self._rows(f"DELETE FROM {table} WHERE {inside}", (name,))  # noqa: S608
            self._rows("DELETE FROM accounts WHERE domain = ?", (name,))
            self._rows("DELETE FROM domains WHERE name = ?", (name,))

    def set_domain_disabled(self, domain: str, disabled: bool) -> None:
        with self._transaction():
            name = self._known_domain(domain)
            self._rows("UPDATE domains SET disabled = ? WHERE name = ?", (int(disabled), name))

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
        _check_quota(quota_octets)
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
        """The account and what hangs on it; its mail stays on the disk."""
        with self._transaction():
            key = self._known_account(address)
            for table in ("app_passwords", "logins", "accounts"):
                self._rows(f"DELETE FROM {table} WHERE address = ?", (key,))  # noqa: S608

    def rename_account(self, address: str, to: str, *, home: str, mail: str) -> Account:
        """`home` and `mail`: where its mail is now, so that it stays there. Aliases that lead to it follow."""
        new = parse_address(to)
        with self._transaction():
            old = self._known_account(address)
            domain = self._known_domain(new.rpartition("@")[2])
            if self._rows("SELECT 1 FROM accounts WHERE address = ?", (new,)):
                raise Refused(f"the account {new} exists already")
            if self._stored_targets(new):
                raise Refused(f"{new} is an alias; remove it first (posthouse alias remove {new})")
            if old in self._stored_targets(old):
                raise Refused(
                    f"{old} is also an alias that keeps a copy; remove it first (posthouse alias remove {old})"
                )
            # A new row and not another key: what refers to it has to move as well, in any order a database allows.
            self._rows(
                "INSERT INTO accounts (address, domain, password, quota_octets, disabled, created, home, mail,"
                " app_passwords_only) SELECT ?, ?, password, quota_octets, disabled, created, ?, ?, app_passwords_only"
                " FROM accounts WHERE address = ?",
                (new, domain, home, mail, old),
            )
            for table in ("app_passwords", "logins"):
                self._rows(f"UPDATE {table} SET address = ? WHERE address = ?", (new, old))  # noqa: S608
            self._rows("UPDATE aliases SET target = ? WHERE target = ?", (new, old))
            self._rows("DELETE FROM accounts WHERE address = ?", (old,))
        found = self.account(new)
        assert found is not None
        return found

    def set_password(self, address: str, password: str, *, hashed: bool = False) -> None:
        stored = self._hasher.checked(password) if hashed else self._hasher.hash(password)
        self._update(address, "UPDATE accounts SET password = ? WHERE address = ?", stored)

    def set_quota(self, address: str, quota_octets: int) -> None:
        _check_quota(quota_octets)
        self._update(address, "UPDATE accounts SET quota_octets = ? WHERE address = ?", quota_octets)

    def set_disabled(self, address: str, disabled: bool) -> None:
        self._update(address, "UPDATE accounts SET disabled = ? WHERE address = ?", int(disabled))

    def set_place(self, address: str, *, home: str | None = None, mail: str | None = None) -> None:
        for column, value in (("home", home), ("mail", mail)):
            if value is not None:
                self._update(address, f"UPDATE accounts SET {column} = ? WHERE address = ?", value)  # noqa: S608

    def set_app_passwords_only(self, address: str, needed: bool) -> None:
        self._update(address, "UPDATE accounts SET app_passwords_only = ? WHERE address = ?", int(needed))

    def add_app_password(
        self, address: str, label: str, *, services: Sequence[str] = (), expires_s: int = 0
    ) -> tuple[AppPassword, str]:
        """What is stored, and the password, which nobody can be told again."""
        label = label.strip()
        if not label or len(label) > app_passwords.MAXIMAL_LABEL or re.search(r"[\x00-\x1f\x7f]", label):
            raise Refused(f"a label is one line of 1 to {app_passwords.MAXIMAL_LABEL} characters")
        try:
            scope = app_passwords.parse_services(list(services))
        except ValueError as error:
            raise Refused(str(error)) from error
        now_s = int(time.time())
        if expires_s and expires_s <= now_s:
            raise Refused("it would have expired already")
        password = app_passwords.generate()
        made = AppPassword(label, app_passwords.digest(password), scope, now_s, expires_s)
        with self._transaction():
            key = self._known_account(address)
            present = self._stored_labels(key)
            if label in present:
                raise Refused(f'{key} has an app password "{label}" already; remove it first, or choose another label')
            if len(present) >= app_passwords.MAXIMAL_PER_ACCOUNT:
                raise Refused(f"an account has at most {app_passwords.MAXIMAL_PER_ACCOUNT} app passwords")
            self._rows(
                "INSERT INTO app_passwords (address, label, digest, services, created, expires, last_used)"
                " VALUES (?, ?, ?, ?, ?, ?, 0)",
                (key, label, made.digest, " ".join(scope), now_s, expires_s),
            )
        return made, password

    def remove_app_password(self, address: str, label: str) -> None:
        with self._transaction():
            key = self._known_account(address)
            if label not in self._stored_labels(key):
                raise Refused(f'{key} has no app password "{label}"')
            self._rows("DELETE FROM app_passwords WHERE address = ? AND label = ?", (key, label))

    def _stored_labels(self, key: str) -> list[str]:
        return [str(row[0]) for row in self._rows("SELECT label FROM app_passwords WHERE address = ?", (key,))]

    def note_logins(self, logins: Iterable[Login]) -> None:
        """Many at once, and not worth a flush."""
        with self._transaction():
            for one in logins:
                if not self._rows("SELECT 1 FROM accounts WHERE address = ?", (one.address,)):
                    continue  # removed meanwhile
                key = (one.address, one.service)
                known = self._rows("SELECT last_login FROM logins WHERE address = ? AND service = ?", key)
                if known:
                    if int(known[0][0] or 0) < one.at_s:
                        statement = "UPDATE logins SET last_login = ? WHERE address = ? AND service = ?"
                        self._rows(statement, (one.at_s, *key))
                else:
                    statement = "INSERT INTO logins (address, service, last_login) VALUES (?, ?, ?)"
                    self._rows(statement, (*key, one.at_s))
                if one.label:
                    statement = "UPDATE app_passwords SET last_used = ? WHERE address = ? AND label = ?"
                    self._rows(statement, (one.at_s, one.address, one.label))

    def replace_hash(self, address: str, old: str, new: str) -> bool:
        """Only if it is still the old one: whoever has set another password meanwhile wins."""
        with self._transaction():
            key = self._known_account(address)
            if self._rows("SELECT password FROM accounts WHERE address = ?", (key,)) != [(old,)]:
                return False
            self._rows("UPDATE accounts SET password = ? WHERE address = ?", (new, key))
        return True

    def add_alias(self, address: str, targets: Sequence[str], *, may_take_all: bool = False) -> Alias:
        """Adds targets to the alias, which is made if it is new. With `may_take_all` it may be an account's address
        without being a target of its own: all mail goes on."""
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
            takes_all = not may_take_all and key not in merged and not present
            if takes_all and self._rows("SELECT 1 FROM accounts WHERE address = ?", (key,)):
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

    def set_alias(self, address: str, targets: Sequence[str], *, may_take_all: bool = False) -> Alias:
        """These targets and no others."""
        key = parse_alias(address)
        wanted = tuple(dict.fromkeys(parse_target(target) for target in targets))
        with self._transaction():
            present = self._stored_targets(key)
            if not present:
                raise Refused(f"there is no alias {key}; make it with: posthouse alias add {key} TARGET")
            if len(wanted) > MAXIMAL_TARGETS:
                raise Refused(f"an alias has at most {MAXIMAL_TARGETS} targets")
            if not may_take_all and key in present and key not in wanted:
                raise Refused(f"{key} is an account, and would get none of its mail; name {key} among the targets")
            self._rows("DELETE FROM aliases WHERE address = ?", (key,))
            self._store_targets(key, wanted)
        return Alias(key, wanted)

    def _store_targets(self, key: str, targets: Sequence[str]) -> None:
        for position, target in enumerate(targets):
            self._rows(
                "INSERT INTO aliases (address, domain, position, target) VALUES (?, ?, ?, ?)",
                (key, key.rpartition("@")[2], position, target),
            )

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
            self._store_targets(key, left)

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

    def _rows(self, statement: str, bindings: tuple[str | int, ...] = ()) -> Rows:
        return self._storage.rows(statement, bindings)

    @contextlib.contextmanager
    def one_transaction(self, *, keep: bool = True) -> Iterator[None]:
        """Many changes that become one; without `keep` none of them is left in the end."""
        with self._transaction():
            self._is_inside = True
            try:
                yield
            finally:
                self._is_inside = False
            if not keep:
                self._storage.rollback()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._is_inside:
            # Changes are refused before they write, so that nothing of a refused one is left.
            try:
                yield
            finally:
                self._forget()
            return
        self._storage.begin()
        try:
            yield
            self._storage.commit()
        except BaseException:
            self._storage.rollback()
            raise
        finally:
            self._forget()

    def _validate(self) -> None:
        """Drop what is remembered if another connection has written since."""
        version = self._storage.version()
        if version is None or version != self._version:
            self._forget()
            self._version = version

    def _forget(self) -> None:
        self._domains.clear()
        self._accounts.clear()
        self._aliases.clear()
        self._app_passwords.clear()

    def _remember(self, cache: dict[str, T], key: str, value: T) -> None:
        if self._cache_entries:
            if len(cache) >= self._cache_entries:
                # Full: begin anew, which costs one query per name in use.
                cache.clear()
            cache[key] = value


def _check_quota(quota_octets: int) -> None:
    if not 0 <= quota_octets <= MAXIMAL_QUOTA:
        raise Refused(f"a quota is a number of octets up to {MAXIMAL_QUOTA}; 0 means no limit")


def _account(row: tuple[Value, ...]) -> Account:
    address, password, quota, disabled, created, home, mail, needs_app_password, is_domain_disabled = row
    return Account(
        str(address),
        str(password),
        int(quota or 0),
        bool(disabled),
        int(created or 0),
        str(home or ""),
        str(mail or ""),
        bool(needs_app_password),
        bool(is_domain_disabled),
    )


def _app_password(row: tuple[Value, ...]) -> AppPassword:
    label, digest, services, created, expires, last_used = row
    return AppPassword(
        str(label),
        str(digest),
        tuple(str(services or "").split()),
        int(created or 0),
        int(expires or 0),
        int(last_used or 0),
    )
