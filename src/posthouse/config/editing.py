"""Changes to the text of main.cf and master.cf that leave comments, order and everything else as they are.

Texts in, texts out; `write` replaces a file so that a crash leaves the old one or the new one.
"""

import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from posthouse.config import mastercf
from posthouse.config.configuration import MasterEntry, Problem
from posthouse.config.maincf import CONTINUING

EditError = ValueError
"""What was asked for would not be a configuration any more; the text says why."""

FIELDS: Final = ("service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command")
"""Names of the columns, as postconf -F calls them."""
_COLUMNS: Final = (0, 11, 17, 25, 33, 41, 49, 57)


def set_main(text: str, values: Mapping[str, str]) -> str:
    """Give parameters a value where they stand (the last place, other places go away), new ones at the end."""
    for name, value in values.items():
        if "\n" in value or "\r" in value or "\0" in value:
            raise EditError(f"the value of {name} has more than one line")
    out: list[str] = []
    chunks = _chunks(text)
    last = {_name(chunk): number for number, chunk in enumerate(chunks) if _name(chunk)}
    for number, chunk in enumerate(chunks):
        name = _name(chunk)
        if name not in values:
            out.append(chunk)
        elif last[name] == number:
            out.append(f"{name} = {values[name]}".rstrip() + "\n" + _comments_of(chunk))
        else:
            out.append(_comments_of(chunk))
    result = _ended("".join(out))
    return result + "".join(f"{name} = {value}".rstrip() + "\n" for name, value in values.items() if name not in last)


def remove_main(text: str, names: Collection[str]) -> str:
    return "".join(_comments_of(chunk) if _name(chunk) in names else chunk for chunk in _chunks(text))


def comment_out_main(text: str, names: Collection[str]) -> str:
    return "".join(_commented(chunk) if _name(chunk) in names else chunk for chunk in _chunks(text))


def set_master(text: str, key: tuple[str, str], entry: MasterEntry) -> str:
    """Replace the entry (name, type), or add it at the end."""
    rendered = render(entry)
    out: list[str] = []
    is_written = False
    for chunk in _chunks(text):
        if _service(chunk) != key:
            out.append(chunk)
            continue
        out.append(_comments_of(chunk) if is_written else rendered + _comments_of(chunk))
        is_written = True
    return "".join(out) if is_written else _ended("".join(out)) + rendered


def remove_master(text: str, key: tuple[str, str]) -> str:
    return "".join(_comments_of(chunk) if _service(chunk) == key else chunk for chunk in _chunks(text))


def comment_out_master(text: str, key: tuple[str, str]) -> str:
    return "".join(_commented(chunk) if _service(chunk) == key else chunk for chunk in _chunks(text))


def entry_from(line: str) -> MasterEntry:
    """One service line, as on postconf's command line."""
    problems: list[Problem] = []
    entries = mastercf.parse(line.replace("\n", " "), "", problems)
    if problems or len(entries) != 1:
        raise EditError(problems[0].what if problems else f"not a service: {line!r}")
    return entries[0]


def columns(entry: MasterEntry) -> tuple[str, ...]:
    return (
        entry.endpoint,
        entry.kind,
        entry.private,
        entry.unprivileged,
        entry.chroot,
        entry.wakeup,
        entry.maxproc,
        " ".join((entry.command, *entry.arguments)),
    )


def option_words(entry: MasterEntry) -> list[str]:
    return [
        f"-o {{{name}={value}}}" if not value or len(value.split()) > 1 else f"-o {name}={value}"
        for name, value in entry.options.items()
    ]


def aligned(entry: MasterEntry) -> str:
    """The fixed columns as postconf -M aligns them, up to the command."""
    line = ""
    for goal, column in zip(_COLUMNS, (*columns(entry)[:7], entry.command), strict=True):
        if line:
            line += " " * max(1, goal - len(line))
        line += column
    return line


def render(entry: MasterEntry) -> str:
    """The entry as it stands in a file: options on lines of their own, then the command's arguments."""
    lines = [aligned(entry), *(f"    {word}" for word in option_words(entry))]
    if entry.arguments:
        words = (f"{{{word}}}" if len(word.split()) > 1 else word for word in entry.arguments)
        lines.append("    " + " ".join(words))
    return "\n".join(lines) + "\n"


def write(path: str, text: str) -> None:
    """Replace a file; mode and owner stay. The new text is on stable storage when this returns."""
    directory = str(Path(path).parent)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{Path(path).name}.", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
            file.flush()
            before = os.stat(path)
            os.fchmod(file.fileno(), before.st_mode & 0o7777)
            if (before.st_uid, before.st_gid) != (os.getuid(), os.getgid()) and os.geteuid() == 0:
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _chunks(text: str) -> list[str]:
    """The text cut before every logical line: each piece is comments and empty lines, or one logical line with its
    continuations and the comments between them."""
    chunks: list[str] = []
    is_setting = False
    pending: list[str] = []
    for line in _lines(text):
        visible = line.strip()
        if not visible or visible.startswith("#"):
            pending.append(line)
        elif line[0] in CONTINUING and is_setting:
            chunks[-1] += "".join(pending) + line
            pending = []
        else:
            chunks.extend(pending)
            pending = []
            chunks.append(line)
            is_setting = line[0] not in CONTINUING
    return chunks + pending


def _lines(text: str) -> list[str]:
    """With their ends. A form feed or U+2028 is no line end in these files."""
    *whole, last = text.split("\n")
    return [f"{line}\n" for line in whole] + ([last] if last else [])


def _logical(chunk: str) -> str:
    """The logical line of a piece, "" if it is comments or belongs to no line."""
    if not chunk.strip() or chunk.lstrip().startswith("#") or chunk[0] in CONTINUING:
        return ""
    return "".join(line.rstrip() for line in _lines(chunk) if not line.lstrip().startswith("#"))


def _name(chunk: str) -> str:
    name, equals, _ = _logical(chunk).partition("=")
    return name.strip() if equals else ""


def _service(chunk: str) -> tuple[str, str] | None:
    words = _logical(chunk).split(None, 2)
    return (words[0], words[1]) if len(words) == 3 else None


def _comments_of(chunk: str) -> str:
    """Comments between the continuations of a logical line outlive it."""
    return "".join(line for line in _lines(chunk) if line.lstrip().startswith("#"))


def _commented(chunk: str) -> str:
    return "".join(line if line.lstrip().startswith("#") or not line.strip() else f"#{line}" for line in _lines(chunk))


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"
