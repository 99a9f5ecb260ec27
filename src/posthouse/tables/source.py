"""The text files behind tables: logical lines, `key value` maps and `name: value` alias files.

Postfix's rules: a line that starts with white space continues the one before; empty lines and lines whose first other
character is "#" are skipped wherever they stand, even inside a continued line. What does not parse is skipped with a
warning, as postmap does: one bad line must not stop the mail of everybody else.
"""

from collections.abc import Callable, Iterator
from typing import Final

Warn = Callable[[str], None]

MAXIMAL_SOURCE_OCTETS: Final = 256 * 1024 * 1024
"""A larger source is refused: it would be held in memory twice while it is read again."""

_BLANK: Final = " \t\r\v\f"


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number of its first physical line, and the line: continuations joined, trailing white space gone."""
    number = 0
    parts: list[str] = []
    for at, physical in enumerate(text.split("\n"), start=1):
        stripped = physical.strip(_BLANK)
        if not stripped or stripped[0] == "#":
            continue
        if physical[0] in _BLANK and parts:
            parts.append(physical.rstrip(_BLANK))
            continue
        if parts:
            yield number, "".join(parts)
        number = at
        parts = [physical.rstrip(_BLANK)]
    if parts:
        yield number, "".join(parts)


def split_key(line: str) -> tuple[str, str] | None:
    """A key (quoted, if it holds white space: `"a b"@example.com`) and the rest; None without a key or a value."""
    in_quotes = False
    at = 0
    end = len(line)
    while at < end:
        character = line[at]
        if character == "\\" and in_quotes:
            at += 1
        elif character == '"':
            in_quotes = not in_quotes
        elif not in_quotes and character in " \t\r\n\v\f":
            break
        at += 1
    key, value = line[:at], line[at:].strip(" \t\r\n\v\f")
    return (key, value) if key and value else None


def parse_map(text: str, where: str, warn: Warn) -> dict[str, str]:
    """The input format of postmap: keys folded to lower case, the first of two equal keys wins."""
    entries: dict[str, str] = {}
    for number, line in logical_lines(text):
        if line[0] in _BLANK:
            warn(f"{where}, line {number}: logical line must not start with whitespace")
            continue
        pair = split_key(line)
        if pair is None:
            warn(f"{where}, line {number}: expected format: key whitespace value")
            continue
        key, value = pair[0].lower(), pair[1]
        if key.endswith(":"):
            warn(f'{where}, line {number}: record is in "key: value" format; is this an alias file?')
        if key in entries:
            warn(f'{where}, line {number}: duplicate entry: "{key}"')
            continue
        entries[key] = value
    return entries


def parse_aliases(text: str, where: str, warn: Warn) -> dict[str, str]:
    """The input format of postalias: `name: value, value…`; names are local parts, possibly quoted."""
    entries: dict[str, str] = {}
    for number, line in logical_lines(text):
        if line[0] in _BLANK:
            warn(f"{where}, line {number}: logical line must not start with whitespace")
            continue
        colon = _unquoted_colon(line)
        name = unquote(line[:colon].strip(_BLANK)).lower() if colon >= 0 else ""
        value = line[colon + 1 :].strip(_BLANK) if colon >= 0 else ""
        if not name or not value:
            warn(f"{where}, line {number}: need name:value pair")
            continue
        if "@" in name:
            warn(f"{where}, line {number}: name must be local")
            continue
        if name in entries:
            warn(f'{where}, line {number}: duplicate entry: "{name}"')
            continue
        entries[name] = value
    return entries


def _unquoted_colon(line: str) -> int:
    in_quotes = False
    escaped = False
    for at, character in enumerate(line):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            in_quotes = not in_quotes
        elif character == ":" and not in_quotes:
            return at
    return -1


def unquote(text: str) -> str:
    """RFC 5322 s3.2.4: the inside of quoted strings, and quoted pairs, as they are meant."""
    if '"' not in text and "\\" not in text:
        return text
    out: list[str] = []
    escaped = False
    for character in text:
        if escaped:
            out.append(character)
            escaped = False
        elif character == "\\":
            escaped = True
        elif character != '"':
            out.append(character)
    return "".join(out)
