"""Taking a harvest over into the directory: what is there already stays, unless it is to be updated."""

import contextlib

import msgspec

from posthouse.auth.directory import MAXIMAL_TARGETS, Account, Directory, Refused
from posthouse.auth.imports.harvest import FoundAccount, FoundAlias, Harvest, Skipped
from posthouse.auth.names import BadName, fold_address, parse_address, parse_alias, parse_domain, parse_target
from posthouse.auth.schemes import UnusablePassword


class Counts(msgspec.Struct):
    taken: int = 0
    changed: int = 0
    present: int = 0


class Summary(msgspec.Struct):
    domains: Counts
    accounts: Counts
    aliases: Counts
    skipped: list[Skipped]
    notes: list[str]


def take(directory: Directory, harvest: Harvest, *, updates: bool, is_dry: bool) -> Summary:
    """All of it in one transaction, which a dry run takes back in the end: its summary is what would happen."""
    summary = Summary(Counts(), Counts(), Counts(), list(harvest.skipped), list(harvest.notes))
    with directory.one_transaction(keep=not is_dry):
        _domains(directory, harvest, summary, updates)
        for account in harvest.accounts:
            try:
                _account(directory, account, summary, updates)
            except (Refused, BadName, UnusablePassword) as error:
                summary.skipped.append(Skipped(account.address, str(error)))
        for alias in harvest.aliases:
            try:
                _alias(directory, alias, summary, updates)
            except (Refused, BadName) as error:
                summary.skipped.append(Skipped(alias.address, str(error)))
    return summary


def _domains(directory: Directory, harvest: Harvest, summary: Summary, updates: bool) -> None:
    disabled = {one.name: one.is_disabled for one in directory.domain_facts()}
    wanted: dict[str, bool | None] = {}
    for one in harvest.domains:
        try:
            wanted[parse_domain(one.name)] = one.is_disabled
        except BadName as error:
            summary.skipped.append(Skipped(one.name, str(error)))
    for account in harvest.accounts:
        # Sources that know no domains of their own say nothing about their state.
        with contextlib.suppress(BadName):
            wanted.setdefault(parse_address(account.address).rpartition("@")[2], None)
    for name, is_disabled in wanted.items():
        if name not in disabled:
            directory.add_domain(name)
            directory.set_domain_disabled(name, bool(is_disabled))
            summary.domains.taken += 1
        elif is_disabled not in (None, disabled[name]) and updates:
            directory.set_domain_disabled(name, bool(is_disabled))
            summary.domains.changed += 1
        else:
            summary.domains.present += 1


def _account(directory: Directory, found: FoundAccount, summary: Summary, updates: bool) -> None:
    if any(ord(character) < 32 for character in found.home + found.mail):
        raise Refused("a home or a mail location cannot have control characters")
    known = directory.account(found.address)
    if known is None:
        directory.add_account(
            found.address,
            found.password,
            quota_octets=found.quota_octets,
            home=found.home,
            mail=found.mail,
            hashed=True,
        )
        if found.is_disabled:
            directory.set_disabled(found.address, True)
        summary.accounts.taken += 1
        return
    differs = _differences(known, found)
    if not differs:
        summary.accounts.present += 1
    elif not updates:
        raise Refused(f"it is here already with another {differs[0]}; --update takes the new one")
    else:
        if "password" in differs:
            directory.set_password(found.address, found.password, hashed=True)
        directory.set_quota(found.address, found.quota_octets)
        directory.set_disabled(found.address, found.is_disabled)
        directory.set_place(found.address, home=found.home, mail=found.mail)
        summary.accounts.changed += 1


def _differences(known: Account, found: FoundAccount) -> list[str]:
    pairs = (
        ("password", known.password, found.password),
        ("quota", known.quota_octets, found.quota_octets),
        ("state", known.is_disabled, found.is_disabled),
        ("home", known.home, found.home),
        ("mail location", known.mail, found.mail),
    )
    return [name for name, ours, theirs in pairs if ours != theirs]


def _alias(directory: Directory, found: FoundAlias, summary: Summary, updates: bool) -> None:
    address = parse_alias(found.address)
    wanted: list[str] = []
    for target in found.targets:
        try:
            wanted.append(parse_target(target))
        except BadName as error:
            summary.skipped.append(Skipped(f"{found.address} -> {target}", str(error)))
    # In the spelling of the account, so that it is known for what it is.
    wanted = [address if fold_address(one) == address else one for one in dict.fromkeys(wanted)]
    if not wanted:
        raise Refused("none of its targets is an address")
    if len(wanted) > MAXIMAL_TARGETS:
        raise Refused(f"an alias has at most {MAXIMAL_TARGETS} targets")
    known = directory.alias_targets(address)
    if set(known) == set(wanted):
        summary.aliases.present += 1
    elif known and not updates:
        raise Refused(f"it is here already and leads to {', '.join(known)}; --update takes the new targets")
    else:
        if known:
            directory.set_alias(address, wanted, may_take_all=True)
        else:
            directory.add_alias(address, wanted, may_take_all=True)
        if known:
            summary.aliases.changed += 1
        else:
            summary.aliases.taken += 1
