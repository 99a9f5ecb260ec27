"""The output formats of doveadm: flow, tab, table, pager, json."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, TextIO

import msgspec

from posthouse.cli.doveadm.endings import EX_TEMPFAIL, Ended

PAGE_COLUMNS: Final = 80
"""What a table is fitted to, as by Dovecot without a terminal."""


class Column(msgspec.Struct, frozen=True):
    """`key` is its name in JSON. The table gives `expands` the room that is left (else the last one)."""

    title: str
    key: str = ""
    is_hidden: bool = False
    """The value says enough without the title."""
    is_right: bool = False
    is_stream: bool = False
    """Of many lines."""
    expands: bool = False


class Formatter(ABC):
    """Rows in the order of the columns; `text` values of many lines are allowed everywhere."""

    def __init__(self, out: TextIO, columns: Sequence[Column]) -> None:
        self._out = out
        self._columns = columns

    @abstractmethod
    def row(self, values: Sequence[str]) -> None: ...

    def end(self) -> None:  # noqa: B027 - most formats need no end
        """Nothing comes any more."""


class Flow(Formatter):
    def row(self, values: Sequence[str]) -> None:
        words = [
            value if column.is_hidden else f"{column.title}={value}"
            for column, value in zip(self._columns, values, strict=True)
        ]
        self._out.write(" ".join(words) + "\n")


class Tab(Formatter):
    def __init__(self, out: TextIO, columns: Sequence[Column]) -> None:
        super().__init__(out, columns)
        out.write("\t".join(one.title for one in columns) + "\n")

    def row(self, values: Sequence[str]) -> None:
        self._out.write("\t".join(values) + "\n")


class Table(Formatter):
    """Widths are known at the end only."""

    def __init__(self, out: TextIO, columns: Sequence[Column]) -> None:
        super().__init__(out, columns)
        self._rows: list[Sequence[str]] = []

    def row(self, values: Sequence[str]) -> None:
        self._rows.append(values)

    def end(self) -> None:
        columns = self._columns
        widths = [max([len(one.title), *(len(row[at]) for row in self._rows)]) for at, one in enumerate(columns)]
        left = PAGE_COLUMNS - (sum(widths) + len(widths) - 1)
        if left > 0:
            at = next((at for at, one in enumerate(columns) if one.expands), len(columns) - 1)
            # Half of the room: Dovecot's tables are that wide.
            widths[at] += left // 2
        if not all(one.is_hidden for one in columns):
            self._write([one.title for one in columns], widths)
        for row in self._rows:
            self._write(row, widths)

    def _write(self, values: Sequence[str], widths: Sequence[int]) -> None:
        cells = [
            value.rjust(width) if column.is_right else value.ljust(width)
            for column, value, width in zip(self._columns, values, widths, strict=True)
        ]
        self._out.write(" ".join(cells) + "\n")


class Pager(Formatter):
    def __init__(self, out: TextIO, columns: Sequence[Column]) -> None:
        super().__init__(out, columns)
        self._is_first = True

    def row(self, values: Sequence[str]) -> None:
        # As Dovecot: there is no form feed if the text of a message comes first.
        if not self._is_first and not self._columns[0].is_stream:
            self._out.write("\f\n")
        self._is_first = False
        for column, value in zip(self._columns, values, strict=True):
            if column.is_stream:
                self._out.write(f"{column.title}:\n{value}")
            else:
                self._out.write(("" if column.is_hidden else f"{column.title}: ") + f"{value}\n")


class Json(Formatter):
    def __init__(self, out: TextIO, columns: Sequence[Column]) -> None:
        super().__init__(out, columns)
        self._is_first = True
        out.write("[")

    def row(self, values: Sequence[str]) -> None:
        named = {column.key or column.title: value for column, value in zip(self._columns, values, strict=True)}
        self._out.write(("" if self._is_first else ",") + json.dumps(named, ensure_ascii=False, separators=(",", ":")))
        self._is_first = False

    def end(self) -> None:
        self._out.write("]")


FORMATTERS: Final[dict[str, type[Formatter]]] = {
    "flow": Flow,
    "tab": Tab,
    "table": Table,
    "pager": Pager,
    "json": Json,
}


def formatter(name: str, out: TextIO, columns: Sequence[Column]) -> Formatter:
    """Raises Ended."""
    if name not in FORMATTERS:
        raise Ended(EX_TEMPFAIL, f"doveadm: Fatal: Unknown print formatter: {name}")
    return FORMATTERS[name](out, columns)
