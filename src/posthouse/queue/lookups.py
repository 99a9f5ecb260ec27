"""Questions to the tables process, answered from a small cache where possible.

Callers try `cached_*` first: on the hot path (the same few hundred recipients again and again) no message waits for
anything. A miss calls back later, with the answer or with the failure; questions that are open already are shared.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from posthouse.core.address import Address
from posthouse.core.clock import Clock
from posthouse.core.reply import MailError, Reply, TempFail
from posthouse.runtime.ipc import Connection, Peer
from posthouse.runtime.schema import AliasExpansion, ExpandVirtual, Expansion, LookupAlias, Record, Request, Resolution
from posthouse.runtime.schema import Resolve as ResolveRequest

MAX_CACHED: Final = 20_000
"""Answers kept at most, of all kinds together; about ten megabytes."""
MAX_CACHED_RECIPIENTS: Final = 50
"""Longer expansions are asked for every time rather than kept."""
_LOOKUP_FAILED: Final = TempFail(Reply.of(451, "4.3.0", "Temporary lookup failure"))

Answer = Record | MailError
Callback = Callable[[Answer], None]
_Key = tuple[str, str, str]


class Lookups:
    """Owns the cache and the open questions."""

    def __init__(self, tables: Peer, clock: Clock, *, keep_s: float, timeout_s: float) -> None:
        self._tables = tables
        self._clock = clock
        self.keep_s = keep_s
        self.timeout_s = timeout_s
        self.by_sender = False
        """Does the route depend on the sender? Then answers are kept per sender."""
        self._cache: dict[_Key, tuple[float, Record]] = {}
        self._open: dict[_Key, list[Callback]] = {}
        self._loop = asyncio.get_running_loop()

    def clear(self) -> None:
        self._cache.clear()

    # ── the three questions ──

    def cached_expansion(self, address: Address) -> Expansion | None:
        found = self._cached(("v", address.local_part, address.domain))
        return found if isinstance(found, Expansion) else None

    def expansion(self, address: Address, callback: Callback) -> None:
        self._ask(("v", address.local_part, address.domain), ExpandVirtual(address), callback)

    def cached_route(self, address: Address, sender: Address | None) -> Resolution | None:
        found = self._cached((self._route_kind(sender), address.local_part, address.domain))
        return found if isinstance(found, Resolution) else None

    def route(self, address: Address, sender: Address | None, callback: Callback) -> None:
        key = (self._route_kind(sender), address.local_part, address.domain)
        self._ask(key, ResolveRequest(address, sender), callback)

    def cached_alias(self, name: str) -> AliasExpansion | None:
        found = self._cached(("a", name, ""))
        return found if isinstance(found, AliasExpansion) else None

    def alias(self, name: str, callback: Callback) -> None:
        self._ask(("a", name, ""), LookupAlias(name), callback)

    def _route_kind(self, sender: Address | None) -> str:
        return f"r{sender}" if self.by_sender else "r"

    # ── asking ──

    def _cached(self, key: _Key) -> Record | None:
        found = self._cache.get(key)
        if found is None:
            return None
        expires_s, answer = found
        if expires_s < self._clock.monotonic():
            del self._cache[key]
            return None
        return answer

    def _ask(self, key: _Key, request: Request, callback: Callback) -> None:
        waiting = self._open.get(key)
        if waiting is not None:
            waiting.append(callback)
            return
        self._open[key] = [callback]
        connection = self._tables.connection
        if connection is not None:
            self._put(connection, key, request)
        else:
            task = self._loop.create_task(self._tables.connect())
            task.add_done_callback(lambda done: self._connected(done, key, request))

    def _connected(self, task: "asyncio.Task[Connection]", key: _Key, request: Request) -> None:
        if task.cancelled() or task.exception() is not None:
            self._answer(key, _LOOKUP_FAILED)
        else:
            self._put(task.result(), key, request)

    def _put(self, connection: Connection, key: _Key, request: Request) -> None:
        question = connection.call(request)
        timer = self._loop.call_later(self.timeout_s, self._give_up, question)

        def answered(done: "asyncio.Future[Any]") -> None:
            timer.cancel()
            if done.cancelled():
                self._answer(key, _LOOKUP_FAILED)
                return
            error = done.exception()
            if error is None:
                self._answer(key, done.result())
            else:
                self._answer(key, error if isinstance(error, MailError) else _LOOKUP_FAILED)

        question.add_done_callback(answered)

    @staticmethod
    def _give_up(question: "asyncio.Future[Any]") -> None:
        question.cancel()

    def _answer(self, key: _Key, answer: Answer) -> None:
        if isinstance(answer, Record) and self.keep_s and self._worth_keeping(answer):
            cache = self._cache
            if len(cache) >= MAX_CACHED:
                for old in list(cache)[: MAX_CACHED // 4]:
                    del cache[old]
            cache[key] = (self._clock.monotonic() + self.keep_s, answer)
        for callback in self._open.pop(key, ()):
            callback(answer)

    @staticmethod
    def _worth_keeping(answer: Record) -> bool:
        if isinstance(answer, Expansion):
            return len(answer.recipients) <= MAX_CACHED_RECIPIENTS
        # A user who is just being made must not stay unknown.
        return not (isinstance(answer, Resolution) and (not answer.known or answer.error_reply is not None))
