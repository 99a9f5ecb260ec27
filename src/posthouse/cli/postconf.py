"""NAME
    postconf - show and change the configuration
SYNOPSIS
    postconf [-dfhHnox] [-c DIR] [-C CLASS] [-o NAME=VALUE]... [NAME...]
    postconf [-c DIR] [-e] NAME=VALUE...
    postconf [-c DIR] -# | -X NAME...
    postconf [-c DIR] -M [-e | -# | -X] [SERVICE[/TYPE][=ENTRY]]...
    postconf [-c DIR] -F [-e] [SERVICE[/TYPE[/FIELD[=VALUE]]]]...
    postconf [-c DIR] -P [-e | -X] [SERVICE[/TYPE[/NAME[=VALUE]]]]...
    postconf -a | -A | -l | -m
DESCRIPTION
    Prints main.cf parameters as "name = value", sorted, as Postfix's command does: -n only those that are set, -d the
    defaults, -x with $name expanded, -h without names, -H without values, -f with long lines folded, -C of one class
    (builtin, user, all). NAME=VALUE and -e change main.cf, -# makes a parameter a comment, -X removes it. -M, -F and
    -P do the same for the entries of master.cf, their fields and their -o options. Files are replaced as a whole.
DIAGNOSTICS
    Parameters that nothing uses are named on standard error. "posthouse check" tells everything else.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from posthouse.config import editing, known
from posthouse.config.configuration import Configuration, MasterEntry
from posthouse.config.expansion import expand
from posthouse.config.loading import default_directory, load
from posthouse.config.parameter import MAIN, BadValue, Settings

FOLD_AT: Final = 80
_FLAGS: Final = "aAbdefFhHlmMnpPtvxX#"
_USAGE: Final = "usage: " + "\n       ".join(
    line.strip() for line in (__doc__ or "").split("SYNOPSIS\n")[1].split("DESCRIPTION")[0].strip().splitlines()
)
LOCK_TYPES: Final = ("fcntl", "dotlock")
SASL_SERVERS: Final = ("dovecot",)
SASL_CLIENTS: Final = ("cyrus",)


class Fatal(Exception):
    """Printed as "postconf: fatal: …", status 1."""


@dataclass(slots=True)
class Options:
    flags: set[str] = field(default_factory=set)
    directory: str = ""
    classes: str = "all"
    overrides: dict[str, str] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)

    def __contains__(self, flag: str) -> bool:
        return flag in self.flags


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    try:
        sys.exit(run(sys.argv[1:] if arguments is None else arguments))
    except Fatal as error:
        print(f"postconf: fatal: {error}", file=sys.stderr)
    except OSError as error:
        print(f"postconf: fatal: {error.filename or ''}: {error.strerror}", file=sys.stderr)
    sys.exit(1)


def run(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    lists = {"a": SASL_SERVERS, "A": SASL_CLIENTS, "l": LOCK_TYPES}
    for flag, names in lists.items():
        if flag in options:
            print(*names, sep="\n")
            return 0
    if "m" in options:
        from posthouse.tables.opening import TYPES

        print(*TYPES, sep="\n")
        return 0
    options.directory = options.directory or default_directory()
    if "M" in options:
        return _master_entries(options)
    if "F" in options:
        return _master_fields(options)
    if "P" in options:
        return _master_parameters(options)
    if options.flags & {"e", "#", "X"} or any("=" in one for one in options.arguments):
        return _edit_main(options)
    return _show_main(options)


def parse(arguments: Sequence[str]) -> Options:
    """getopt's rules: flags may stand together, "--" ends them; options may follow names, as with GNU getopt."""
    options = Options()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            options.arguments += rest
            break
        if not word.startswith("-") or word == "-":
            options.arguments.append(word)
            continue
        for at, letter in enumerate(word[1:], 1):
            if letter in "cCo":
                value = word[at + 1 :] or (rest.pop(0) if rest else "")
                if not value:
                    raise Fatal(f"option -{letter} needs a value\n{_USAGE}")
                _take(options, letter, value)
                break
            if letter not in _FLAGS:
                raise Fatal(f"invalid option -{letter}\n{_USAGE}")
            if letter in "bt":
                raise Fatal(f"-{letter} (bounce templates) is not supported yet")
            options.flags.add(letter)
    return options


def _take(options: Options, letter: str, value: str) -> None:
    if letter == "c":
        options.directory = value
    elif letter == "C":
        options.classes = value
    else:
        name, equals, text = value.partition("=")
        if not equals:
            raise Fatal(f'-o: "name=value" is expected, not {value!r}')
        options.overrides[name.strip()] = text.strip()


# ── main.cf ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _show_main(options: Options) -> int:
    if "d" in options and not Path(options.directory, "main.cf").exists():
        known.complete()
        settings = Settings(MAIN, {}, {})
        configuration = None
    else:
        configuration = load(options.directory, options.overrides)
        settings = configuration.main
        _need_files(configuration)
        if "d" in options:
            settings = Settings(MAIN, {}, settings.extra_defaults)
    names = options.arguments or sorted(_names(options, settings, configuration))
    for name in names:
        raw = settings.raw_text_or_none(name)
        if raw is None or ("n" in options and name not in settings.values):
            if raw is None:
                print(f"postconf: warning: {name}: unknown parameter", file=sys.stderr)
            continue
        _print_main(name, raw, settings, options)
    if configuration is not None and "d" not in options:
        for problem in configuration.problems:
            if "unused parameter" in problem.what:
                print(f"postconf: warning: {problem.at}: {problem.what}", file=sys.stderr)
    return 0


def _need_files(configuration: Configuration) -> None:
    path = str(Path(configuration.directory, "main.cf"))
    for problem in configuration.problems:
        if problem.at == path:
            raise Fatal(f"open {path}: {problem.what}")


def _names(options: Options, settings: Settings, configuration: Configuration | None) -> set[str]:
    builtin = set(settings.registry.names())
    own = set(settings.values) - builtin
    if configuration is not None:
        unused = {one.what for one in configuration.problems}
        own = {name for name in own if f"unused parameter: {name}={settings.values[name]}" not in unused}
    chosen = {"builtin": builtin, "user": own, "service": set(), "all": builtin | own}.get(options.classes)
    if chosen is None:
        raise Fatal(f"-C: one of builtin, service, user and all is expected, not {options.classes!r}")
    return chosen & set(settings.values) if "n" in options else chosen


def _print_main(name: str, raw: str, settings: Settings, options: Options) -> None:
    if "x" in options:
        try:
            raw = expand(raw, settings.raw_text_or_none)
        except BadValue as error:
            print(f"postconf: warning: {name}: {error}", file=sys.stderr)
    _print(name, raw, options)


def _print(name: str, value: str, options: Options) -> None:
    if "h" in options:
        line = value
    elif "H" in options:
        line = name
    else:
        line = f"{name} = {value}".rstrip()
    print(fold(line) if "f" in options else line)


def fold(line: str) -> str:
    """Long lines continue on lines that begin with white space, at most 80 columns where words allow it."""
    out: list[str] = []
    current = ""
    for word in line.split(" "):
        if current and len(current) + 1 + len(word) > FOLD_AT and current.strip():
            out.append(current)
            current = "    " + word
        else:
            current = f"{current} {word}" if current else word
    return "\n".join([*out, current])


def _edit_main(options: Options) -> int:
    if options.flags & {"#", "X"}:
        if any("=" in one for one in options.arguments):
            raise Fatal("-# and -X take names without values")
        change = editing.comment_out_main if "#" in options else editing.remove_main
        _change_file(options, "main.cf", partial(change, names=options.arguments))
        return 0
    values: dict[str, str] = {}
    for argument in options.arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name.strip() or len(name.split()) > 1:
            raise Fatal(f'"name=value" is expected, not {argument!r}')
        values[name.strip()] = value.strip()
    _change_file(options, "main.cf", partial(editing.set_main, values=values))
    return 0


def _change_file(options: Options, name: str, change: Callable[[str], str]) -> None:
    path = Path(options.directory, name)
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    try:
        changed = change(text)
    except editing.EditError as error:
        raise Fatal(str(error)) from error
    if changed != text:
        editing.write(str(path), changed)


# ── master.cf ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _entries(options: Options) -> tuple[MasterEntry, ...]:
    path = str(Path(options.directory, "master.cf"))
    configuration = load(options.directory)
    for problem in configuration.problems:
        if problem.severity == "error" and problem.at.startswith(path):
            print(f"postconf: warning: {problem}", file=sys.stderr)
    return configuration.master


def _matches(entry: MasterEntry, pattern: str) -> bool:
    """ "smtp", "smtp/inet", "*/inet"."""
    service, _, kind = pattern.rpartition("/") if _ends_with_kind(pattern) else (pattern, "", "*")
    return service in ("*", entry.endpoint) and kind in ("*", "", entry.kind)


def _ends_with_kind(pattern: str) -> bool:
    return "/" in pattern and pattern.rpartition("/")[2] in ("*", "inet", "unix", "unix-dgram", "fifo", "pass")


def _key(pattern: str) -> tuple[str, str]:
    service, slash, kind = pattern.rpartition("/")
    if not slash or not service or not kind:
        raise Fatal(f'"service/type" is expected, not {pattern!r}')
    return service, kind


def _master_entries(options: Options) -> int:
    if options.flags & {"#", "X"}:
        change = editing.comment_out_master if "#" in options else editing.remove_master
        for pattern in options.arguments:
            _change_file(options, "master.cf", partial(change, key=_key(pattern)))
        return 0
    if "e" in options or any("=" in one for one in options.arguments):
        for argument in options.arguments:
            pattern, equals, line = argument.partition("=")
            if not equals:
                raise Fatal(f'"service/type=entry" is expected, not {argument!r}')
            key, entry = _key(pattern.strip()), _entry_from(line.strip())
            if key != (entry.endpoint, entry.kind):
                raise Fatal(f"{key[0]}/{key[1]} and the entry's own {entry.endpoint}/{entry.kind} differ")
            _set_entry(options, key, entry)
        return 0
    for entry in _selected(options):
        if "f" in options:
            print(editing.render(entry), end="")
        else:
            print(" ".join([editing.aligned(entry), *editing.option_words(entry), *entry.arguments]))
    return 0


def _selected(options: Options) -> list[MasterEntry]:
    entries = _entries(options)
    if not options.arguments:
        return list(entries)
    return [entry for pattern in options.arguments for entry in entries if _matches(entry, pattern)]


def _entry_from(line: str) -> MasterEntry:
    try:
        return editing.entry_from(line)
    except editing.EditError as error:
        raise Fatal(str(error)) from error


def _set_entry(options: Options, key: tuple[str, str], entry: MasterEntry) -> None:
    _change_file(options, "master.cf", partial(editing.set_master, key=key, entry=entry))


def _split_path(path: str) -> tuple[str, str, str]:
    """service/type/name; the service may contain slashes of its own, names never do."""
    service, _, rest = path.rpartition("/")
    service, _, kind = service.rpartition("/")
    if not service or not kind or not rest:
        raise Fatal(f'"service/type/name" is expected, not {path!r}')
    return service, kind, rest


def _find(options: Options, service: str, kind: str) -> MasterEntry:
    for entry in _entries(options):
        if (entry.endpoint, entry.kind) == (service, kind):
            return entry
    raise Fatal(f"unmatched request: {service}/{kind}")


def _master_fields(options: Options) -> int:
    if "e" in options or any("=" in one for one in options.arguments):
        for argument in options.arguments:
            path, equals, value = argument.partition("=")
            service, kind, name = _split_path(path.strip())
            if not equals or name not in editing.FIELDS:
                raise Fatal(f"one of {', '.join(editing.FIELDS)} is expected, not {name!r}")
            entry = _find(options, service, kind)
            fields = dict(zip(editing.FIELDS, editing.columns(entry), strict=True)) | {name: value.strip()}
            # Through the parser again, so that no field gets a value that the file could not have.
            changed = msgspec.structs.replace(_entry_from(" ".join(fields.values())), options=entry.options)
            _set_entry(options, (service, kind), changed)
        return 0
    for entry in _entries(options):
        for name, value in zip(editing.FIELDS, editing.columns(entry), strict=True):
            path = f"{entry.endpoint}/{entry.kind}/{name}"
            if not options.arguments or any(_path_matches(entry, name, one) for one in options.arguments):
                _print(path, value, options)
    return 0


def _path_matches(entry: MasterEntry, name: str, pattern: str) -> bool:
    if _matches(entry, pattern):
        return True
    head, slash, last = pattern.rpartition("/")
    return bool(slash) and last in ("*", name) and _matches(entry, head)


def _master_parameters(options: Options) -> int:
    if options.flags & {"e", "X"} or any("=" in one for one in options.arguments):
        for argument in options.arguments:
            path, equals, value = argument.partition("=")
            service, kind, name = _split_path(path.strip())
            if bool(equals) == ("X" in options):
                raise Fatal(f"unexpected {argument!r}")
            entry = _find(options, service, kind)
            values = dict(entry.options)
            if equals:
                values[name] = value.strip()
            else:
                values.pop(name, None)
            _set_entry(options, (service, kind), msgspec.structs.replace(entry, options=values))
        return 0
    for entry in _entries(options):
        for name, value in sorted(entry.options.items()):
            if not options.arguments or any(_path_matches(entry, name, one) for one in options.arguments):
                _print(f"{entry.endpoint}/{entry.kind}/{name}", value, options)
    return 0


if __name__ == "__main__":
    main()
