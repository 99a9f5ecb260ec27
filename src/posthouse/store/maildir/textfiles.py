"""Small text files that other programs read and write too, replaced as a whole: written beside, flushed, renamed."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final

from posthouse.runtime.crashpoints import reach
from posthouse.store.crashpoints import StoreStep
from posthouse.store.maildir.messagefile import write_all

STALE_LOCK_S: Final = 120.0
"""Dovecot takes over a dotlock of this age."""


def read_text(path: str, limit: int = 16 * 1024 * 1024) -> str | None:
    """None if there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read(limit).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def write_text(path: str, text: str, *, durable: bool = True) -> None:
    """Replace the file; it is never seen half written, and (`durable`) it is on disk when this returns."""
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, text.encode("utf-8", "surrogateescape"))
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    reach(StoreStep.TEXT_WRITTEN)
    os.rename(temporary, path)


@contextlib.contextmanager
def dotlock(path: str) -> Iterator[bool]:
    """`path`.lock as Dovecot makes it; False if another program holds it now (we never wait in the event loop)."""
    lock = path + ".lock"
    held = _take(lock)
    try:
        yield held
    finally:
        if held:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(lock)


def _take(lock: str) -> bool:
    for _ in range(2):
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            try:
                if time.time() - os.stat(lock).st_mtime < STALE_LOCK_S:
                    return False
                os.unlink(lock)
            except FileNotFoundError:
                continue
        else:
            return True
    return False
