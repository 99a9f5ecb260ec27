"""NAME
    posthouse domain - the domains of the embedded directory
SYNOPSIS
    posthouse [-c DIR] domain add NAME...
    posthouse [-c DIR] domain list [--json]
    posthouse [-c DIR] domain remove [--with-contents] NAME...
DESCRIPTION
    A domain must exist before accounts and aliases in it. The running system sees every change at once. A domain with
    accounts or aliases is removed only with --with-contents; the mail of its accounts stays on the disk.
DIAGNOSTICS
    Status 0 if all was done, 1 if it was refused, 75 if the directory could not be opened or written.
"""

import argparse
from collections.abc import Sequence

from posthouse.auth.directory import Directory
from posthouse.cli import accounts


def run(configuration_directory: str, arguments: Sequence[str]) -> int:
    return accounts.run(_parser(), configuration_directory, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("posthouse domain", description="The domains of the embedded directory.")
    commands = parser.add_subparsers(required=True, metavar="add | list | remove")
    command = commands.add_parser("add", help="host these domains")
    command.add_argument("names", metavar="NAME", nargs="+")
    command.set_defaults(act=_add)
    command = commands.add_parser("list", help="print the hosted domains")
    command.add_argument("--json", action="store_true")
    command.set_defaults(act=_list)
    command = commands.add_parser("remove", help="no longer host these domains")
    command.add_argument("--with-contents", action="store_true", help="together with their accounts and aliases")
    command.add_argument("names", metavar="NAME", nargs="+")
    command.set_defaults(act=_remove)
    return parser


def _add(directory: Directory, options: argparse.Namespace) -> None:
    for name in options.names:
        domain = directory.add_domain(name)
        if not directory.targets(f"postmaster@{domain}"):
            # RFC 5321 s4.5.1: every domain must take mail for postmaster.
            print(f'Nobody reads postmaster@{domain} yet: "posthouse alias add postmaster@{domain} ADDRESS"')


def _list(directory: Directory, options: argparse.Namespace) -> None:
    if options.json:
        accounts.print_json(directory.domains())
        return
    for name in directory.domains():
        print(name)


def _remove(directory: Directory, options: argparse.Namespace) -> None:
    for name in options.names:
        directory.remove_domain(name, with_contents=options.with_contents)


def main() -> None:
    accounts.run_alone(run)


if __name__ == "__main__":
    main()
