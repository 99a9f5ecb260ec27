"""The language of master.cf (master(5)): one service per logical line.

    service type private unprivileged chroot wakeup maxproc command [arguments]

Arguments begin with daemon options: `-o name=value`, `-o { name = value }`, `-v`, `-D`; what follows belongs to the
command itself (pipe's flags=, user=, argv=). Text in braces is one argument.
"""

import re
from typing import Final

from posthouse.config.configuration import MasterEntry, Problem
from posthouse.config.maincf import LogicalLine, logical_lines

KINDS: Final = ("inet", "unix", "unix-dgram", "fifo", "pass")
_FLAG: Final = re.compile(r"[-yn]\Z")
_WAKEUP: Final = re.compile(r"(-|[0-9]{1,9}\??)\Z")
_MAXPROC: Final = re.compile(r"(-|[0-9]{1,9})\Z")
_COLUMNS: Final = ("service", "type", "private", "unprivileged", "chroot", "wakeup", "maxproc", "command")


def parse(text: str, file: str, problems: list[Problem]) -> tuple[MasterEntry, ...]:
    """All entries in order; the last of two with the same name and type wins, as in Postfix."""
    entries: dict[tuple[str, str], MasterEntry] = {}
    for line in logical_lines(text, file, problems):
        entry = _entry(line, problems)
        if entry is None:
            continue
        earlier = entries.pop((entry.endpoint, entry.kind), None)
        if earlier is not None:
            problems.append(
                Problem(
                    "warning",
                    entry.at,
                    f"overriding the earlier entry {entry.endpoint}/{entry.kind} of {earlier.at}",
                    "remove one of the two",
                )
            )
        entries[entry.endpoint, entry.kind] = entry
    return tuple(entries.values())


def split_words(text: str) -> list[tuple[str, bool]]:
    """White space separates; {text in braces} is one word, given without its outer braces and marked True."""
    words: list[tuple[str, bool]] = []
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return words
        if text[at] == "{":
            depth, end = 0, at
            while end < len(text):
                depth += (text[end] == "{") - (text[end] == "}")
                if depth == 0:
                    break
                end += 1
            if depth:
                raise ValueError(f"'{{' without '}}' in {text[at:]!r}")
            words.append((text[at + 1 : end].strip(), True))
            at = end + 1
            if at < len(text) and not text[at].isspace():
                raise ValueError(f"white space is expected after '}}' in {text[end:]!r}")
            continue
        end = at
        while end < len(text) and not text[end].isspace():
            end += 1
        words.append((text[at:end], False))
        at = end


def _entry(line: LogicalLine, problems: list[Problem]) -> MasterEntry | None:
    def wrong(what: str, suggestion: str = "") -> None:
        problems.append(Problem("error", line.at, what, suggestion))

    fields = line.text.split(None, 8)
    if len(fields) < 8:
        missing = _COLUMNS[len(fields)]
        wrong(
            f"the {missing} column is missing: {line.text.strip()[:60]!r}",
            'write "service type private unpriv chroot wakeup maxproc command"',
        )
        return None
    endpoint, kind, private, unprivileged, chroot, wakeup, maxproc, command = fields[:8]
    before = len(problems)
    if kind not in KINDS:
        wrong(f"{endpoint}: {kind!r} is no service type", f"one of {', '.join(KINDS)}")
    for name, value in (("private", private), ("unprivileged", unprivileged), ("chroot", chroot)):
        if not _FLAG.match(value):
            wrong(f"{endpoint}: the {name} column is {value!r}", '"y", "n" or "-"')
    if not _WAKEUP.match(wakeup):
        wrong(f"{endpoint}: the wakeup column is {wakeup!r}", 'a number of seconds, "0" or "-", with or without "?"')
    if not _MAXPROC.match(maxproc):
        wrong(f"{endpoint}: the maxproc column is {maxproc!r}", 'a number or "-"')
    options: dict[str, str] = {}
    arguments: tuple[str, ...] = ()
    try:
        arguments = _arguments(fields[8] if len(fields) > 8 else "", options)
    except ValueError as error:
        wrong(f"{endpoint}: {error}", "write -o name=value, or -o { name = value } if there is white space")
    if len(problems) > before:
        return None
    return MasterEntry(
        endpoint, kind, private, unprivileged, chroot, wakeup, maxproc, command, arguments, options, line.at
    )


def _arguments(text: str, options: dict[str, str]) -> tuple[str, ...]:
    """The command's own arguments; -o settings go to `options`. ValueError says what is wrong."""
    words = split_words(text)
    rest: list[str] = []
    at = 0
    while at < len(words):
        word, is_braced = words[at]
        at += 1
        if is_braced or not word.startswith("-") or rest:
            rest.append(word)
            continue
        if not word.startswith("-o"):
            rest.append(word) if word in ("-", "--") else _daemon_option(word)
            continue
        if word != "-o":
            setting = word[2:]
        elif at < len(words):
            setting, is_braced = words[at]
            at += 1
        else:
            raise ValueError("nothing follows -o")
        name, equals, value = setting.partition("=")
        name = name.strip()
        if not equals or not name or len(name.split()) > 1:
            raise ValueError(f"-o {setting}: name=value is expected")
        if not value and not is_braced and at < len(words) and words[at][0] and not words[at][0].startswith("-"):
            raise ValueError(f"-o {setting}: white space before {words[at][0]!r}")
        options[name] = value.strip()
    return tuple(rest)


def _daemon_option(word: str) -> None:
    """-v (verbose), -D (debugger) and -d are Postfix's for every daemon; they change nothing here."""
    if not re.fullmatch(r"-[vDdlnuScizstV]+", word):
        raise ValueError(f"the option {word} is not known")
