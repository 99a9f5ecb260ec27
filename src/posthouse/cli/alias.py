"""NAME
    posthouse alias - the aliases of the directory
SYNOPSIS
    posthouse [-c DIR] alias add ADDRESS TARGET...
    posthouse [-c DIR] alias set ADDRESS TARGET...
    posthouse [-c DIR] alias list [--json] [DOMAIN]
    posthouse [-c DIR] alias show [--json] ADDRESS
    posthouse [-c DIR] alias remove ADDRESS [TARGET...]
DESCRIPTION
    Mail for ADDRESS goes to every TARGET, here or elsewhere, instead. add adds targets to an alias that exists, set
    replaces them; remove with targets removes only these. "@domain" as ADDRESS is a catch-all: it takes mail for every
    address of the domain that is neither an account nor an alias. The running system sees every change at once.
DIAGNOSTICS
    Status 0 if all was done, 1 if it was refused, 75 if the directory could not be opened or written.
"""

import argparse
from collections.abc import Sequence

from posthouse.auth.directory import Directory, Refused
from posthouse.cli import accounts


def run(configuration_directory: str, arguments: Sequence[str]) -> int:
    return accounts.run(_parser(), configuration_directory, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("posthouse alias", description="The aliases of the directory.")
    commands = parser.add_subparsers(required=True, metavar="add | set | list | show | remove")
    command = commands.add_parser("add", help="send mail for ADDRESS (or @domain) to these targets")
    command.add_argument("address", metavar="ADDRESS")
    command.add_argument("targets", metavar="TARGET", nargs="+")
    command.set_defaults(act=_add)
    command = commands.add_parser("set", help="send it to these targets and no others")
    command.add_argument("address", metavar="ADDRESS")
    command.add_argument("targets", metavar="TARGET", nargs="+")
    command.set_defaults(act=_set)
    command = commands.add_parser("show", help="print where one alias leads")
    command.add_argument("address", metavar="ADDRESS")
    command.add_argument("--json", action="store_true")
    command.set_defaults(act=_show)
    command = commands.add_parser("list", help="print the aliases")
    command.add_argument("domain", metavar="DOMAIN", nargs="?", default="")
    command.add_argument("--json", action="store_true")
    command.set_defaults(act=_list)
    command = commands.add_parser("remove", help="remove an alias, or some of its targets")
    command.add_argument("address", metavar="ADDRESS")
    command.add_argument("targets", metavar="TARGET", nargs="*")
    command.set_defaults(act=_remove)
    return parser


def _add(directory: Directory, options: argparse.Namespace) -> None:
    directory.add_alias(options.address, options.targets)


def _set(directory: Directory, options: argparse.Namespace) -> None:
    directory.set_alias(options.address, options.targets)


def _show(directory: Directory, options: argparse.Namespace) -> None:
    targets = directory.alias_targets(options.address)
    if not targets:
        raise Refused(f"there is no alias {options.address}")
    if options.json:
        accounts.print_json(list(targets))
        return
    for target in targets:
        print(target)


def _list(directory: Directory, options: argparse.Namespace) -> None:
    found = directory.aliases(options.domain)
    if options.json:
        accounts.print_json([{"address": alias.address, "targets": list(alias.targets)} for alias in found])
    elif found:
        accounts.print_table(("ADDRESS", "TARGETS"), [(alias.address, ", ".join(alias.targets)) for alias in found])


def _remove(directory: Directory, options: argparse.Namespace) -> None:
    directory.remove_alias(options.address, options.targets)


def main() -> None:
    accounts.run_alone(run)


if __name__ == "__main__":
    main()
