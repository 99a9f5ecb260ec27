"""The customary locks of mailbox files: dotlock, fcntl, flock. Other programs (mutt, procmail) take them too."""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class LockFailed(Exception):
    """Somebody else has it, or it cannot be made; always a temporary failure."""


@dataclass(frozen=True, slots=True)
class LockRules:
    kinds: tuple[str, ...]
    attempts: int
    delay_s: float
    stale_s: float


@contextmanager
def dotlock(path: str, rules: LockRules) -> Iterator[None]:
    """`path`.lock, made whole and exclusively. A lock file older than `stale_s` was left by somebody who died."""
    lock = f"{path}.lock"
    for attempt in range(rules.attempts):
        if attempt:
            time.sleep(rules.delay_s)
        if _make(lock, rules.stale_s):
            break
    else:
        raise LockFailed(f"unable to create lock file {lock}: File exists")
    ours = os.stat(lock)
    try:
        yield
    finally:
        # Only our own: if we were stopped for longer than the stale time, the file may be somebody else's by now.
        try:
            now = os.stat(lock)
            if (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino):
                os.unlink(lock)
        except OSError:
            pass


def _make(lock: str, stale_s: float) -> bool:
    unique = f"{lock}.{socket.gethostname()}.{os.getpid()}"
    try:
        descriptor = os.open(unique, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
    except FileExistsError:
        os.unlink(unique)  # left by a process of ours that had this number
        return False
    except OSError as error:
        raise LockFailed(f"unable to create lock file {lock}: {error.strerror}") from error
    try:
        try:
            os.write(descriptor, b"%d\n" % os.getpid())
        finally:
            os.close(descriptor)
        # link(2) rather than O_EXCL on the name itself: it is atomic on every network file system too.
        os.link(unique, lock)
        return True
    except FileExistsError:
        _remove_stale(lock, stale_s)
        return False
    except OSError as error:
        raise LockFailed(f"unable to create lock file {lock}: {error.strerror}") from error
    finally:
        os.unlink(unique)


def _remove_stale(lock: str, stale_s: float) -> None:
    try:
        facts = os.lstat(lock)
        if time.time() - facts.st_mtime > stale_s:
            os.unlink(lock)
    except OSError:
        pass


def lock_descriptor(descriptor: int, rules: LockRules, path: str) -> None:
    """fcntl and flock on the open file, until it is closed."""
    for kind in rules.kinds:
        if kind not in ("fcntl", "flock"):
            continue
        take = fcntl.lockf if kind == "fcntl" else fcntl.flock
        for attempt in range(rules.attempts):
            if attempt:
                time.sleep(rules.delay_s)
            try:
                take(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise LockFailed(f"unable to lock {path}: {error.strerror}") from error
        else:
            raise LockFailed(f"unable to lock for exclusive access: {path}: Resource temporarily unavailable")
