"""NAME
    postmap - build and ask lookup tables
SYNOPSIS
    postmap [-c DIR] [-fnNopruvwF] [TYPE:]FILE...
    postmap [-c DIR] -q KEY [TYPE:]FILE...
    postmap [-c DIR] -s [TYPE:]FILE...
DESCRIPTION
    Without -q and -s: makes the database of each table from its text file. lmdb: tables get a new FILE.lmdb in
    Postfix's format, in one step; tables that are read from their text (hash, btree, texthash) and tables of patterns
    are only checked, because nothing needs building. Without a type, default_database_type counts.

    -q prints the value of a key and ends with status 1 if no table has it; -q - reads keys from standard input and
    prints "key<TAB>value" lines. -s prints all entries of a table with literal keys. Keys are always folded to lower
    case. The other letters of Postfix's command are accepted and change nothing: a table is always made anew as a
    whole.
DIAGNOSTICS
    Lines that do not parse are named on standard error and left out.
SEE ALSO
    postalias(1), postconf(1), lmdb_table(5)
"""

import getopt
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from posthouse.config.loading import default_directory, load
from posthouse.config.parameter import Settings
from posthouse.config.parameters.tables import DEFAULT_DATABASE_TYPE
from posthouse.tables.file import FileTable, LinesFileTable, read_source
from posthouse.tables.lmdb_file import LmdbTable, write_lmdb
from posthouse.tables.opening import BrokenTable, Tables, names_in, split_name
from posthouse.tables.source import Warn, parse_aliases, parse_map
from posthouse.tables.table import BadTable, Table, TableError

USAGE_STATUS: Final = 64
_OPTIONS: Final = "c:d:fFhinNopq:rsuvw"

Parse = Callable[[str, str, Warn], dict[str, str]]


@dataclass(slots=True)
class Options:
    directory: str = ""
    query: str | None = None
    dump: bool = False
    tables: list[str] = field(default_factory=list)


class Fatal(Exception):
    """Printed as "postmap: fatal: …", status 1."""


def main(arguments: Sequence[str] | None = None, program: str = "postmap", parse: Parse = parse_map) -> int:
    try:
        options = parse_options(sys.argv[1:] if arguments is None else arguments)
    except (getopt.GetoptError, Fatal) as error:
        print(f"{program}: fatal: {error}", file=sys.stderr)
        return USAGE_STATUS
    try:
        return run(options, program, parse)
    except (Fatal, OSError) as error:
        print(f"{program}: fatal: {error}", file=sys.stderr)
        return 1


def parse_options(arguments: Sequence[str]) -> Options:
    pairs, names = getopt.gnu_getopt(list(arguments), _OPTIONS)
    options = Options(tables=names)
    for letter, value in pairs:
        if letter == "-c":
            options.directory = value
        elif letter == "-q":
            options.query = value
        elif letter == "-s":
            options.dump = True
        elif letter in ("-d", "-i"):
            raise Fatal(f"{letter} is not supported: change the text and make the table anew")
    if not names:
        raise Fatal("usage: [-c DIR] [-q KEY | -s] [TYPE:]FILE...")
    return options


def run(options: Options, program: str, parse: Parse) -> int:
    settings = load(options.directory or default_directory()).main
    complaints: list[str] = []

    def warn(words: str) -> None:
        if words not in complaints:
            complaints.append(words)
            print(f"{program}: warning: {words}", file=sys.stderr)

    names = [with_type(name, settings) for name in options.tables]
    aliases = {name for parameter in ("alias_maps", "alias_database") for name in names_in(settings.text(parameter))}
    if parse is parse_aliases:
        aliases.update(names)
    tables = Tables(time.monotonic, warn, None, frozenset(aliases))
    if options.query is not None:
        return ask(tables, names, options.query)
    for name in names:
        if options.dump:
            dump(tables.open(name))
        else:
            build(tables, name, parse, warn)
    return 0


def with_type(name: str, settings: Settings) -> str:
    return name if ":" in name else f"{settings[DEFAULT_DATABASE_TYPE]}:{name}"


def ask(tables: Tables, names: Sequence[str], query: str) -> int:
    opened = [tables.open(name) for name in names]
    keys = (line.rstrip("\n") for line in sys.stdin) if query == "-" else iter((query,))
    found = False
    for key in keys:
        for table in opened:
            try:
                value = table.lookup(key)
            except TableError as error:
                raise Fatal(f"table {table.name}: query error: {error}") from error
            if value is not None:
                found = True
                print(f"{key}\t{value}" if query == "-" else value)
                break
    return 0 if found else 1


def dump(table: Table) -> None:
    if isinstance(table, LinesFileTable):
        entries = table.content()
    elif isinstance(table, LmdbTable):
        entries = dict(table.entries())
    else:
        raise Fatal(f"{table.name}: a table of this type cannot be listed")
    for key, value in entries.items():
        print(f"{key}\t{value}")


def build(tables: Tables, name: str, parse: Parse, warn: Warn) -> None:
    try:
        kind, path = split_name(name)
    except BadTable as error:
        raise Fatal(str(error)) from error
    if kind == "lmdb":
        write_lmdb(path + ".lmdb", parse(read_source(path), path, warn).items())
        return
    table = tables.open(name)
    if isinstance(table, BrokenTable) or not isinstance(table, FileTable):
        raise Fatal(f"unsupported dictionary type: {kind}")
    try:
        table.content()
    except TableError as error:
        raise Fatal(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
