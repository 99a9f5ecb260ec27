"""From "type:name" to an opened table, once per name: the only list of the map types we have."""

from collections.abc import Callable, Iterator
from typing import Final

from posthouse.tables.cidr import CidrTable, InlineCidrTable
from posthouse.tables.combined import PipeTable, RandomTable, UnionTable
from posthouse.tables.directory import Ask, DirectoryTable
from posthouse.tables.file import LinesFileTable
from posthouse.tables.literal import FailTable, InlineTable, StaticTable, split_list
from posthouse.tables.lmdb_file import LmdbTable
from posthouse.tables.pattern import InlinePatternTable, PatternTable, Translate, translate_pcre, translate_posix
from posthouse.tables.source import Warn, parse_aliases, parse_map
from posthouse.tables.table import BadTable, Table, TableError
from posthouse.tables.unix import UnixTable

DIRECTORY_CACHE_S: Final = 1.0

TYPES: Final = (
    "btree",
    "cidr",
    "directory",
    "fail",
    "hash",
    "inline",
    "lmdb",
    "pcre",
    "pipemap",
    "randmap",
    "regexp",
    "static",
    "texthash",
    "unionmap",
    "unix",
)
"""What `postconf -m` prints. "proxy:" before any of them is accepted and means nothing: all look-ups are made in the
tables process anyway."""


class BrokenTable(Table):
    """Stands for a table that could not be opened: every lookup is a temporary failure, as in Postfix."""

    def lookup(self, key: str) -> str | None:  # noqa: ARG002 - every key
        raise TableError(f"unsupported dictionary type or bad specification: {self.name}")


def split_name(name: str) -> tuple[str, str]:
    """Type and rest of "type:name", without "proxy:" and outer braces."""
    name = name.strip()
    if name.startswith("{") and name.endswith("}"):
        name = name[1:-1].strip()
    while name.startswith("proxy:"):
        name = name[6:]
    kind, colon, rest = name.partition(":")
    if not colon or not kind or not rest:
        raise BadTable(f'open dictionary: expecting "type:name" form instead of "{name}"')
    return kind, rest


def names_in(value: str) -> list[str]:
    """The tables of a *_maps parameter, in order."""
    return split_list(value)


class Tables:
    """Opens tables and keeps them: the same "type:name" in several parameters is one table.

    `alias_files` are the specifications in alias_maps and alias_database: their sources have another syntax.
    """

    def __init__(
        self,
        now: Callable[[], float],
        warn: Warn,
        ask_directory: Ask | None = None,
        alias_files: frozenset[str] = frozenset(),
        directory_cache_s: float = DIRECTORY_CACHE_S,
    ) -> None:
        self._now = now
        self._warn = warn
        self._ask_directory = ask_directory
        self._alias_files = alias_files
        self._directory_cache_s = directory_cache_s
        self._opened: dict[str, Table] = {}

    def open(self, name: str) -> Table:
        """The table; one that cannot be opened answers with TableError only, and the log says why, once."""
        table = self._opened.get(name)
        if table is None:
            try:
                table = self.make(name)
            except BadTable as error:
                self._warn(str(error))
                table = BrokenTable(name)
            self._opened[name] = table
        return table

    def open_all(self, value: str) -> list[Table]:
        return [self.open(name) for name in names_in(value)]

    def make(self, name: str) -> Table:
        kind, rest = split_name(name)
        inline = rest.startswith("{")
        name = f"{kind}:{rest}"
        match kind:
            case "texthash" | "hash" | "btree":
                return self._lines(name, kind, rest)
            case "lmdb":
                return LmdbTable(name, rest, self._now, self._warn)
            case "inline":
                return InlineTable(name, rest)
            case "static":
                return StaticTable(name, rest)
            case "fail":
                return FailTable(name, rest)
            case "regexp" | "pcre":
                translate: Translate = translate_posix if kind == "regexp" else translate_pcre
                if inline:
                    return InlinePatternTable(name, rest, self._warn, translate)
                return PatternTable(name, rest, self._now, self._warn, translate)
            case "cidr" if inline:
                return InlineCidrTable(name, rest, self._warn)
            case "cidr":
                return CidrTable(name, rest, self._now, self._warn)
            case "pipemap":
                return PipeTable(name, rest, self.open)
            case "unionmap":
                return UnionTable(name, rest, self.open)
            case "randmap":
                return RandomTable(name, rest)
            case "unix":
                return UnixTable(name, rest, self._now, self._warn)
            case "directory" if self._ask_directory is not None:
                return DirectoryTable(name, rest, self._ask_directory, self._now, self._directory_cache_s)
            case _:
                raise BadTable(f"unsupported dictionary type: {kind}")

    def _lines(self, name: str, kind: str, path: str) -> Table:
        parse = parse_aliases if name in self._alias_files else parse_map
        database = "" if kind == "texthash" else path + ".db"
        return LinesFileTable(name, path, self._now, self._warn, parse=parse, database=database)

    def __iter__(self) -> Iterator[Table]:
        return iter(self._opened.values())

    def close(self) -> None:
        for table in self._opened.values():
            table.close()
        self._opened.clear()
