"""Lists such as mydestination, relay_domains and mynetworks: names, networks, files and tables in one value; the first
entry that matches decides, "!" before it turns its answer round.

An entry is "!entry", "/file" (a list itself, read when the list is made), "type:table", or a pattern. How a pattern
matches depends on the list: equal text, a domain (with parents), or a network.
"""

import enum
from collections.abc import Callable, Iterable
from typing import Final

from posthouse.tables.cidr import Network, contains, parse_address, parse_network
from posthouse.tables.domains import domain_key
from posthouse.tables.file import read_source
from posthouse.tables.literal import split_list
from posthouse.tables.source import logical_lines
from posthouse.tables.table import BadTable, Table, TableError

MAXIMAL_DEPTH: Final = 8
"""Files that name files; deeper is a circle."""


class Style(enum.Enum):
    """How patterns match."""

    TEXT = "equal text, without regard to case"
    PARENT = "example.com matches its subdomains too"
    DOT = "only .example.com matches subdomains of example.com"
    NETWORK = "addresses and networks"


class Broken:
    """An entry that cannot be used: reaching it is a temporary failure, because it might have been a "!"."""

    def __init__(self, why: str) -> None:
        self.why = why


Entry = tuple[bool, str | Table | Network | Broken]
"""Does it include (no "!"), and what."""


def words_of_file(path: str) -> list[str]:
    return [word for _, line in logical_lines(read_source(path)) for word in split_list(line)]


def parse_entries(
    words: Iterable[str], style: Style, open_table: Callable[[str], Table], includes: bool = True, depth: int = 0
) -> list[Entry]:
    """The entries of a list; what cannot be read or parsed becomes `Broken`."""
    entries: list[Entry] = []
    for word in words:
        text = word
        this = includes
        while text.startswith("!"):
            this = not this
            text = text[1:]
        if not text:
            entries.append((this, Broken(f"no pattern after '!' in {word!r}")))
        elif text.startswith("/"):
            if depth == MAXIMAL_DEPTH:
                entries.append((this, Broken(f"{text}: files name each other in a circle")))
                continue
            try:
                inner = words_of_file(text)
            except (OSError, BadTable) as error:
                entries.append((this, Broken(f"{text}: {error}")))
                continue
            entries.extend(parse_entries(inner, style, open_table, this, depth + 1))
        elif ":" in text and not text.startswith("[") and (style is not Style.NETWORK or not is_network(text)):
            entries.append((this, open_table(text)))
        elif style is Style.NETWORK:
            try:
                entries.append((this, parse_network(text)))
            except ValueError as error:
                entries.append((this, Broken(str(error))))
        else:
            entries.append((this, ("." + domain_key(text[1:])) if text.startswith(".") else domain_key(text)))
    return entries


def is_network(text: str) -> bool:
    try:
        parse_network(text)
    except ValueError:
        return False
    return True


class MatchList:
    """`problems()` names what is broken; matching past a broken entry raises TableError."""

    def __init__(self, parameter: str, words: Iterable[str], style: Style, open_table: Callable[[str], Table]) -> None:
        self.parameter = parameter
        self._style = style
        self.entries = tuple(parse_entries(words, style, open_table))
        self._plain: frozenset[str] | None = None
        if style is Style.TEXT and all(includes and isinstance(what, str) for includes, what in self.entries):
            self._plain = frozenset(what for _, what in self.entries if isinstance(what, str))

    def __bool__(self) -> bool:
        return bool(self.entries)

    def problems(self) -> list[str]:
        return [what.why for _, what in self.entries if isinstance(what, Broken)]

    async def matches(self, subject: str) -> bool:
        """`subject` is a domain or other text; for Style.NETWORK an IP address."""
        if self._style is Style.NETWORK:
            return await self._matches_address(subject)
        key = domain_key(subject)
        if self._plain is not None:
            return key in self._plain
        for includes, what in self.entries:
            if isinstance(what, str):
                hit = self._fits(what, key)
            elif isinstance(what, Table):
                hit = await self._in_table(what, key)
            else:
                raise self._error(what)
            if hit:
                return includes
        return False

    async def _matches_address(self, subject: str) -> bool:
        address = parse_address(subject)
        if address is None:
            return False
        for includes, what in self.entries:
            if isinstance(what, tuple):
                hit = contains(what, *address)
            elif isinstance(what, Table):
                hit = await what.find(subject) is not None
            else:
                raise self._error(what)
            if hit:
                return includes
        return False

    def _fits(self, pattern: str, key: str) -> bool:
        if pattern == key:
            return True
        if self._style is Style.PARENT:
            return len(key) > len(pattern) and key.endswith(pattern if pattern.startswith(".") else "." + pattern)
        return self._style is Style.DOT and pattern.startswith(".") and key.endswith(pattern)

    async def _in_table(self, table: Table, key: str) -> bool:
        if await table.find(key) is not None:
            return True
        if self._style is Style.TEXT or not table.partial:
            return False
        at = key.find(".", 1)
        while at >= 0:
            if await table.find(key[at + 1 :] if self._style is Style.PARENT else key[at:]) is not None:
                return True
            at = key.find(".", at + 1)
        return False

    def _error(self, what: object) -> TableError:
        return TableError(f"{self.parameter}: {what.why if isinstance(what, Broken) else what!r}")
