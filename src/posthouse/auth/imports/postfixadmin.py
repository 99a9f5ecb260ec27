"""PostfixAdmin's tables: domain, mailbox, alias and alias_domain.

Its passwords are crypt's ($1$ … $6$), have a scheme in front ({SHA512-CRYPT} …) or are of the one scheme it was
configured with. Sizes are in octets, truth values are numbers (MySQL, SQLite) or booleans (PostgreSQL).
"""

import re
from collections.abc import Sequence
from typing import Final

from posthouse.auth.databases.sql import Row
from posthouse.auth.imports.database import SourceDatabase
from posthouse.auth.imports.harvest import FoundAccount, FoundAlias, FoundDomain, Harvest, Skipped, Unreadable, account

SUPER_DOMAIN: Final = "ALL"
"""Not a domain: what its super administrators are for."""


def read(database: SourceDatabase, *, default_scheme: str, mail_base: str) -> Harvest:
    """`mail_base`: where the column maildir begins; "" leaves the places of mail to mail_home and mail_location. Raises
    Unreadable."""
    found = Harvest()
    hosted = _domains(database.rows("SELECT * FROM domain ORDER BY domain"), found)
    _mailboxes(database.rows("SELECT * FROM mailbox ORDER BY username"), found, hosted, default_scheme, mail_base)
    _aliases(database.rows("SELECT * FROM alias ORDER BY address"), found, hosted)
    try:
        rows = database.rows("SELECT * FROM alias_domain ORDER BY alias_domain")
    except Unreadable as error:
        found.notes.append(f"no domain aliases were read ({error})")
    else:
        _alias_domains(rows, found, hosted)
    return found


def _is_true(row: Row, column: str, default: bool) -> bool:
    value = row.get(column)
    return default if value is None else value.lower() in ("1", "t", "true", "y", "yes")


def _text(row: Row, column: str) -> str:
    return (row.get(column) or "").strip()


def _number(row: Row, column: str) -> int:
    value = _text(row, column)
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else 0


def _domains(rows: Sequence[Row], found: Harvest) -> set[str]:
    for row in rows:
        name = _text(row, "domain").lower()
        if not name or name == SUPER_DOMAIN.lower():
            continue
        if _is_true(row, "backupmx", False):
            found.skipped.append(Skipped(name, "this server is its backup only (backupmx); put it into relay_domains"))
            continue
        is_active = _is_true(row, "active", True)
        found.domains.append(FoundDomain(name, not is_active))
        if not is_active:
            found.notes.append(f"{name} is not active: nobody of it can log in, but its mail is accepted here")
    return {one.name for one in found.domains}


def _domain_of(address: str) -> str:
    return address.rpartition("@")[2].lower()


def _mailboxes(rows: Sequence[Row], found: Harvest, hosted: set[str], default_scheme: str, mail_base: str) -> None:
    inactive = 0
    for row in rows:
        address = _text(row, "username")
        if _domain_of(address) not in hosted:
            found.skipped.append(Skipped(address or "a mailbox without a name", "its domain is not taken"))
            continue
        maildir = _text(row, "maildir").strip("/")
        if ".." in maildir.split("/"):
            found.skipped.append(Skipped(address, f"maildir {maildir!r} leaves its directory"))
            continue
        mail = f"maildir:{mail_base.rstrip('/')}/{maildir}" if mail_base and maildir else ""
        quota = _number(row, "quota")
        is_active = _is_true(row, "active", True)
        inactive += not is_active
        one = account(
            address,
            _text(row, "password"),
            default_scheme,
            {"nologin": "no" if is_active else "yes"},
            {"mail": mail, **({"quota_rule": f"*:bytes={quota}"} if quota else {})},
        )
        if isinstance(one, FoundAccount):
            found.accounts.append(one)
        else:
            found.skipped.append(one)
    if inactive:
        found.notes.append(f"{inactive} mailboxes are not active: no logins, but their mail is accepted here")


def _aliases(rows: Sequence[Row], found: Harvest, hosted: set[str]) -> None:
    vacations = 0
    for row in rows:
        address = _text(row, "address")
        if _domain_of(address) not in hosted:
            found.skipped.append(Skipped(address or "an alias without a name", "its domain is not taken"))
            continue
        targets = [one.strip() for one in re.split(r"[,\r\n]+", _text(row, "goto")) if one.strip()]
        # Automatic answers go through an address made of the mailbox's: ann#example.org@autoreply.example.org.
        kept = [one for one in targets if one.rpartition("@")[0].replace("#", "@").lower() != address.lower()]
        vacations += len(targets) - len(kept)
        if [one.lower() for one in kept] == [address.lower()]:
            # Every mailbox has such a row, which is not active if the mailbox is not; here an account needs none.
            continue
        if not _is_true(row, "active", True):
            found.skipped.append(Skipped(address, "an alias that is not active"))
            continue
        if not kept:
            found.skipped.append(Skipped(address, "an alias that leads nowhere"))
            continue
        found.aliases.append(FoundAlias(address, tuple(kept)))
    if vacations:
        found.notes.append(f"{vacations} vacation messages were not taken")


def _alias_domains(rows: Sequence[Row], found: Harvest, hosted: set[str]) -> None:
    for row in rows:
        name, target = _text(row, "alias_domain").lower(), _text(row, "target_domain").lower()
        if not _is_true(row, "active", True) or name not in hosted or target not in hosted:
            found.skipped.append(
                Skipped(f"{name} (all of it leads to {target})", "not active, or a domain is not taken")
            )
            continue
        addresses = [one.address for one in found.accounts] + [one.address for one in found.aliases]
        inside = [address for address in addresses if _domain_of(address) == target]
        known = {address.lower() for address in addresses}
        for address in dict.fromkeys(inside):
            local_part = address.rpartition("@")[0]
            alias = f"{local_part}@{name}"
            if alias.lower() in known:
                continue
            if local_part:
                found.aliases.append(FoundAlias(alias, (address,)))
            else:
                everything = next(one for one in found.aliases if one.address == address)
                found.aliases.append(FoundAlias(alias, everything.targets))
        found.notes.append(
            f"{name} leads to {target}: {len(inside)} aliases, one for each address; new ones need their own"
        )
