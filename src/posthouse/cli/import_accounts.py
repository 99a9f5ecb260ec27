"""NAME
    posthouse import - take over accounts from elsewhere into the directory
SYNOPSIS
    posthouse [-c DIR] import passwd-file [-n] [--update] [--json] [--scheme SCHEME] [--domain NAME] FILE
    posthouse [-c DIR] import postfixadmin [-n] [--update] [--json] [--scheme SCHEME] [--mail-base DIR]
        [--password-file FILE] SOURCE
    posthouse [-c DIR] import dovecot-sql [-n] [--update] [--json] QUERY-FILE
DESCRIPTION
    Reads the users of another system, with the hashes of their passwords as they are, and makes accounts, domains and
    aliases of them. What is in the directory already stays as it is; with --update it becomes what the source says.
    Running it again changes nothing. -n changes nothing at all and prints what would happen.

    passwd-file takes Dovecot's format: hashes without a {SCHEME} are of --scheme (CRYPT), names without a domain are
    in --domain; quota_rule, home, mail and nologin are kept.

    postfixadmin takes PostfixAdmin's tables (domain, mailbox, alias, alias_domain). SOURCE is one of Dovecot's query
    files, of which driver and connect count, or a URL: mysql://user@host/database, postgresql://…, sqlite:///PATH; a
    socket is written as mysql://user@/database?host=/run/mysqld/mysqld.sock. The password is read from --password-file,
    because everybody on the machine can read a command's arguments. With --mail-base the column maildir says where each
    mailbox is, below that directory; otherwise mail_home and mail_location do.

    dovecot-sql takes the users of a query file: iterate_query lists them, password_query and user_query describe them.

    An account whose password is usable only under conditions that the directory does not have (allow_nets, proxy) is
    skipped.
DIAGNOSTICS
    Every account and alias that was skipped is named with the reason. Status 0 if all is in the directory now, 1 if
    something was skipped or refused, 75 if the directory could not be opened or written.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from posthouse.auth.database_url import is_url
from posthouse.auth.directory import Directory
from posthouse.auth.imports import dovecot_sql, passwd_file, postfixadmin
from posthouse.auth.imports.database import opened, query_file, settings_of_url
from posthouse.auth.imports.harvest import Unreadable
from posthouse.auth.imports.taking import Counts, Summary, take
from posthouse.cli import accounts


def run(configuration_directory: str, arguments: Sequence[str]) -> int:
    return accounts.run(_parser(), configuration_directory, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("posthouse import", description="Take over accounts from elsewhere.")
    commands = parser.add_subparsers(required=True, metavar="passwd-file | postfixadmin | dovecot-sql")
    file = commands.add_parser("passwd-file", help="Dovecot's passwd-file")
    file.add_argument("--scheme", default="CRYPT", metavar="SCHEME", help="of hashes without a {SCHEME}")
    file.add_argument("--domain", default="", metavar="NAME", help="of names without one")
    file.add_argument("source", metavar="FILE")
    file.set_defaults(prepare=_read_passwd_file)
    admin = commands.add_parser("postfixadmin", help="PostfixAdmin's database")
    admin.add_argument("--scheme", default="CRYPT", metavar="SCHEME", help="of hashes without a {SCHEME}")
    admin.add_argument("--mail-base", default="", metavar="DIR", help="where the column maildir begins")
    admin.add_argument("--password-file", metavar="FILE", help="the database's password, in the first line")
    admin.add_argument("source", metavar="QUERY-FILE|URL")
    admin.set_defaults(prepare=_read_postfixadmin)
    dovecot = commands.add_parser("dovecot-sql", help="the users of one of Dovecot's query files")
    dovecot.add_argument("source", metavar="QUERY-FILE")
    dovecot.set_defaults(prepare=_read_dovecot_sql)
    for command in (file, admin, dovecot):
        command.add_argument("-n", "--dry-run", action="store_true", help="change nothing, print what would happen")
        command.add_argument("--update", action="store_true", help="change what is in the directory already")
        command.add_argument("--json", action="store_true")
        command.set_defaults(act=_take)
    return parser


# The sources are read before root is given up: they may belong to root alone.


def _read_passwd_file(options: argparse.Namespace) -> None:
    options.harvest = passwd_file.read(_octets(options.source), default_scheme=options.scheme, domain=options.domain)


def _read_postfixadmin(options: argparse.Namespace) -> None:
    try:
        if is_url(options.source):
            password = ""
            if options.password_file:
                password = _text(options.password_file).partition("\n")[0].removesuffix("\r")
            settings, where = settings_of_url(options.source, password), "the database"
        else:
            settings, where = query_file(_text(options.source), options.source), options.source
        if options.mail_base and not options.mail_base.startswith("/"):
            raise accounts.Unusable("--mail-base: a path from the root is expected")
        with opened(settings, where) as database:
            options.harvest = postfixadmin.read(database, default_scheme=options.scheme, mail_base=options.mail_base)
    except Unreadable as error:
        raise accounts.Unusable(str(error)) from error


def _read_dovecot_sql(options: argparse.Namespace) -> None:
    try:
        settings = query_file(_text(options.source), options.source)
        with opened(settings, options.source) as database:
            options.harvest = dovecot_sql.read(database, settings)
    except Unreadable as error:
        raise accounts.Unusable(str(error)) from error


def _octets(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise accounts.Unusable(f"cannot read {path}: {error.strerror}") from error


def _text(path: str) -> str:
    try:
        return _octets(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise accounts.Unusable(f"{path} is not UTF-8") from error


def _take(directory: Directory, options: argparse.Namespace) -> int:
    summary = take(directory, options.harvest, updates=options.update, is_dry=options.dry_run)
    if options.json:
        accounts.print_json(msgspec.to_builtins(summary))
    else:
        _print(summary, is_dry=options.dry_run)
    return 1 if summary.skipped else 0


def _print(summary: Summary, *, is_dry: bool) -> None:
    for what, counts in (
        ("domains", summary.domains),
        ("accounts", summary.accounts),
        ("aliases", summary.aliases),
    ):
        print(f"{what + ':':<10}{_words(counts, is_dry=is_dry)}")
    for note in summary.notes:
        print(f"note: {note}")
    for one in summary.skipped:
        print(f"skipped: {one.what}: {one.why}")


def _words(counts: Counts, *, is_dry: bool) -> str:
    would = "would be " if is_dry else ""
    return f"{counts.taken} {would}taken, {counts.changed} {would}changed, {counts.present} already there"


def main() -> None:
    accounts.run_alone(run)


if __name__ == "__main__":
    main()
