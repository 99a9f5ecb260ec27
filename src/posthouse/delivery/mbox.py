"""One message appended to an mbox file: under the customary locks, flushed, exactly once.

Every message carries a header line `X-Posthouse-Delivery: <queue id>.<recipient>.<action>`, which names this delivery
for ever. After a crash the same delivery is looked for: found whole, it is done; found torn at the end of the file, the
torn piece is cut off and the message is written again. Nothing else in the file is ever changed. The search happens
only when an earlier attempt may have written something.
"""

import errno
import mmap
import os
import re
import stat
import time
from collections.abc import Callable
from typing import Final

from posthouse.delivery.crashpoints import LocalStep
from posthouse.delivery.locks import LockRules, dotlock, lock_descriptor
from posthouse.runtime.crashpoints import reach

DELIVERY_HEADER: Final = b"X-Posthouse-Delivery"
_FROM_LINE: Final = re.compile(rb"^From ", re.MULTILINE)
_TORN_TAIL_OCTETS: Final = 1 << 20
"""How far from the end the beginning of a torn piece without its header lines is looked for."""
_FORGERIES: Final = 100
"""Messages that merely quote our header line are passed over; more than this nobody quotes by chance."""


class NotAMailbox(Exception):
    """The path exists and is something that mail must not be written to."""


class MailboxFull(Exception):
    """The file would become larger than mailbox_size_limit."""


class LeftBehind(Exception):
    """Writing failed, and so did cutting off what was written; it may be a part of the message, or all of it."""


class NotWanted(Exception):
    """While the lock was waited for, whoever asked for the delivery went away; it will be asked for again."""


def from_line(sender: str, at_s: float) -> bytes:
    """Who and when, as mbox readers expect it; the null sender is MAILER-DAEMON. Line ends cannot occur in it."""
    shown = sender.encode("utf-8", "surrogateescape").replace(b"\n", b"?").replace(b"\r", b"?") or b"MAILER-DAEMON"
    return b"From %s  %s\n" % (shown, time.asctime(time.localtime(at_s)).encode("ascii"))


def local_lines(content: bytes) -> bytes:
    """CRLF to LF."""
    return content.replace(b"\r\n", b"\n")


def render(sender: str, head: bytes, delivery: str, content: bytes, at_s: float) -> tuple[bytes, bytes]:
    """The From_ line, and everything behind it with the empty line at the end. "From " at the beginning of a line
    becomes ">From "."""
    text = head + DELIVERY_HEADER + b": " + delivery.encode("ascii") + b"\n" + local_lines(content)
    if not text.endswith(b"\n"):
        text += b"\n"
    return from_line(sender, at_s), _FROM_LINE.sub(b">From ", text) + b"\n"


def append(
    path: str,
    message: tuple[bytes, bytes],
    delivery: str,
    rules: LockRules,
    *,
    size_limit: int,
    owner: int,
    maybe_delivered: bool,
    is_wanted: Callable[[], bool] = lambda: True,
) -> bool:
    """True when the message is on stable storage; False if it already was there. Raises OSError, LockFailed,
    NotAMailbox, MailboxFull, NotWanted (`is_wanted` is asked under the lock); then the file is as it was. Raises
    LeftBehind if it is not."""
    if "dotlock" not in rules.kinds:
        return _append_locked(path, message, delivery, rules, size_limit, owner, maybe_delivered, is_wanted)
    with dotlock(path, rules):
        return _append_locked(path, message, delivery, rules, size_limit, owner, maybe_delivered, is_wanted)


def _append_locked(
    path: str,
    message: tuple[bytes, bytes],
    delivery: str,
    rules: LockRules,
    size_limit: int,
    owner: int,
    maybe_delivered: bool,
    is_wanted: Callable[[], bool],
) -> bool:
    is_new = not os.path.lexists(path)
    descriptor = _open(path, owner)
    try:
        lock_descriptor(descriptor, rules, path)
        if not is_wanted():
            # Another attempt may have looked, found nothing and written, while this one waited.
            raise NotWanted(path)
        end = os.fstat(descriptor).st_size
        if maybe_delivered and end:
            found = _find(descriptor, end, message, delivery)
            if found is None:
                os.fsync(descriptor)  # written by the earlier attempt, flushed perhaps not
                return False
            if found < end:
                os.ftruncate(descriptor, found)
                end = found
        before = _separator(descriptor, end)
        if size_limit and end + len(before) + len(message[0]) + len(message[1]) > size_limit:
            raise MailboxFull(path)
        try:
            _write(descriptor, before + message[0] + message[1], end)
            reach(LocalStep.MBOX_WRITTEN)
            os.fsync(descriptor)
            reach(LocalStep.MBOX_FLUSHED)
        except OSError:
            # Half a message is worse than none: the file is as it was, and the sender's copy is still in the queue.
            _take_back(descriptor, end)
            raise
    finally:
        os.close(descriptor)
    if is_new:
        _flush_directory(path)
    return True


def _open(path: str, owner: int) -> int:
    try:
        before = os.lstat(path)
    except FileNotFoundError:
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            before = os.lstat(path)
    _refuse(path, before, owner)
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    after = os.fstat(descriptor)
    try:
        if (before.st_dev, before.st_ino) != (after.st_dev, after.st_ino):
            raise NotAMailbox(f"{path} was replaced while it was opened")
        _refuse(path, after, owner)
    except NotAMailbox:
        os.close(descriptor)
        raise
    return descriptor


def _refuse(path: str, facts: os.stat_result, owner: int) -> None:
    # A link planted in a writable spool would let one user's mail overwrite another file (the reasons of safe_open(3)).
    if not stat.S_ISREG(facts.st_mode):
        raise NotAMailbox(f"{path} is not a regular file")
    if facts.st_nlink != 1:
        raise NotAMailbox(f"{path} has {facts.st_nlink} links")
    if owner >= 0 and facts.st_uid != owner:
        raise NotAMailbox(f"{path} is owned by uid {facts.st_uid}, not {owner}")


def _find(descriptor: int, end: int, message: tuple[bytes, bytes], delivery: str) -> int | None:
    """None: the whole message is there. Otherwise where to write: the end, or the beginning of a torn piece of this
    very delivery at the end."""
    line, body = message
    with mmap.mmap(descriptor, end, prot=mmap.PROT_READ) as octets:
        marker = b"\n" + DELIVERY_HEADER + b": " + delivery.encode("ascii") + b"\n"
        at = end
        for _ in range(_FORGERIES):
            at = octets.rfind(marker, 0, at + len(marker) - 1)
            if at < 0:
                break
            start = _start_of_message(octets, at)
            behind = octets.find(b"\n", start) + 1
            there = octets[behind : min(end, behind + len(body))]
            if there == body:
                return None
            if behind + len(there) == end and _is_torn(there, body):
                return start
        return _torn_before_header(octets, end, line, body)


def _torn_before_header(octets: mmap.mmap, end: int, line: bytes, body: bytes) -> int:
    """The writer died before the header line was there: inside the From_ line, or in the lines behind it."""
    start = _start_of_message(octets, end)
    if end - start < _TORN_TAIL_OCTETS:
        tail = octets[start:end].rstrip(b"\0")
        who = line.split(b"  ", 1)[0] + b"  "
        _, newline, there = tail.partition(b"\n")
        if not newline and (who.startswith(tail) or tail.startswith(who)) and len(tail) <= len(line):
            return start
        if newline and tail.startswith(who) and _is_torn(there, body):
            return start
    # Not even "From " was whole.
    gap = octets.rfind(b"\n\n", max(0, end - _TORN_TAIL_OCTETS), end)
    if gap >= 0:
        rest = octets[gap + 2 : end].rstrip(b"\0")
        if gap + 2 < end and b"From ".startswith(rest):
            return gap + 2
    return end


def _is_torn(there: bytes, body: bytes) -> bool:
    """After a power cut the size of a file may be ahead of its content: what is missing reads as NUL."""
    written = there.rstrip(b"\0")
    return body.startswith(written) and len(written) < len(body)


def _start_of_message(octets: mmap.mmap, before: int) -> int:
    at = octets.rfind(b"\nFrom ", 0, before)
    return at + 1 if at >= 0 else 0


def _separator(descriptor: int, end: int) -> bytes:
    """What must stand between the last message and ours, if another program left it unfinished."""
    if end == 0:
        return b""
    tail = os.pread(descriptor, 2, max(0, end - 2))
    if tail.endswith(b"\n\n") or tail == b"\n":
        return b""
    return b"\n" if tail.endswith(b"\n") else b"\n\n"


def _write(descriptor: int, octets: bytes, at: int) -> None:
    view = memoryview(octets)
    while view:
        written = os.pwrite(descriptor, view, at)
        if not written:
            raise OSError(errno.EIO, "nothing was written")
        at += written
        view = view[written:]


def _take_back(descriptor: int, end: int) -> None:
    try:
        os.ftruncate(descriptor, end)
    except OSError as error:
        raise LeftBehind(error.strerror or str(error)) from error


def _flush_directory(path: str) -> None:
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
