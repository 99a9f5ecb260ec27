"""The file that sendmail leaves in the maildrop, and pickup takes: envelope lines, an empty line, the message.

Written by anybody, so read with suspicion; kept simple, so that sendmail starts fast (nothing but the standard library
is imported here). Names that begin with a dot are being written; the rename to a name without one is the sign that a
file is complete.
"""

import os
from dataclasses import dataclass, field
from typing import Final

MAGIC: Final = b"posthouse-maildrop 1\n"
MAX_ENVELOPE_OCTETS: Final = 4 * 1024 * 1024
MAX_ADDRESS: Final = 1000
_NOTIFY: Final = frozenset(("NEVER", "SUCCESS", "FAILURE", "DELAY"))


class BadDrop(ValueError):
    """Not a file that our sendmail wrote."""


@dataclass(slots=True)
class Drop:
    """`sender` "" is the null sender. `content` has the line ends of the program that wrote it."""

    sender: str
    recipients: list[str] = field(default_factory=list)
    notify: tuple[str, ...] = ()
    ret: str = ""
    envid: str = ""
    smtputf8: bool = False
    content: bytes = b""
    full_name: str = ""


def _one_line(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise BadDrop(f"control characters in {text!r}")
    # Surrogates stand for octets that are no UTF-8: no process could be told about them (RFC 6531 s3.3 wants UTF-8).
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadDrop(f"not UTF-8: {text!r}")
    return text


def format_drop(drop: Drop) -> bytes:
    """Raises BadDrop for an envelope that cannot be said."""
    lines = [f"from {_one_line(drop.sender)}"]
    lines += [f"to {_one_line(recipient)}" for recipient in drop.recipients]
    if drop.notify:
        lines.append(f"notify {','.join(drop.notify)}")
    if drop.ret:
        lines.append(f"ret {_one_line(drop.ret)}")
    if drop.envid:
        lines.append(f"envid {_one_line(drop.envid)}")
    if drop.smtputf8:
        lines.append("smtputf8")
    if drop.full_name:
        lines.append(f"fullname {_one_line(drop.full_name)}")
    return MAGIC + "\n".join(lines).encode() + b"\n\n" + drop.content


def parse_drop(data: bytes, *, recipient_limit: int = 10_000) -> Drop:
    """Raises BadDrop; never anything else."""
    if not data.startswith(MAGIC):
        raise BadDrop("not a maildrop file")
    end = data.find(b"\n\n", len(MAGIC) - 1, MAX_ENVELOPE_OCTETS)
    if end < 0:
        raise BadDrop("the envelope does not end")
    drop = Drop("", content=data[end + 2 :])
    has_sender = False
    for line in data[len(MAGIC) : end].decode("utf-8", "surrogateescape").split("\n"):
        word, _, value = _one_line(line).partition(" ")
        if len(value) > MAX_ADDRESS:
            raise BadDrop("an address that is too long")
        match word:
            case "from":
                drop.sender, has_sender = value, True
            case "to" if value:
                drop.recipients.append(value)
            case "notify" if (words := tuple(value.split(","))) and _NOTIFY.issuperset(words):
                drop.notify = words
            case "ret" if value in ("FULL", "HDRS"):
                drop.ret = value
            case "envid" if value:
                drop.envid = value[:100]
            case "fullname" if value:
                drop.full_name = value
            case "smtputf8":
                drop.smtputf8 = True
            case _:
                raise BadDrop(f"unknown line {word!r}")
        if len(drop.recipients) > recipient_limit:
            raise BadDrop("too many recipients")
    if not has_sender or not drop.recipients:
        raise BadDrop("sender or recipients are missing")
    return drop


def leave(directory: str, data: bytes) -> str:
    """Put a file into the maildrop for good; returns its name. Raises OSError."""
    name = os.urandom(12).hex()
    partial, final = f"{directory}/.{name}", f"{directory}/{name}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        # Whatever the caller's umask: the queue reads the file as its group.
        os.fchmod(descriptor, 0o640)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
        os.rename(partial, final)
        # The directory cannot be opened by the caller (mode 3733); flushing the renamed file commits its new name too.
        os.fsync(descriptor)
    except OSError:
        try:
            os.unlink(partial)
        except OSError:
            pass  # it has its final name already, or was never made
        raise
    finally:
        os.close(descriptor)
    return name
