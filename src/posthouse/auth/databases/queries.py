"""Dovecot's SQL query files (dovecot-sql.conf.ext), and queries whose %variables are bound parameters.

A user name never becomes SQL text. A quoted string of the query in which variables stand ('%u', '%n@%d', 'x%%') is one
parameter, and so is a variable outside of quotes; everything else is the query as the administrator wrote it.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from posthouse.auth.databases.lookup import BadDatabase
from posthouse.core.variables import LOGIN_VARIABLES, BadTemplate, Template

_SETTING: Final = re.compile(r"([a-z_]+)\s*=\s*(.*)", re.DOTALL)
KNOWN: Final = frozenset(
    ("driver", "connect", "default_pass_scheme", "password_query", "user_query", "iterate_query", "update_query")
)
_TOKEN: Final = re.compile(
    r"""'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | --[^\n]* | /\*.*?\*/ | %% |"""
    r""" %(?:-?[0-9]+(?:\.-?[0-9]+)?)?[LUERXHNMDT]*(?:\{\w+\}|[A-Za-z])""",
    re.DOTALL | re.VERBOSE,
)


class Query(msgspec.Struct, frozen=True):
    """`text` with a placeholder for each of `parameters`."""

    text: str
    parameters: tuple[Template, ...]

    def bound(self, values: Mapping[str, str]) -> list[str]:
        return [one.fill(values) for one in self.parameters]


def compile_query(text: str, placeholder: Callable[[int], str], *, doubles_percent: bool = False) -> Query:
    """`placeholder` by number from 1: "?", "%s", "$1". With `doubles_percent` the driver reads % itself, and a percent
    sign of the query has to be two. Raises BadDatabase."""
    parameters: list[Template] = []

    def bind(template: str) -> str:
        try:
            parameters.append(Template.parse(template, LOGIN_VARIABLES))
        except BadTemplate as error:
            raise BadDatabase(str(error)) from error
        return placeholder(len(parameters))

    def plain(part: str) -> str:
        return part.replace("%", "%%") if doubles_percent else part

    def replace(match: re.Match[str]) -> str:
        part = match[0]
        if part == "%%":
            return plain("%")
        if part[0] == "%":
            return bind(part)
        if part[0] in "'\"" and re.search(r"%[^%]", part.replace("%%", "")):
            quote = part[0]
            # What the quotes protected stands in the parameter as it is meant.
            inner = part[1:-1].replace(quote * 2, quote)
            return bind(re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL))
        return plain(part.replace("%%", "%"))

    out, at = [], 0
    for match in _TOKEN.finditer(text):
        out += [plain(text[at : match.start()]), replace(match)]
        at = match.end()
    out.append(plain(text[at:]))
    return Query("".join(out), tuple(parameters))


def parse_query_file(text: str, path: str, known: Collection[str] = KNOWN) -> dict[str, str]:
    """ "name = value" lines; # begins a comment, a backslash at the end goes on. Raises BadDatabase."""
    settings: dict[str, str] = {}
    continued, start = "", 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not continued:
            start = number
        if not line or line.startswith("#"):
            continue
        line = continued + line
        if line.endswith("\\"):
            continued = line[:-1].rstrip() + " "
            continue
        continued = ""
        match = _SETTING.fullmatch(line)
        if match is None:
            raise BadDatabase(f"{path}:{start}: neither a comment nor name = value: {line[:60]!r}")
        name, value = match[1], match[2].strip()
        if name not in known:
            raise BadDatabase(f"{path}:{start}: unknown setting {name}; known are {', '.join(sorted(known))}")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" and value[0] not in value[1:-1]:
            value = value[1:-1]
        settings[name] = value
    if continued:
        raise BadDatabase(f"{path}:{start}: the file ends in the middle of a setting")
    return settings


def parse_connect(text: str, path: str) -> dict[str, list[str]]:
    """ "host=… dbname=… user=… password=…"; a name may come several times (several hosts), a value may be in quotes."""
    found: dict[str, list[str]] = {}
    for match in re.finditer(r"(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S+))|(\S+)", text):
        if match[4] is not None:
            raise BadDatabase(f"{path}: connect: name=value is expected, not {match[4]!r}")
        value = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
        found.setdefault(match[1], []).append(value)
    return found
