"""The `maildirsize` file of Maildir++ quotas, shared with Courier, Dovecot, maildrop.

First line: the limit ("1000000S,1000C"); each further line: octets and messages added (or, negative, removed). Every
writer appends; whoever finds it too long, older than fifteen minutes while over the limit, or with another limit in
front counts anew. Counted are the files' own sizes (LF line ends), as everybody else counts them.
"""

import os
import time
from collections.abc import Iterable
from typing import Final

from posthouse.runtime.crashpoints import reach
from posthouse.store.crashpoints import StoreStep
from posthouse.store.interface import OverQuota
from posthouse.store.maildir.messagefile import write_all
from posthouse.store.maildir.names import file_size
from posthouse.store.maildir.textfiles import read_text

FILE: Final = "maildirsize"
MAX_FILE_OCTETS: Final = 5120
RECOUNT_AFTER_S: Final = 900.0


def parse_maildirsize(text: str) -> tuple[int, int, int] | None:
    """(limit in octets, octets used, messages); None if it has to be counted anew."""
    lines = text.split("\n")
    limit = 0
    for word in lines[0].strip().split(","):
        if word[-1:] == "S" and word[:-1].isdecimal() and word.isascii():
            limit = int(word[:-1][:18])
    octets = messages = 0
    for line in lines[1:]:
        words = line.split()
        if not words:
            continue
        try:
            if len(words) != 2 or max(map(len, words)) > 20:
                return None
            octets += int(words[0])
            messages += int(words[1])
        except ValueError:
            return None
    return (limit, octets, messages) if octets >= 0 and messages >= 0 else None


class MaildirSize:
    """Of one user; with `limit` 0 nothing is written, and counted only when somebody asks."""

    def __init__(self, root: str, limit: int) -> None:
        self.limit = limit
        self._root = root
        self._path = f"{root}/{FILE}"
        self._octets = 0
        self._stamp: tuple[int, int] | None = None

    def check(self, octets: int, folders: Iterable[str]) -> None:
        """Raises OverQuota if `octets` more are too many."""
        if (
            self.limit
            and self.used(folders) + octets > self.limit
            and self._counted_again(folders) + octets > self.limit
        ):
            raise OverQuota("Quota exceeded (mailbox for user is full)")

    def used(self, folders: Iterable[str]) -> int:
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return self._count(folders)
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            found = parse_maildirsize(read_text(self._path) or "") if status.st_size <= MAX_FILE_OCTETS else None
            if found is None or (self.limit and found[0] != self.limit):
                return self._count(folders)
            self._octets, self._stamp = found[1], stamp
        return self._octets

    def add(self, octets: int, messages: int) -> None:
        """What we added, or removed. A line of this size is written at once or not at all."""
        if not self.limit:
            return
        before = self._stamp
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # the next question counts
        try:
            line = f"{octets} {messages}\n".encode()
            untouched = before is not None and os.fstat(descriptor).st_size == before[1]
            write_all(descriptor, line)
            reach(StoreStep.SIZE_ADDED)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if untouched:
            self._octets += octets
            self._stamp = (status.st_mtime_ns, status.st_size)

    def recount(self, folders: Iterable[str]) -> None:
        self._count(folders)

    def _counted_again(self, folders: Iterable[str]) -> int:
        """Over the limit: perhaps other programs removed files without saying so."""
        try:
            if time.time() - os.stat(self._path).st_mtime < RECOUNT_AFTER_S:
                return self._octets
        except FileNotFoundError:
            pass
        return self._count(folders)

    def _count(self, folders: Iterable[str]) -> int:
        octets = messages = 0
        for folder in folders:
            for part in ("new", "cur"):
                try:
                    names = os.listdir(f"{folder}/{part}")
                except FileNotFoundError:
                    continue
                for name in names:
                    size = file_size(name)
                    if size is None:
                        try:
                            size = os.stat(f"{folder}/{part}/{name}").st_size
                        except FileNotFoundError:
                            continue
                    octets += size
                    messages += 1
        self._octets = octets
        if self.limit:
            self._write(octets, messages)
        return octets

    def _write(self, octets: int, messages: int) -> None:
        # Not flushed: it can always be counted again.
        temporary = f"{self._path}.{os.getpid()}.tmp"
        try:
            descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return  # no Maildir yet
        try:
            write_all(descriptor, f"{self.limit}S\n{octets} {messages}\n".encode())
        finally:
            os.close(descriptor)
        os.rename(temporary, self._path)
        status = os.stat(self._path)
        self._stamp = (status.st_mtime_ns, status.st_size)
