"""NAME
    posthouse user - the accounts of the directory
SYNOPSIS
    posthouse [-c DIR] user add [--quota SIZE] [--home DIR] [--mail LOCATION] [password options] ADDRESS
    posthouse [-c DIR] user list [--json] [DOMAIN]
    posthouse [-c DIR] user show [--json] ADDRESS
    posthouse [-c DIR] user set [--quota SIZE] [--home DIR] [--mail LOCATION] [--app-passwords-only yes|no] ADDRESS
    posthouse [-c DIR] user passwd [password options] ADDRESS
    posthouse [-c DIR] user quota ADDRESS SIZE
    posthouse [-c DIR] user rename [--keep-alias] ADDRESS NEW-ADDRESS
    posthouse [-c DIR] user disable | enable | remove ADDRESS...
    posthouse [-c DIR] user rehash-report [--json]
DESCRIPTION
    The login name of an account is its address. The password comes from --password-file FILE, from standard input,
    or is asked for at the terminal; with --hashed it is a hash made elsewhere ("{SHA512-CRYPT}$6$..."). It is stored as
    Argon2id, or with --scheme as SCRAM-SHA-256 or the like, for clients that log in by such a mechanism. The running
    system sees every change at once.

    A disabled account cannot log in, but its mail goes on arriving. Removing an account leaves its mail on the disk.
    A renamed account keeps its mail where it is, its password, its app passwords and the aliases that lead to it; with
    --keep-alias mail for the old address still comes. SIZE is in octets or with K, M, G or T; 0 or "none" is no limit.
    --app-passwords-only bars the main password; see posthouse app-password.

    Last logins are those of the auth process, written every auth_last_login_interval. rehash-report counts the stored
    passwords by scheme; weak ones become Argon2id at the next login with auth_rehash_weak_passwords = yes.
DIAGNOSTICS
    Status 0 if all was done, 1 if it was refused, 75 if the directory could not be opened or written.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence

from posthouse.auth.directory import Account, Directory, Login, Refused
from posthouse.auth.schemes import is_weak, split
from posthouse.cli import accounts
from posthouse.config.parameter import BadValue, Settings, size
from posthouse.config.parameters.auth import AUTH_REHASH_WEAK_PASSWORDS, MAIL_HOME, MAIL_LOCATION
from posthouse.core.variables import user_values


def run(configuration_directory: str, arguments: Sequence[str]) -> int:
    return accounts.run(_parser(), configuration_directory, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("posthouse user", description="The accounts of the directory.")
    commands = parser.add_subparsers(
        required=True,
        metavar="add | list | show | set | passwd | quota | rename | disable | enable | remove | rehash-report",
    )
    command = commands.add_parser("add", help="make an account")
    command.add_argument("address", metavar="ADDRESS")
    command.add_argument("--quota", type=_quota, default=0, metavar="SIZE", help="how much mail it may keep")
    command.add_argument("--home", default="", metavar="DIR", help="instead of mail_home")
    command.add_argument("--mail", default="", metavar="LOCATION", help="instead of mail_location")
    accounts.add_password_options(command)
    command.set_defaults(act=_add)
    command = commands.add_parser("list", help="print the accounts")
    command.add_argument("domain", metavar="DOMAIN", nargs="?", default="")
    command.add_argument("--json", action="store_true")
    command.set_defaults(act=_list)
    command = commands.add_parser("show", help="print everything about an account but its password")
    command.add_argument("address", metavar="ADDRESS")
    command.add_argument("--json", action="store_true")
    command.set_defaults(act=_show)
    command = commands.add_parser("set", help="change an account")
    command.add_argument("address", metavar="ADDRESS")
    command.add_argument("--quota", type=_quota, metavar="SIZE", help="how much mail it may keep")
    command.add_argument("--home", metavar="DIR", help='instead of mail_home; "" for mail_home')
    command.add_argument("--mail", metavar="LOCATION", help='instead of mail_location; "" for mail_location')
    command.add_argument("--app-passwords-only", choices=("yes", "no"), help="is the main password barred?")
    command.set_defaults(act=_set)
    command = commands.add_parser("passwd", help="set a new password")
    command.add_argument("address", metavar="ADDRESS")
    accounts.add_password_options(command)
    command.set_defaults(act=_passwd)
    command = commands.add_parser("quota", help="limit what an account keeps")
    command.add_argument("address", metavar="ADDRESS")
    command.add_argument("quota", metavar="SIZE", type=_quota)
    command.set_defaults(act=_set_quota)
    command = commands.add_parser("rename", help="give an account another address; its mail stays where it is")
    command.add_argument("address", metavar="ADDRESS")
    command.add_argument("to", metavar="NEW-ADDRESS")
    command.add_argument("--keep-alias", action="store_true", help="mail for the old address goes to the new one")
    command.set_defaults(act=_rename)
    command = commands.add_parser("rehash-report", help="how many passwords have which scheme, and which are weak")
    command.add_argument("--json", action="store_true")
    command.set_defaults(act=_rehash_report)
    for name, act, words in (
        ("disable", _disable, "no more logins; mail goes on arriving"),
        ("enable", _enable, "logins again"),
        ("remove", _remove, "remove the account; its mail stays on the disk"),
    ):
        command = commands.add_parser(name, help=words)
        command.add_argument("addresses", metavar="ADDRESS", nargs="+")
        command.set_defaults(act=act)
    return parser


def _quota(text: str) -> int:
    if text.lower() == "none":
        return 0
    try:
        return size.parse(text)
    except BadValue as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add(directory: Directory, options: argparse.Namespace) -> None:
    _check_places(options)
    directory.add_account(
        options.address,
        options.password,
        quota_octets=options.quota,
        home=options.home,
        mail=options.mail,
        hashed=options.hashed,
    )


def _check_places(options: argparse.Namespace) -> None:
    for what in (options.home, options.mail):
        if any(ord(character) < 32 for character in what or ""):
            raise accounts.Unusable("a home or a mail location cannot have control characters")


def _list(directory: Directory, options: argparse.Namespace) -> None:
    found = directory.accounts(options.domain)
    last = _last_logins(directory.logins())
    if options.json:
        accounts.print_json([_facts(account, last.get(account.address, 0)) for account in found])
    elif found:
        accounts.print_table(
            ("ADDRESS", "QUOTA", "STATE", "CREATED", "LAST LOGIN"),
            [
                (
                    account.address,
                    str(account.quota_octets) if account.quota_octets else "none",
                    _state(account),
                    _day(account.created_s),
                    accounts.moment(last.get(account.address, 0)),
                )
                for account in found
            ],
        )


def _last_logins(logins: Sequence[Login]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in logins:
        found[one.address] = max(one.at_s, found.get(one.address, 0))
    return found


def _state(account: Account) -> str:
    if account.is_disabled:
        return "disabled"
    return "domain disabled" if account.is_domain_disabled else "active"


def _facts(account: Account, last_login_s: int) -> dict[str, object]:
    """Everything but the password hash."""
    return {
        "address": account.address,
        "quota_octets": account.quota_octets,
        "disabled": account.is_disabled,
        "domain_disabled": account.is_domain_disabled,
        "app_passwords_only": account.needs_app_password,
        "created": account.created_s,
        "last_login": last_login_s,
        "home": account.home,
        "mail": account.mail,
    }


def _day(at_s: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at_s))


def _known(directory: Directory, address: str) -> Account:
    account = directory.account(address)
    if account is None:
        raise Refused(f"there is no account {address}")
    return account


def _show(directory: Directory, options: argparse.Namespace) -> None:
    account = _known(directory, options.address)
    logins = directory.logins(account.address)
    passwords = directory.app_passwords(account.address)
    aliases = [alias.address for alias in directory.aliases() if account.address in alias.targets]
    if options.json:
        facts = _facts(account, _last_logins(logins).get(account.address, 0))
        facts["scheme"] = split(account.password, "")[0]
        facts["logins"] = {one.service: one.at_s for one in logins}
        facts["app_passwords"] = [accounts.app_password_facts(one) for one in passwords]
        facts["aliases"] = aliases
        accounts.print_json(facts)
        return
    dovecot = options.configuration.dovecot
    rows = [
        ("address", account.address),
        ("state", _state(account)),
        ("quota", str(account.quota_octets) if account.quota_octets else "none"),
        ("password", split(account.password, "")[0] + (" (barred)" if account.needs_app_password else "")),
        ("home", account.home or f"{dovecot[MAIL_HOME].fill(user_values(account.address, ''))} (mail_home)"),
        ("mail", account.mail or f"{_mail_of(account, dovecot)} (mail_location)"),
        ("created", accounts.moment(account.created_s)),
    ]
    rows += [("last login", f"{accounts.moment(one.at_s)} {one.service}") for one in logins] or [
        ("last login", "never")
    ]
    rows += [("app password", accounts.app_password_words(one)) for one in passwords]
    rows += [("alias", address) for address in aliases]
    for name, value in rows:
        print(f"{name:<13} {value}")


def _mail_of(account: Account, dovecot: Settings) -> str:
    """What the account's mail location is without one of its own."""
    values = user_values(account.address, "")
    values["home"] = account.home or dovecot[MAIL_HOME].fill(values)
    return dovecot[MAIL_LOCATION].fill(values)


def _set(directory: Directory, options: argparse.Namespace) -> None:
    _check_places(options)
    if (options.quota, options.home, options.mail, options.app_passwords_only) == (None, None, None, None):
        raise accounts.Unusable("nothing to set: --quota, --home, --mail or --app-passwords-only is expected")
    if options.app_passwords_only == "yes" and not directory.app_passwords(_known(directory, options.address).address):
        raise accounts.Unusable(
            f"{options.address} has no app password yet, and nothing would open the mailbox;"
            f" make one with: posthouse app-password add {options.address} LABEL"
        )
    if options.quota is not None:
        directory.set_quota(options.address, options.quota)
    directory.set_place(options.address, home=options.home, mail=options.mail)
    if options.app_passwords_only is not None:
        directory.set_app_passwords_only(options.address, options.app_passwords_only == "yes")


def _rename(directory: Directory, options: argparse.Namespace) -> None:
    account = _known(directory, options.address)
    dovecot = options.configuration.dovecot
    home = account.home or dovecot[MAIL_HOME].fill(user_values(account.address, ""))
    new = directory.rename_account(
        options.address, options.to, home=home, mail=account.mail or _mail_of(account, dovecot)
    )
    if options.keep_alias:
        directory.add_alias(account.address, [new.address])


def _rehash_report(directory: Directory, options: argparse.Namespace) -> None:
    found = Counter(split(account.password, "")[0] for account in directory.accounts())
    weak = Counter(split(one.password, "")[0] for one in directory.accounts() if is_weak(one.password, ""))
    if options.json:
        accounts.print_json({name: {"accounts": found[name], "weak": weak[name]} for name in sorted(found)})
        return
    accounts.print_table(
        ("SCHEME", "ACCOUNTS", "WEAK"), [(name, str(found[name]), str(weak[name])) for name in sorted(found)]
    )
    total, left = sum(found.values()), sum(weak.values())
    print(f"{left} of {total} passwords have a weak hash")
    if left and not options.configuration.main[AUTH_REHASH_WEAK_PASSWORDS]:
        print("auth_rehash_weak_passwords = yes in main.cf makes better ones at the next logins")


def _passwd(directory: Directory, options: argparse.Namespace) -> None:
    directory.set_password(options.address, options.password, hashed=options.hashed)


def _set_quota(directory: Directory, options: argparse.Namespace) -> None:
    directory.set_quota(options.address, options.quota)


def _disable(directory: Directory, options: argparse.Namespace) -> None:
    for address in options.addresses:
        directory.set_disabled(address, True)


def _enable(directory: Directory, options: argparse.Namespace) -> None:
    for address in options.addresses:
        directory.set_disabled(address, False)


def _remove(directory: Directory, options: argparse.Namespace) -> None:
    for address in options.addresses:
        directory.remove_account(address)


def main() -> None:
    accounts.run_alone(run)


if __name__ == "__main__":
    main()
