"""NAME
    doveconf - print dovecot.conf as it is understood
SYNOPSIS
    doveconf [-adnNPSx] [-h] [-c FILE] [-f FILTER] [SETTING | BLOCK ...]
DESCRIPTION
    Prints like Dovecot's own. -n (the default) prints what differs from the defaults, -N everything that is set, -a all
    settings, -d the defaults. A SETTING prints that one, a BLOCK ("passdb", "service/auth", "protocol") all of that
    kind. -h leaves the names out, -f "protocol=imap" prints what holds for one protocol, -x puts the files of "<file"
    values in their place, -P shows passwords and keys, -S prints name=value lines with flattened names.

    Defaults are ours: where they differ from Dovecot's, docs/parameters.md says so. -a and BLOCK print blocks with what
    is set in them.
EXIT STATUS
    0; 64 for a command line or a setting that is not known; 89 for a file that cannot be understood.
SEE ALSO
    postconf(1), posthouse-check(1)
"""

import getopt
import os
import platform
import re
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import msgspec

import posthouse
from posthouse.config import known
from posthouse.config.configuration import Problem
from posthouse.config.dovecotconf import Parser, for_protocol, section_name
from posthouse.config.loading import default_directory, dovecot_default
from posthouse.config.maincf import decode
from posthouse.config.parameter import DOVECOT
from posthouse.config.problems import nearest

EX_USAGE: Final = 64
EX_CONFIG: Final = 89
"""What Dovecot ends with."""
USAGE: Final = "usage: doveconf [-adnNPSx] [-h] [-c FILE] [-f FILTER] [SETTING | BLOCK ...]"
NAMED: Final = frozenset(
    {
        *("passdb", "userdb", "namespace", "service", "protocol", "local", "local_name", "remote"),
        *("unix_listener", "inet_listener", "fifo_listener", "mailbox"),
    }
)
"""Blocks that have a name behind their kind."""
FILTERS: Final = ("protocol", "remote", "local_name", "local")
"""Printed last, in this order."""
HIDDEN: Final = re.compile(r"(?:.*_password|.*_api_key|ssl_(?:alt_)?key|ssl_key_password|auth_policy_hash_nonce)\Z")
_QUOTED: Final = re.compile(r"\A\s|[ \t]\Z|\A[\"']|#")


class Block(msgspec.Struct):
    """`title` is "service auth"; "" is the file itself."""

    title: str
    settings: dict[str, str] = {}
    blocks: dict[str, "Block"] = {}

    def put(self, segments: Sequence[str], value: str) -> None:
        kind = segments[0]
        if len(segments) == 1:
            self.settings[section_name(kind)] = value
            return
        has_name = kind in NAMED and len(segments) > 2
        name = section_name(segments[1]) if has_name else ""
        # Those without a name of their own are numbered, and stay in the order of the file.
        title = kind if not name or name.isdecimal() else f"{kind} {name}"
        key = f"{kind} {int(name):08d}" if name.isdecimal() else title
        if kind in FILTERS and has_name and segments[2] in FILTERS:
            key += " \x7f"  # as Dovecot: a filter in a filter is printed apart
        inside = self.blocks.setdefault(key, Block(title))
        inside.put(segments[2 if has_name else 1 :], value)

    def lines(self, depth: int = 0) -> Iterable[str]:
        indent = "  " * depth
        plain = {**self.settings}
        if self.title.partition(" ")[0] == "namespace":
            # As Dovecot: these two are always there.
            plain = {"location": "", "prefix": "", **plain}
        entries = [(name, None) for name in plain] + [(key, block) for key, block in self.blocks.items()]
        for name, block in sorted(entries, key=lambda entry: _order(entry[0], is_block=entry[1] is not None)):
            if block is None:
                yield f"{indent}{name} = {_shown(plain[name])}"
            else:
                yield f"{indent}{block.title} {{"
                yield from block.lines(depth + 1)
                yield f"{indent}}}"


def _order(name: str, *, is_block: bool) -> tuple[int, str]:
    kind = name.partition(" ")[0]
    return (1 + FILTERS.index(kind) if is_block and kind in FILTERS else 0, name)


def _shown(value: str) -> str:
    return f'"{value}"' if _QUOTED.search(value) else value


class Options(msgspec.Struct):
    mode: str = "n"
    hides_names: bool = False
    is_simple: bool = False
    expands_files: bool = False
    shows_secrets: bool = False
    file: str = ""
    protocol: str = ""
    wanted: tuple[str, ...] = ()


class Mistake(Exception):
    """The text is for the caller; `status` is what to end with."""

    def __init__(self, words: str, status: int = EX_USAGE) -> None:
        super().__init__(words)
        self.status = status


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    try:
        run(sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # who reads has seen enough
    except Mistake as mistake:
        print(f"doveconf: {mistake}", file=sys.stderr)
        raise SystemExit(mistake.status) from mistake
    raise SystemExit(0)


def run(arguments: Sequence[str]) -> None:
    """Raises Mistake."""
    options = _options(arguments)
    known.complete()
    settings = {} if options.mode == "d" else _read(options.file)
    if options.protocol:
        settings = for_protocol(settings, options.protocol)
    if options.wanted:
        for name in options.wanted:
            _print_one(name, settings, options)
        return
    chosen = _chosen(settings, options)
    if options.is_simple:
        for name, value in sorted(chosen.items()):
            print(f"{name}={_secret(name, value, options)}")
        return
    if options.mode != "d":
        _print_header(options.file)
    tree = Block("", {}, {})
    for name, value in chosen.items():
        tree.put(name.split("/"), _secret(name, value, options))
    for line in tree.lines():
        print(line)


def _options(arguments: Sequence[str]) -> Options:
    try:
        found, words = getopt.gnu_getopt(list(arguments), "adnNPSxhc:f:")
    except getopt.GetoptError as error:
        raise Mistake(f"{error}\n{USAGE}") from error
    options = Options(file=os.path.join(default_directory(), "dovecot.conf"), wanted=tuple(words))
    for letter, value in found:
        match letter[1:]:
            case "a" | "d" | "n" | "N" as mode:
                options.mode = mode
            case "h":
                options.hides_names = True
            case "P":
                options.shows_secrets = True
            case "S":
                options.is_simple = True
            case "x":
                options.expands_files = True
            case "c":
                # The directory too, as our other commands have it.
                options.file = os.path.join(value, "dovecot.conf") if os.path.isdir(value) else value
            case _:
                kind, _, name = value.partition("=")
                if kind not in ("protocol", "service"):
                    raise Mistake(f"the filter {kind} is not supported here; known are protocol=NAME and service=NAME")
                options.protocol = name
    return options


def _read(path: str) -> dict[str, str]:
    problems: list[Problem] = []
    parser = Parser(problems, default=dovecot_default)
    try:
        parser.parse_text(decode(Path(path).read_bytes()), path)
    except OSError as error:
        raise Mistake(f"Fatal: open({path}) failed: {error.strerror}", EX_CONFIG) from error
    for name, setting in parser.settings.items():
        if known.find(DOVECOT, name) is None:
            last = name.rpartition("/")[2]
            hint = nearest(last, [one.rpartition("/")[2] for one in DOVECOT.names()])
            problems.append(Problem("error", setting.at, f"Unknown setting: {section_name(last)}", hint))
    for problem in problems:
        if problem.severity == "error":
            file, _, line = problem.at.rpartition(":")
            hint = f" ({problem.suggestion})" if problem.suggestion else ""
            raise Mistake(f"Fatal: Error in configuration file {file} line {line}: {problem.what}{hint}", EX_CONFIG)
    return {name: setting.value for name, setting in parser.settings.items()}


def _defaults() -> dict[str, str]:
    names = [name for name in DOVECOT.names() if "*" not in name and "/" not in name]
    return {name: dovecot_default(name) or "" for name in sorted(names)}


def _chosen(settings: Mapping[str, str], options: Options) -> dict[str, str]:
    match options.mode:
        case "d":
            return {name: _unquoted(value) for name, value in _defaults().items()}
        case "a":
            return {**{name: _unquoted(value) for name, value in _defaults().items()}, **settings}
        case "N":
            return dict(settings)
        case _:
            return {name: value for name, value in settings.items() if not _is_default(name, value)}


def _is_default(name: str, value: str) -> bool:
    if "/" in name:
        # What a block says is said there, unless it is what such a block has anyway.
        found = known.find(DOVECOT, name)
        is_filter = name.partition("/")[0] in FILTERS
        default = dovecot_default(found) if found is not None and "*" in found and not is_filter else None
        # Listeners have defaults of their own, by their names.
        return bool(default) and default == value and "_listener/" not in name and not name.endswith("/driver")
    # What differs from either's default is worth a line.
    return _unquoted(dovecot_default(name) or "") == value == _unquoted(known.dovecot_names().get(name, value))


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _secret(name: str, value: str, options: Options) -> str:
    if options.expands_files and value.startswith("<"):
        try:
            value = decode(Path(value[1:].strip()).read_bytes())
        except OSError as error:
            raise Mistake(f"Fatal: {name}: {value}: {error.strerror}", EX_CONFIG) from error
    if value and not options.shows_secrets and HIDDEN.match(name.rpartition("/")[2]):
        return "# hidden, use -P to show it"
    return value


def _print_one(name: str, settings: Mapping[str, str], options: Options) -> None:
    inside = {one: value for one, value in settings.items() if one == name or one.startswith(f"{name.rstrip('/')}/")}
    if name in inside or (not inside and known.find(DOVECOT, name.replace(" ", "/")) is not None):
        value = inside.get(name) or _unquoted(dovecot_default(name) or "")
        shown = _shown(_secret(name, value, options)) if not options.hides_names else _secret(name, value, options)
        print(shown if options.hides_names else f"{name} = {shown}")
        return
    if not inside:
        if any(one.partition("/")[0] == name for one in DOVECOT.names()):
            return  # a kind of block of which there is none
        hint = nearest(name, DOVECOT.names())
        raise Mistake(f"Unknown setting: {name}" + (f"; {hint}" if hint else ""))
    tree = Block("", {}, {})
    for one, value in inside.items():
        tree.put(one.split("/"), _secret(one, value, options))
    for line in tree.lines():
        print(line)


def _print_header(file: str) -> None:
    machine = platform.uname()
    print(f"# Posthouse {posthouse.__version__}: {file}")
    print(f"# OS: {machine.system} {machine.release} {machine.machine}")
    print(f"# Hostname: {socket.gethostname()}")


if __name__ == "__main__":
    main()
