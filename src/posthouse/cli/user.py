"""NAME
    posthouse user - the accounts of the embedded directory
SYNOPSIS
    posthouse [-c DIR] user add [--quota SIZE] [--home DIR] [--mail LOCATION] [password options] ADDRESS
    posthouse [-c DIR] user list [--json] [DOMAIN]
    posthouse [-c DIR] user passwd [password options] ADDRESS
    posthouse [-c DIR] user quota ADDRESS SIZE
    posthouse [-c DIR] user disable | enable | remove ADDRESS...
DESCRIPTION
    The login name of an account is its address. The password comes from --password-file FILE, from standard input,
    or is asked for at the terminal; with --hashed it is a hash made elsewhere ("{SHA512-CRYPT}$6$..."). The running
    system sees every change at once.

    A disabled account cannot log in, but its mail goes on arriving. Removing an account leaves its mail on the disk.
    SIZE is in octets or with K, M, G or T; 0 or "none" is no limit.
DIAGNOSTICS
    Status 0 if all was done, 1 if it was refused, 75 if the directory could not be opened or written.
"""

import argparse
import time
from collections.abc import Sequence

from posthouse.auth.directory import Account, Directory
from posthouse.cli import accounts
from posthouse.config.parameter import BadValue, size


def run(configuration_directory: str, arguments: Sequence[str]) -> int:
    return accounts.run(_parser(), configuration_directory, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("posthouse user", description="The accounts of the embedded directory.")
    commands = parser.add_subparsers(required=True, metavar="add | list | passwd | quota | disable | enable | remove")
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
    command = commands.add_parser("passwd", help="set a new password")
    command.add_argument("address", metavar="ADDRESS")
    accounts.add_password_options(command)
    command.set_defaults(act=_passwd)
    command = commands.add_parser("quota", help="limit what an account keeps")
    command.add_argument("address", metavar="ADDRESS")
    command.add_argument("quota", metavar="SIZE", type=_quota)
    command.set_defaults(act=_set_quota)
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
    for what in (options.home, options.mail):
        if any(ord(character) < 32 for character in what):
            raise accounts.Unusable("a home or a mail location cannot have control characters")
    directory.add_account(
        options.address,
        options.password,
        quota_octets=options.quota,
        home=options.home,
        mail=options.mail,
        hashed=options.hashed,
    )


def _list(directory: Directory, options: argparse.Namespace) -> None:
    found = directory.accounts(options.domain)
    if options.json:
        accounts.print_json([_facts(account) for account in found])
    elif found:
        accounts.print_table(
            ("ADDRESS", "QUOTA", "STATE", "CREATED"),
            [
                (
                    account.address,
                    str(account.quota_octets) if account.quota_octets else "none",
                    "disabled" if account.is_disabled else "active",
                    _day(account),
                )
                for account in found
            ],
        )


def _facts(account: Account) -> dict[str, object]:
    """Everything but the password hash."""
    return {
        "address": account.address,
        "quota_octets": account.quota_octets,
        "disabled": account.is_disabled,
        "created": account.created_s,
        "home": account.home,
        "mail": account.mail,
    }


def _day(account: Account) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(account.created_s))


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
