"""NAME
    posthouse domain - the domains of the directory
SYNOPSIS
    posthouse [-c DIR] domain add NAME...
    posthouse [-c DIR] domain list [--json]
    posthouse [-c DIR] domain show [--json] NAME
    posthouse [-c DIR] domain disable | enable NAME...
    posthouse [-c DIR] domain remove [--with-contents] NAME...
DESCRIPTION
    A domain must exist before accounts and aliases in it. The running system sees every change at once. A domain with
    accounts or aliases is removed only with --with-contents; the mail of its accounts stays on the disk. While a domain
    is disabled nobody of it can log in, but mail goes on arriving.
DIAGNOSTICS
    Status 0 if all was done, 1 if it was refused, 75 if the directory could not be opened or written.
"""

import argparse
from collections.abc import Sequence

from posthouse.auth.directory import Directory, Refused
from posthouse.auth.names import fold_domain
from posthouse.cli import accounts


def run(configuration_directory: str, arguments: Sequence[str]) -> int:
    return accounts.run(_parser(), configuration_directory, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("posthouse domain", description="The domains of the directory.")
    commands = parser.add_subparsers(required=True, metavar="add | list | show | disable | enable | remove")
    command = commands.add_parser("add", help="host these domains")
    command.add_argument("names", metavar="NAME", nargs="+")
    command.set_defaults(act=_add)
    command = commands.add_parser("list", help="print the hosted domains")
    command.add_argument("--json", action="store_true")
    command.set_defaults(act=_list)
    command = commands.add_parser("show", help="print what is in a domain")
    command.add_argument("--json", action="store_true")
    command.add_argument("name", metavar="NAME")
    command.set_defaults(act=_show)
    for name, act, words in (
        ("disable", _disable, "nobody of it logs in any more; mail goes on arriving"),
        ("enable", _enable, "logins again"),
    ):
        command = commands.add_parser(name, help=words)
        command.add_argument("names", metavar="NAME", nargs="+")
        command.set_defaults(act=act)
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
    for one in directory.domain_facts():
        print(f"{one.name}  (disabled)" if one.is_disabled else one.name)


def _show(directory: Directory, options: argparse.Namespace) -> None:
    name = fold_domain(options.name)
    found = next((one for one in directory.domain_facts() if one.name == name), None)
    if found is None:
        raise Refused(f"there is no domain {options.name}")
    contents = {"accounts": len(directory.accounts(name)), "aliases": len(directory.aliases(name))}
    if options.json:
        facts = {"name": name, "disabled": found.is_disabled, "created": found.created_s}
        accounts.print_json({**facts, **contents})
        return
    for what, value in (
        ("name", name),
        ("state", "disabled" if found.is_disabled else "active"),
        ("created", accounts.moment(found.created_s)),
        *contents.items(),
    ):
        print(f"{what:<9} {value}")


def _disable(directory: Directory, options: argparse.Namespace) -> None:
    for name in options.names:
        directory.set_domain_disabled(name, True)


def _enable(directory: Directory, options: argparse.Namespace) -> None:
    for name in options.names:
        directory.set_domain_disabled(name, False)


def _remove(directory: Directory, options: argparse.Namespace) -> None:
    for name in options.names:
        directory.remove_domain(name, with_contents=options.with_contents)


def main() -> None:
    accounts.run_alone(run)


if __name__ == "__main__":
    main()
