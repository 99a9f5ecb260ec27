"""Tables that are made from a file and made again when it changes.

The file is looked at most once a second. A new version replaces the old one in one step, after it was read as a whole;
if it cannot be read, the old one stays in use and the log says so once per version.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Generic, TypeVar

from posthouse.tables.domains import domains_of
from posthouse.tables.source import MAXIMAL_SOURCE_OCTETS, Warn
from posthouse.tables.table import Table, TableError

Content = TypeVar("Content")
Stamp = tuple[int, int, int, int]

LOOK_INTERVAL_S = 1.0
"""How long a change may go unnoticed; a stat per lookup would cost more than the lookup."""


def stamp_of(path: str) -> Stamp:
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def read_source(path: str) -> str:
    """The whole file; octets that are not UTF-8 survive as surrogates."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as source:
        if os.fstat(source.fileno()).st_size > MAXIMAL_SOURCE_OCTETS:
            raise OSError(27, f"larger than {MAXIMAL_SOURCE_OCTETS} octets", path)
        return source.read()


class FileTable(Table, Generic[Content]):
    """Base: subclasses make the content from the path and answer from `content()`."""

    def __init__(self, name: str, path: str, now: Callable[[], float], warn: Warn) -> None:
        super().__init__(name)
        self.path = path
        self.warn = warn
        self._now = now
        self._stamp: Stamp | None = None
        self._content: Content | None = None
        self._look_again_at = float("-inf")
        self._complaint = ""

    def make(self, path: str) -> Content:
        """Read the file. OSError and ValueError mean: this version is no good."""
        raise NotImplementedError

    def discard(self, content: Content) -> None:
        """The old version is not used any more."""

    def content(self) -> Content:
        """The current version. Raises TableError if there never was a good one."""
        if self._now() >= self._look_again_at:
            self._look()
        if self._content is None:
            raise TableError(self._complaint)
        return self._content

    def _look(self) -> None:
        self._look_again_at = self._now() + LOOK_INTERVAL_S
        try:
            stamp = stamp_of(self.path)
            if stamp == self._stamp:
                return
            fresh = self.make(self.path)
        except (OSError, ValueError) as error:
            self._complain(error)
            return
        stale, self._content, self._stamp, self._complaint = self._content, fresh, stamp, ""
        if stale is not None:
            self.discard(stale)

    def _complain(self, error: Exception) -> None:
        words = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        complaint = f"open database {self.path}: {words}"
        if self._content is not None:
            complaint += "; the version read before stays in use"
        if complaint != self._complaint:
            self._complaint = complaint
            self.warn(f"{self.name}: {complaint}")

    def close(self) -> None:
        if self._content is not None:
            with contextlib.suppress(OSError):
                self.discard(self._content)
        self._content = None
        self._stamp = None
        self._look_again_at = float("-inf")


class LinesFileTable(FileTable[dict[str, str]]):
    """Literal keys from a text source: texthash, and hash and btree by way of the source beside the database.

    Berkeley DB files are not read (docs/adr): the source that postmap reads lies beside them and says the same. If it
    is younger than the database, postmap was forgotten, and the log says which one is used.
    """

    def __init__(
        self,
        name: str,
        path: str,
        now: Callable[[], float],
        warn: Warn,
        *,
        parse: Callable[[str, str, Warn], dict[str, str]],
        database: str = "",
    ) -> None:
        super().__init__(name, path, now, warn)
        self._parse = parse
        self._database = database
        self._domains: tuple[dict[str, str], frozenset[str]] = ({}, frozenset())

    def make(self, path: str) -> dict[str, str]:
        entries = self._parse(read_source(path), path, self.warn)
        if self._database:
            self._compare_ages(path)
        return entries

    def _compare_ages(self, path: str) -> None:
        """Postfix would still answer from the old data; we answer from the new."""
        try:
            behind = os.stat(path).st_mtime > os.stat(self._database).st_mtime
        except OSError:
            return
        if behind:
            self.warn(f"{self.name}: {self._database} is older than {path}: the text is used, as if postmap had run")

    def lookup(self, key: str) -> str | None:
        return self.content().get(key.lower())

    def knows_addresses_in(self, domain: str) -> bool:
        entries = self.content()
        if self._domains[0] is not entries:
            self._domains = (entries, domains_of(entries))
        return domain in self._domains[1]
