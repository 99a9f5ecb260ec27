"""directory:domains, directory:accounts and directory:aliases: the embedded directory, asked of the auth process.

A found value may be used again for a moment (`directory_cache_time`): one message asks for the same recipient several
times. What was not found is asked again every time, so that a new account works at once. Questions for the same key
that are open at the same time share one answer; the IPC layer sends what is asked in one turn of the loop together.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from posthouse.core.reply import MailError
from posthouse.tables.table import BadTable, Table, TableError

TABLES: Final = ("domains", "accounts", "aliases")
MAXIMAL_CACHED: Final = 20_000
"""Entries per table; the cache starts anew when it is full, which costs one question per user."""

Ask = Callable[[str, str], "asyncio.Future[tuple[str, ...] | None]"]
"""Table and key to the values, or a MailError."""


class DirectoryTable(Table):
    waits = True

    def __init__(self, name: str, which: str, ask: Ask, now: Callable[[], float], cache_time_s: float) -> None:
        if which not in TABLES:
            raise BadTable(f'unknown table name: "{name}"; expected directory:{"|".join(TABLES)}')
        super().__init__(name)
        self._which = which
        self._ask = ask
        self._now = now
        self._cache_time_s = cache_time_s
        self._cache: dict[str, tuple[float, str]] = {}
        self._open: dict[str, asyncio.Future[tuple[str, ...] | None]] = {}

    def cached(self, key: str) -> str | None:
        entry = self._cache.get(key)
        return entry[1] if entry is not None and entry[0] > self._now() else None

    def _shared(self, which: str, key: str) -> "asyncio.Future[tuple[str, ...] | None]":
        question = self._open.get(key)
        if question is None:
            question = self._open[key] = self._ask(which, key)
            question.add_done_callback(lambda _: self._open.pop(key, None))
        return question

    async def find(self, key: str) -> str | None:
        key = key.lower()
        which = self._which
        if "@" not in key:
            # The name of a domain: lists such as virtual_mailbox_domains ask for it in the table of addresses too.
            if which == "aliases":
                return None
            which = "domains"
        elif which == "domains":
            return None
        if (known := self.cached(key)) is not None:
            return known
        try:
            values = await self._shared(which, key)
        except MailError as error:
            raise TableError(f"{self.name}: lookup error for {key!r}: {error}") from error
        if values is None:
            return None
        value = ", ".join(values)
        if self._cache_time_s > 0:
            if len(self._cache) >= MAXIMAL_CACHED:
                self._cache.clear()
            self._cache[key] = (self._now() + self._cache_time_s, value)
        return value
