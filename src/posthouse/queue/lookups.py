"""Questions to the tables process, answered from a small cache where possible.

Callers try `cached_*` first: on the hot path no message waits for anything, because the answers come with it (`learn`:
smtpd asked, tables sealed) or are those about another message. A miss calls back later, with the answer or with the
failure; questions that are open already are shared.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from posthouse.core.address import Address
from posthouse.core.clock import Clock
from posthouse.core.reply import MailError, Reply, TempFail
from posthouse.runtime.ipc import Connection, Peer
from posthouse.runtime.schema import (
    AliasExpansion,
    ExpandVirtual,
    Expansion,
    LookupAlias,
    Record,
    Request,
    Resolution,
    SealFor,
)
from posthouse.runtime.schema import Resolve as ResolveRequest
from posthouse.runtime.sealing import new_key, unseal

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

    tables: Peer
    """Set before anything is asked; `share_key` is for its `on_connect`."""

    def __init__(self, clock: Clock, *, keep_s: float, timeout_s: float) -> None:
        self._clock = clock
        self.keep_s = keep_s
        self.timeout_s = timeout_s
        self.by_sender = False
        """Does the route depend on the sender? Then answers are kept per sender."""
        self._cache: dict[_Key, tuple[float, Record]] = {}
        self._open: dict[_Key, list[Callback]] = {}
        self._loop = asyncio.get_running_loop()
        self._seal_key = new_key()

    async def share_key(self, connection: Connection) -> None:
        """tables is there (again): from now on it seals for us. If it does not, we ask."""
        with contextlib.suppress(MailError):
            await connection.call(SealFor(self._seal_key))

    def learn(self, recipients: Iterable[Address], sealed: Iterable[bytes]) -> None:
        """Answers that came with a message to these recipients."""
        if not self.keep_s or self.by_sender or not any(self.cached_route(one, None) is None for one in recipients):
            return
        now_s = self._clock.monotonic()
        for one in sealed:
            answer = unseal(self._seal_key, one)
            # Of a time that is still to come is none that was made since this machine was started.
            if answer is None or not 0 <= now_s - answer.at_s <= self.keep_s:
                continue
            expires_s = answer.at_s + self.keep_s
            targets: tuple[Address, ...] = (answer.recipient,)
            if answer.expansion is not None:
                targets = answer.expansion.recipients
                self._keep(self._key("v", answer.recipient, answer.expansion), expires_s, answer.expansion)
            for target, route in zip(targets, answer.routes, strict=False):
                if self._worth_keeping(route):
                    self._keep(self._key("r", target, route), expires_s, route)

    def clear(self) -> None:
        self._cache.clear()

    # ── the three questions ──

    def cached_expansion(self, address: Address) -> Expansion | None:
        found = self._cached(("v", address.local_part, address.domain))
        if found is None and address.is_ordinary and self._cached(("v", "", address.domain)) is not None:
            return Expansion((address,))
        return found if isinstance(found, Expansion) else None

    def expansion(self, address: Address, callback: Callback) -> None:
        self._ask(("v", address.local_part, address.domain), ExpandVirtual(address), callback)

    def cached_route(self, address: Address, sender: Address | None) -> Resolution | None:
        found = self._cached((self._route_kind(sender), address.local_part, address.domain))
        if found is None and address.is_ordinary:
            found = self._cached((self._route_kind(sender), "", address.domain))
            if isinstance(found, Resolution):
                return msgspec.structs.replace(found, recipient=address.with_domain(found.recipient.domain))
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
        connection = self.tables.connection
        if connection is not None:
            self._put(connection, key, request)
        else:
            task = self._loop.create_task(self.tables.connect())
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
            kind, local_part, domain = key
            kept = self._key(kind, Address(local_part, domain), answer)
            self._keep(kept, self._clock.monotonic() + self.keep_s, answer)
        for callback in self._open.pop(key, ()):
            callback(answer)

    @staticmethod
    def _key(kind: str, address: Address, answer: Record) -> _Key:
        """No address has an empty local part: there stands the answer that is good for a whole domain."""
        if isinstance(answer, Resolution | Expansion) and answer.whole_domain and address.is_ordinary:
            return kind, "", address.domain
        return kind, address.local_part, address.domain

    def _keep(self, key: _Key, expires_s: float, answer: Record) -> None:
        cache = self._cache
        if len(cache) >= MAX_CACHED:
            for old in list(cache)[: MAX_CACHED // 4]:
                del cache[old]
        cache[key] = (expires_s, answer)

    @staticmethod
    def _worth_keeping(answer: Record) -> bool:
        if isinstance(answer, Expansion):
            return len(answer.recipients) <= MAX_CACHED_RECIPIENTS
        # A user who is just being made must not stay unknown.
        return not (isinstance(answer, Resolution) and (not answer.known or answer.error_reply is not None))
