"""The language of dovecot.conf (version 2.3): settings, nested blocks, includes.

Nested names are flattened with "/": `service/imap-login/inet_listener/imap/port`. A "/" inside a block's own name is
kept as "\\s" (as Dovecot does), so that names can be taken apart again; `section_name` does that. Blocks without a
name that may occur several times (passdb, userdb, namespace) are numbered from 1 in the order of the file: the order of
a passdb chain is the order of its names here.

`$name` stands for what the setting has been given so far (or its default), `$ENV:NAME` for the environment, `<file`
for a file's content, which stays unread here: `key = <file` gives the value "<file", and whoever needs a certificate
reads it with the rights it has.
"""

import glob
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from posthouse.config.configuration import Problem
from posthouse.config.maincf import Setting, decode

NUMBERED: Final = frozenset({"passdb", "userdb", "namespace"})
"""Blocks of which each nameless one is another one. All others with the same name continue each other."""
PATHS_FROM_FILE: Final = re.compile(r"<\s*(.*)", re.DOTALL)
MAXIMAL_INCLUDES: Final = 200
MAXIMAL_INCLUDE_DEPTH: Final = 20
MAXIMAL_BLOCK_DEPTH: Final = 20

_SETTING: Final = re.compile(r"([^\s={}]+)\s*=\s*(.*)", re.DOTALL)
_BLOCK: Final = re.compile(r"(\S+?)(?:\s+(.*?))?\s*\{\Z", re.DOTALL)
_VARIABLE: Final = re.compile(r"\$(ENV:[A-Za-z0-9_]+|[A-Za-z0-9_]+)")


class _Block(msgspec.Struct):
    path: str
    at: str


class _Place(msgspec.Struct):
    """Where the parser stands: the file, how deep it was included, the open blocks, and how many of them the including
    file opened (an included file cannot close those)."""

    file: str
    depth: int
    blocks: list[_Block]
    floor: int


class Parser:
    """Reads one dovecot.conf with everything it includes; collects problems instead of raising.

    `read` gives a file's octets (OSError if it cannot), `default` the default of a setting for `$name`.
    """

    def __init__(
        self,
        problems: list[Problem],
        read: Callable[[str], bytes] = lambda path: Path(path).read_bytes(),
        default: Callable[[str], str | None] = lambda _: None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.settings: dict[str, Setting] = {}
        self._problems = problems
        self._read = read
        self._default = default
        self._environment = os.environ if environment is None else environment
        self._counts: dict[str, int] = {}
        self._included = 0

    def parse_file(self, path: str, depth: int = 0) -> None:
        self.parse_text(decode(self._read(path)), path, depth)

    def parse_text(self, text: str, file: str, depth: int = 0, outer: tuple[_Block, ...] = ()) -> None:
        where = _Place(file, depth, list(outer), len(outer))
        continued = ""
        start = 0
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip()
            if not continued:
                start = number
                if not line or line.startswith("#"):
                    continue
            elif line.startswith("#"):
                continue
            line = continued + line
            continued = ""
            if line.endswith("\\"):
                continued = line[:-1].rstrip() + " "
                continue
            self._line(_without_comment(line), f"{file}:{start}", where)
        if continued:
            self._line(_without_comment(continued.strip()), f"{file}:{start}", where)
        for block in where.blocks[len(outer) :]:
            self._wrong(block.at, f"the block {block.path.rsplit('/', 1)[-1]} {{ is never closed", "add a line with }")

    def _line(self, line: str, at: str, where: _Place) -> None:
        blocks = where.blocks
        if not line:
            return
        if line == "}":
            if len(blocks) > where.floor:
                blocks.pop()
            else:
                self._wrong(at, "a } without a block that it closes", "remove it")
            return
        if line.startswith("!"):
            self._include(line, at, where)
            return
        if (match := _SETTING.fullmatch(line)) and not line.endswith("{"):
            self._set(match[1], match[2], at, blocks)
        elif match := _BLOCK.fullmatch(line):
            self._open(match[1], match[2] or "", at, blocks)
        elif match := _SETTING.fullmatch(line):
            self._set(match[1], match[2], at, blocks)
        else:
            self._wrong(at, f"neither a setting nor a block: {line[:60]!r}", 'write "name = value" or "name {"')

    def _open(self, kind: str, name: str, at: str, blocks: list[_Block]) -> None:
        if len(blocks) >= MAXIMAL_BLOCK_DEPTH:
            self._wrong(at, f"blocks are nested deeper than {MAXIMAL_BLOCK_DEPTH}")
        parent = f"{blocks[-1].path}/" if blocks else ""
        name = _unquoted(name)
        path = f"{parent}{kind}"
        if name:
            path += "/" + _escaped(name)
        elif kind in NUMBERED:
            self._counts[path] = number = self._counts.get(path, 0) + 1
            path += f"/{number}"
        blocks.append(_Block(path, at))

    def _set(self, key: str, value: str, at: str, blocks: list[_Block]) -> None:
        name = f"{blocks[-1].path}/{key}" if blocks else key
        is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        if is_quoted:
            value = _unquoted(value)
        elif not value.startswith("<"):
            value = _VARIABLE.sub(lambda match: self._variable(match[1], name), value)
        if "\0" in value:
            self._wrong(at, f"the value of {key} contains a NUL character")
            return
        self.settings.pop(name, None)
        self.settings[name] = Setting(name, value, at)

    def _variable(self, variable: str, name: str) -> str:
        if variable.startswith("ENV:"):
            return self._environment.get(variable[4:], "")
        # The nearest enclosing block that has it counts: `mail_plugins = $mail_plugins quota` in protocol imap {}
        # extends the block's own value, then the global one.
        scope = name
        while "/" in scope:
            scope = scope.rpartition("/")[0]
            if f"{scope}/{variable}" in self.settings:
                return self.settings[f"{scope}/{variable}"].value
        if variable in self.settings:
            return self.settings[variable].value
        default = self._default(variable)
        return f"${variable}" if default is None else default

    def _include(self, line: str, at: str, where: _Place) -> None:
        verb, _, pattern = line.partition(" ")
        pattern = _unquoted(pattern.strip())
        if verb not in ("!include", "!include_try") or not pattern:
            self._wrong(at, f"unknown directive {line[:60]!r}", "!include FILE and !include_try FILE are known")
            return
        path = pattern if pattern.startswith("/") else str(Path(where.file).parent / pattern)
        has_wildcard = any(character in path for character in "*?[")
        found = sorted(glob.glob(path)) if has_wildcard else [path]
        for one in found:
            self._included += 1
            if where.depth >= MAXIMAL_INCLUDE_DEPTH or self._included > MAXIMAL_INCLUDES:
                self._wrong(at, f"too many files include each other, the last is {one}", "look for a circle")
                return
            try:
                text = decode(self._read(one))
            except (OSError, ValueError) as error:
                if verb == "!include":
                    reason = error.strerror if isinstance(error, OSError) else str(error)
                    self._wrong(at, f"cannot read {one}: {reason}", "!include_try ignores a file that is missing")
                continue
            self.parse_text(text, one, where.depth + 1, tuple(where.blocks))

    def _wrong(self, at: str, what: str, suggestion: str = "") -> None:
        self._problems.append(Problem("error", at, what, suggestion))


def _without_comment(line: str) -> str:
    """A "#" behind white space begins a comment, except inside quotes."""
    if "#" not in line:
        return line
    quote = ""
    at = 0
    while at < len(line):
        character = line[at]
        if quote:
            if character == "\\":
                at += 1
            elif character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif character == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at].rstrip()
        at += 1
    if quote:
        # An apostrophe in plain text is no quote: find the comment as if there were none.
        match = re.search(r"\s#", line)
        return line[: match.start()].rstrip() if match else line
    return line


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
    return text


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("/", "\\s")


def section_name(segment: str) -> str:
    """The name of a block as the file had it, from one segment of a flattened name."""
    return re.sub(r"\\(.)", lambda match: "/" if match[1] == "s" else match[1], segment)


def blocks(values: Mapping[str, str], kind: str) -> list[tuple[str, dict[str, str]]]:
    """All blocks of a kind in order, as (name, settings inside with names relative to the block).

    `kind` may be nested: blocks(values, "service/auth/unix_listener").
    """
    found: dict[str, dict[str, str]] = {}
    prefix = f"{kind}/"
    for name, value in values.items():
        if name.startswith(prefix):
            segment, slash, rest = name[len(prefix) :].partition("/")
            if slash:
                found.setdefault(section_name(segment), {})[rest] = value
    return list(found.items())


def for_protocol(values: Mapping[str, str], protocol: str) -> dict[str, str]:
    """All settings as one protocol sees them: `protocol NAME { }` blocks laid over the general ones (also
    `protocol !NAME`, and lists such as `protocol lmtp lda`)."""
    chosen = {name: value for name, value in values.items() if not name.startswith("protocol/")}
    for names, inside in blocks(values, "protocol"):
        words = names.split()
        if protocol in words or any(word.startswith("!") and word[1:] != protocol for word in words):
            chosen.update(inside)
    return chosen
