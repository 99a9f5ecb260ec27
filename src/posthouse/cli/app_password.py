"""NAME
    posthouse app-password - application passwords of accounts of the directory
SYNOPSIS
    posthouse [-c DIR] app-password add [--for SERVICE,...] [--expires DAYS|DATE] ADDRESS LABEL
    posthouse [-c DIR] app-password list [--json] ADDRESS
    posthouse [-c DIR] app-password remove ADDRESS LABEL...
DESCRIPTION
    One for each program or device, so that one of them can be shut out without changing the others. add makes the
    password and prints it, once: nobody can read it again. It is typed as printed, or without the dashes.

    --for names the services it is good for: imap, pop3, smtp (submission too), sieve; without it, all of them.
    --expires takes a number of days ("90d") or a date ("2030-12-31", until its end). The label says what it is for.
    The running system sees every change at once; a session that is open stays open.
DIAGNOSTICS
    Status 0 if all was done, 1 if it was refused, 75 if the directory could not be opened or written.
"""

import argparse
import datetime
import re
import time
from collections.abc import Sequence

from posthouse.auth.directory import Directory, Refused
from posthouse.cli import accounts


def run(configuration_directory: str, arguments: Sequence[str]) -> int:
    return accounts.run(_parser(), configuration_directory, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("posthouse app-password", description="Application passwords of accounts.")
    commands = parser.add_subparsers(required=True, metavar="add | list | remove")
    command = commands.add_parser("add", help="make a password and print it")
    command.add_argument("--for", dest="services", default="", metavar="SERVICE,...", help="imap, pop3, smtp, sieve")
    command.add_argument("--expires", type=_until, default=0, metavar="DAYS|DATE", help="90d, or 2030-12-31")
    command.add_argument("address", metavar="ADDRESS")
    command.add_argument("label", metavar="LABEL")
    command.set_defaults(act=_add)
    command = commands.add_parser("list", help="print the app passwords of an account, but not what they are")
    command.add_argument("--json", action="store_true")
    command.add_argument("address", metavar="ADDRESS")
    command.set_defaults(act=_list)
    command = commands.add_parser("remove", help="this password is no longer good")
    command.add_argument("address", metavar="ADDRESS")
    command.add_argument("labels", metavar="LABEL", nargs="+")
    command.set_defaults(act=_remove)
    return parser


def _until(text: str) -> int:
    if match := re.fullmatch(r"([0-9]{1,5})d", text):
        return int(time.time()) + int(match[1]) * 86400
    try:
        day = datetime.date.fromisoformat(text) + datetime.timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: a number of days (90d) or a date (2030-12-31) is expected"
        ) from error
    return int(time.mktime(day.timetuple()))


def _add(directory: Directory, options: argparse.Namespace) -> None:
    services = [name for name in re.split(r"[,\s]+", options.services) if name]
    _, password = directory.add_app_password(
        options.address, options.label, services=services, expires_s=options.expires
    )
    print(password)


def _list(directory: Directory, options: argparse.Namespace) -> None:
    account = directory.account(options.address)
    if account is None:
        raise Refused(f"there is no account {options.address}")
    found = directory.app_passwords(account.address)
    if options.json:
        accounts.print_json([accounts.app_password_facts(one) for one in found])
    elif found:
        accounts.print_table(
            ("LABEL", "FOR", "CREATED", "EXPIRES", "LAST USED"),
            [
                (
                    one.label,
                    ",".join(one.services) or "everything",
                    accounts.moment(one.created_s),
                    accounts.moment(one.expires_s),
                    accounts.moment(one.last_used_s),
                )
                for one in found
            ],
        )


def _remove(directory: Directory, options: argparse.Namespace) -> None:
    for label in options.labels:
        directory.remove_app_password(options.address, label)


def main() -> None:
    accounts.run_alone(run)


if __name__ == "__main__":
    main()
