"""The stores that are open in this process: one per Maildir, shared by all sessions and deliveries of its user."""

import asyncio
import time
from collections.abc import Callable, Iterator

from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.location import MailLocation
from posthouse.store.maildir.store import MaildirStore


class Stores:
    """A store is closed in a thread (it waits for the disk); until that is done it cannot be opened again."""

    def __init__(self, environment: Environment, idle_s: float) -> None:
        self.environment = environment
        self.idle_s = idle_s
        self._stores: dict[MailLocation, MaildirStore] = {}
        self._sessions: dict[MaildirStore, int] = {}
        self._closing: dict[MailLocation, asyncio.Future[None]] = {}

    def __iter__(self) -> Iterator[MaildirStore]:
        return iter(self._stores.values())

    def at_once(self, location: MailLocation, limit: int) -> MaildirStore | None:
        """None while it is being closed: then `opened` waits."""
        store = self._stores.get(location)
        if store is None:
            if location in self._closing:
                return None
            store = self._stores[location] = MaildirStore(location, self.environment, limit)
        store.size.limit = limit
        return store

    async def opened(self, location: MailLocation, limit: int) -> MaildirStore:
        while (store := self.at_once(location, limit)) is None:
            await asyncio.shield(self._closing[location])
        return store

    def enter(self, store: MaildirStore) -> None:
        """A session uses it now."""
        self._sessions[store] = self._sessions.get(store, 0) + 1

    def leave(self, store: MaildirStore) -> None:
        left = self._sessions.get(store, 0) - 1
        if left > 0:
            self._sessions[store] = left
        else:
            self._sessions.pop(store, None)

    def tidy(self) -> None:
        """Every half minute or so: give back what nobody has used for a while."""
        limit_s = time.monotonic() - self.idle_s
        for location, store in list(self._stores.items()):
            if store in self._sessions or not store.idle or store.used_s > limit_s:
                store.tidy(self.idle_s)
            else:
                self._close(location, store)

    def rest(self, unused_s: float) -> None:
        """Every second or so: close connections to indexes that were not used for so long."""
        for store in self._stores.values():
            store.rest(unused_s)

    def _close(self, location: MailLocation, store: MaildirStore) -> None:
        del self._stores[location]
        parts = store.close_in_parts()
        if not parts:
            return
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self.environment.volumes.executor, _in_order(parts))
        future: asyncio.Future[None] = loop.create_future()
        self._closing[location] = future

        def over(work: "asyncio.Future[None]") -> None:
            self._closing.pop(location, None)
            future.set_result(None)
            if not work.cancelled() and (error := work.exception()) is not None:
                self.environment.report(f"{location.root}: closing the index: {error}")

        done.add_done_callback(over)

    async def close(self) -> None:
        """All of them, at the end of the process."""
        for location, store in list(self._stores.items()):
            self._close(location, store)
        while self._closing:
            await asyncio.gather(*self._closing.values())


def _in_order(parts: list[Callable[[], None]]) -> Callable[[], None]:
    def run() -> None:
        for part in parts:
            part()

    return run
