"""The language of main.cf, and the logical lines it shares with master.cf.

A line that starts with white space continues the one before it; empty lines and lines whose first visible character is
"#" are ignored wherever they stand, inside a continued line too (postconf(5)).
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from posthouse.config.configuration import Problem

MAXIMAL_LINE_OCTETS: Final = 1_000_000
"""A logical line longer than this is a binary file, not a configuration."""


CONTINUING: Final = frozenset(" \t\r\f\v")
"""A line that begins with one of them belongs to the one before. Other white space of Unicode is text."""


class LogicalLine(msgspec.Struct, frozen=True):
    at: str
    """"file:line" of its first line."""
    text: str


class Setting(msgspec.Struct, frozen=True):
    name: str
    value: str
    at: str


def decode(octets: bytes) -> str:
    """A configuration file's text. What is no UTF-8 survives unchanged, as Postfix keeps it."""
    return octets.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def logical_lines(text: str, file: str, problems: list[Problem]) -> Iterator[LogicalLine]:
    start = ""
    parts: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip()
        visible = line.lstrip()
        if not visible or visible.startswith("#"):
            continue
        if line[0] in CONTINUING:
            if not parts:
                problems.append(
                    Problem(
                        "error",
                        f"{file}:{number}",
                        "the first line begins with white space, which continues a line before it",
                        "remove the white space",
                    )
                )
                continue
            parts.append(line)
            continue
        if parts:
            yield LogicalLine(start, "".join(parts))
        start, parts = f"{file}:{number}", [line]
    if parts:
        yield LogicalLine(start, "".join(parts))


def parse(text: str, file: str, problems: list[Problem]) -> list[Setting]:
    """All settings in order, earlier ones of the same name included; `latest` picks those that count."""
    settings: list[Setting] = []
    for line in logical_lines(text, file, problems):
        if len(line.text) > MAXIMAL_LINE_OCTETS:
            problems.append(Problem("error", line.at, "the line is too long for a configuration file"))
            continue
        name, equals, value = line.text.partition("=")
        name = name.strip()
        if not equals:
            problems.append(Problem("error", line.at, f'missing "=" after {line.text[:60]!r}', 'write "name = value"'))
        elif not name:
            problems.append(Problem("error", line.at, 'a name is missing before "="'))
        elif len(name.split()) > 1:
            problems.append(Problem("error", line.at, f"white space in the name {name[:60]!r}", 'write "name = value"'))
        elif "\0" in value:
            problems.append(Problem("error", line.at, f"the value of {name} contains a NUL character"))
        else:
            settings.append(Setting(name, value.strip(), line.at))
    return settings


def latest(settings: Iterable[Setting], problems: list[Problem]) -> dict[str, Setting]:
    """The last setting of each name wins; the one it hides is named."""
    chosen: dict[str, Setting] = {}
    for setting in settings:
        earlier = chosen.pop(setting.name, None)
        if earlier is not None:
            problems.append(
                Problem(
                    "warning",
                    setting.at,
                    f"overriding the earlier entry {setting.name}={earlier.value} of {earlier.at}",
                    "remove one of the two",
                )
            )
        chosen[setting.name] = setting
    return chosen
