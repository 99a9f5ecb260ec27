"""One message put into a Maildir of a system user: new file, flushed, exactly once.

The unique part of the name is made of the delivery's own name, so that a second attempt after a crash finds what the
first one wrote, in new or in cur, whatever flags it got meanwhile. A file that is found counts only if its content is
whole (after a power cut the name can be there with nothing in it); else it is replaced.
"""

import os
import stat
from pathlib import Path
from typing import Final

from posthouse.delivery.crashpoints import LocalStep
from posthouse.delivery.mbox import LeftBehind, MailboxFull, NotAMailbox, local_lines
from posthouse.runtime.crashpoints import reach
from posthouse.store.maildir.messagefile import flush_file

_FOLDERS: Final = ("tmp", "new", "cur")


def unique_name(delivery: str, at_s: float, host: str) -> str:
    """time.delivery.host, with the characters that Maildir reserves written as Dovecot does."""
    safe = host.replace("/", "\\057").replace(":", "\\072")
    return f"{int(at_s)}.P{delivery}.{safe}"


def drop(
    path: str, head: bytes, content: bytes, unique: str, *, size_limit: int, owner: int, maybe_delivered: bool
) -> bool:
    """True when the message is on stable storage; False if it already was there. Raises OSError, NotAMailbox,
    MailboxFull; LeftBehind when it has its name and may not be stored."""
    text = head + local_lines(content)
    if size_limit and len(text) > size_limit:
        raise MailboxFull(path)
    maildir = Path(path)
    _make(maildir, owner)
    name = f"{unique},S={len(text)}"
    if maybe_delivered and _is_there(maildir, unique, text):
        return False
    temporary = maildir / "tmp" / name
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(text)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
        reach(LocalStep.DROP_WRITTEN)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    os.rename(temporary, maildir / "new" / name)
    reach(LocalStep.DROP_NAMED)
    try:
        _flush(maildir / "new")
    except OSError as error:
        raise LeftBehind(error.strerror or str(error)) from error
    reach(LocalStep.DROP_FLUSHED)
    return True


def _is_there(maildir: Path, unique: str, text: bytes) -> bool:
    for folder in ("new", "cur"):
        for name in os.listdir(maildir / folder):
            if not name.startswith(unique + ","):
                continue
            file = maildir / folder / name
            if file.stat().st_size == len(text) and file.read_bytes() == text:
                flush_file(str(file))
                _flush(maildir / folder)
                return True
            file.unlink()
    return False


def _make(maildir: Path, owner: int) -> None:
    """The directories, made as needed. A Maildir that belongs to somebody else is none of ours."""
    for directory in (maildir, *(maildir / name for name in _FOLDERS)):
        try:
            facts = os.lstat(directory)
        except FileNotFoundError:
            directory.mkdir(mode=0o700, parents=directory == maildir, exist_ok=True)
            _flush(directory.parent)
            facts = os.lstat(directory)
        if stat.S_ISLNK(facts.st_mode) and directory == maildir:
            facts = os.stat(directory)  # "Maildir" itself may point to another disk
        if not stat.S_ISDIR(facts.st_mode):
            raise NotAMailbox(f"{directory} is not a directory")
        if owner >= 0 and facts.st_uid != owner:
            raise NotAMailbox(f"{directory} is owned by uid {facts.st_uid}, not {owner}")


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
