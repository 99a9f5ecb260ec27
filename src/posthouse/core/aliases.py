"""The right-hand side of an alias, and the text of a .forward or :include: file (aliases(5), local(8)).

    user@example.org, "John Doe"@example.org, \\user, "|/usr/bin/command -x", /path/to/file, :include:/path

Entries are separated by commas and line ends; "#" begins a comment line; comments in (parentheses) and "Name <address>"
are understood. Nothing here opens or runs anything.
"""

import enum
from typing import Final

import msgspec

MAXIMAL_TARGETS: Final = 20_000
"""A list longer than this in one file is a mistake."""
_SPECIALS: Final = frozenset('",<>()\\')


class Kind(enum.Enum):
    ADDRESS = "address"
    COMMAND = "command"
    FILE = "file"
    INCLUDE = "include"


class Target(msgspec.Struct, frozen=True):
    """`text` is the address in internal (unquoted) form, the command without "|", or the path. `is_final`: "\\user",
    the user's own mailbox without a look at aliases or .forward."""

    kind: Kind
    text: str
    is_final: bool = False


class BadAlias(ValueError):
    """Text that is no list of destinations; the words say what is wrong."""


def parse(text: str) -> tuple[Target, ...]:
    """All destinations in order, each once. Raises BadAlias."""
    targets: dict[Target, None] = {}
    for entry in _entries(text):
        targets[_target(entry)] = None
        if len(targets) > MAXIMAL_TARGETS:
            raise BadAlias(f"more than {MAXIMAL_TARGETS} destinations")
    return tuple(targets)


def _entries(text: str) -> list[str]:
    """Cut at commas and line ends outside quotes, angle brackets and comments; "|command" without quotes may hold
    white space, but no comma."""
    if "\0" in text:
        raise BadAlias("a NUL character")
    entries: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            continue
        start = at = 0
        while at < len(line):
            character = line[at]
            if character == '"':
                at = _end_of_quotes(line, at)
            elif character == "(" and not _is_command(line[start:at]):
                at = _end_of_comment(line, at)
            elif character == ",":
                entries.append(line[start:at])
                start = at + 1
            elif character == "\\":
                at += 1
            at += 1
        entries.append(line[start:])
    return [entry.strip() for entry in entries if entry.strip()]


def _is_command(text: str) -> bool:
    return text.lstrip().startswith(("|", '"|'))


def _end_of_quotes(line: str, at: int) -> int:
    opened = at
    at += 1
    while at < len(line):
        if line[at] == "\\":
            at += 1
        elif line[at] == '"':
            return at
        at += 1
    raise BadAlias(f"a quotation mark is not closed: {line[opened : opened + 40]!r}")


def _end_of_comment(line: str, at: int) -> int:
    depth = 0
    opened = at
    while at < len(line):
        character = line[at]
        if character == "\\":
            at += 1
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return at
        at += 1
    raise BadAlias(f"a parenthesis is not closed: {line[opened : opened + 40]!r}")


def _target(entry: str) -> Target:
    whole = _unquoted(entry)
    if whole is not None:
        entry = whole
    if entry.startswith("|"):
        command = entry[1:].strip()
        if not command:
            raise BadAlias("| without a command")
        return Target(Kind.COMMAND, command)
    if entry.startswith("/"):
        return Target(Kind.FILE, entry)
    if entry.lower().startswith(":include:"):
        path = entry[len(":include:") :].strip()
        path = _unquoted(path) or path
        if not path.startswith("/"):
            raise BadAlias(f":include: needs a whole path, not {path!r}")
        return Target(Kind.INCLUDE, path)
    if entry.startswith(":"):
        raise BadAlias(f"{entry.split()[0]!r} is not understood")
    if whole is not None:
        return Target(Kind.ADDRESS, _checked(whole))
    if entry.startswith("\\"):
        return Target(Kind.ADDRESS, _checked(_address(entry[1:])), is_final=True)
    return Target(Kind.ADDRESS, _checked(_address(entry)))


def _unquoted(entry: str) -> str | None:
    """The inside of an entry that is one quoted string as a whole."""
    if len(entry) > 1 and entry[0] == '"' and _end_of_quotes(entry, 0) == len(entry) - 1:
        return _plain(entry[1:-1])
    return None


def _plain(text: str) -> str:
    if "\\" not in text:
        return text
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        out.append(text[at])
        at += 1
    return "".join(out)


def _address(entry: str) -> str:
    """The address of "user@domain", "Name <user@domain>" or "user@domain (Name)", unquoted."""
    words: list[str] = []
    inside: str | None = None
    at = 0
    current = ""
    while at < len(entry):
        character = entry[at]
        if character == '"':
            end = _end_of_quotes(entry, at)
            current += _plain(entry[at + 1 : end])
            at = end
        elif character == "(":
            at = _end_of_comment(entry, at)
        elif character == "<":
            end = _closing_bracket(entry, at)
            if inside is not None:
                raise BadAlias(f"two addresses without a comma: {entry[:60]!r}")
            inside = _address(entry[at + 1 : end])
            at = end
        elif character == ">":
            raise BadAlias(f"> without <: {entry[:60]!r}")
        elif character.isspace():
            if current:
                words.append(current)
            current = ""
        elif character == "\\" and at + 1 < len(entry):
            at += 1
            current += entry[at]
        else:
            current += character
        at += 1
    if current:
        words.append(current)
    if inside is not None:
        return inside
    if len(words) != 1:
        raise BadAlias(f"not an address: {entry[:60]!r}")
    return words[0]


def _closing_bracket(entry: str, at: int) -> int:
    opened = at
    at += 1
    while at < len(entry):
        if entry[at] == '"':
            at = _end_of_quotes(entry, at)
        elif entry[at] == ">":
            return at
        elif entry[at] == "<":
            break
        at += 1
    raise BadAlias(f"< without >: {entry[opened : opened + 40]!r}")


def _checked(address: str) -> str:
    local_part, at, domain = address.rpartition("@")
    if not address or (at and (not local_part or not domain)):
        raise BadAlias(f"not an address: {address[:60]!r}")
    if any(ord(character) < 32 or character == "\x7f" for character in address):
        raise BadAlias(f"control characters in {address[:60]!r}")
    if at and any(character.isspace() or character in _SPECIALS for character in domain):
        raise BadAlias(f"not a domain: {domain[:60]!r}")
    return address
