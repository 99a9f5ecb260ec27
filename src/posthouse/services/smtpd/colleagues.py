"""The processes that sessions ask: queue, tables, auth, control. Questions are answered by callback, without tasks.

Owns the source of queue ids: a lease belongs to one connection with the queue and is worth nothing after it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import msgspec

from posthouse.core.address import Address
from posthouse.core.identifiers import QueueIdSource
from posthouse.core.reply import LOCAL_ERROR, MailError, TempFail
from posthouse.runtime.ipc import Connection, Peer
from posthouse.runtime.process import Context
from posthouse.runtime.schema import (
    AUTH_LOGIN,
    CONTROL,
    QUEUE_INTAKE,
    TABLES,
    Lease,
    LeaseQueueIds,
    Lookup,
    LookupResult,
    Record,
    Request,
    Resolution,
)

Answer = Record | MailError
Callback = Callable[[Answer], None]
MAXIMAL_KEPT: Final = 20_000
"""Recipients remembered, about 8 MB; the memory starts anew when it is full."""
_RETRY_S: Final = 0.5


class Question:
    """One open question; `cancel` makes sure that the callback is never called."""

    __slots__ = ("_callback", "_future")

    def __init__(self, future: "asyncio.Future[Any]", callback: Callback) -> None:
        self._future = future
        self._callback: Callback | None = callback
        future.add_done_callback(self._done)

    def cancel(self) -> None:
        self._callback = None
        self._future.cancel()

    def _done(self, future: "asyncio.Future[Any]") -> None:
        callback = self._callback
        if future.cancelled():
            return
        error = future.exception()
        if callback is None:
            return
        self._callback = None
        if error is None:
            callback(future.result())
        else:
            callback(error if isinstance(error, MailError) else TempFail(LOCAL_ERROR))


class Colleagues:
    def __init__(self, context: Context, resolve_ttl_s: float) -> None:
        self._clock = context.clock
        self.tables = context.peer(TABLES)
        self.auth = context.peer(AUTH_LOGIN)
        self.control = context.peer(CONTROL)
        self.queue = context.peer(QUEUE_INTAKE, on_connect=self._lease)
        self.ids: QueueIdSource | None = None
        """None while the queue is away."""
        self._resolve_ttl_s = resolve_ttl_s
        self._recipients: dict[tuple[str, str], tuple[float, Resolution]] = {}
        self._session_number = 0
        self._keeper: asyncio.Task[None] | None = None
        self._leased = asyncio.Event()

    def start(self) -> None:
        self._keeper = asyncio.get_running_loop().create_task(self._keep_connected())

    async def wait_for_queue(self, limit_s: float) -> None:
        """Until there are queue ids, or for so long; later they come by themselves."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._leased.wait()

    def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        for peer in (self.tables, self.auth, self.control, self.queue):
            peer.close()

    def ask(self, peer: Peer, request: Request, callback: Callback) -> Question:
        connection = peer.connection
        if connection is not None:
            return Question(connection.call(request), callback)
        return Question(asyncio.get_running_loop().create_task(peer.call(request)), callback)

    def next_session_number(self) -> int:
        """For the auth process: unique within our connection."""
        self._session_number += 1
        return self._session_number

    async def is_in_list(self, parameter: str, key: str) -> bool:
        result = await self.tables.call(Lookup(parameter, key), expect=LookupResult)
        return result.value is not None

    # ── recipients that exist ──

    def recipient(self, address: Address) -> Resolution | None:
        now_s = self._clock.monotonic()
        found = self._recipients.get((address.local_part, address.domain))
        if found is not None and found[0] > now_s:
            return found[1]
        found = self._recipients.get(("", address.domain))
        if found is not None and found[0] > now_s and address.is_ordinary:
            resolution = found[1]
            return msgspec.structs.replace(resolution, recipient=address.with_domain(resolution.recipient.domain))
        return None

    def remember(self, address: Address, resolution: Resolution) -> None:
        """Only what exists: whoever is added now is accepted at once."""
        if self._resolve_ttl_s <= 0 or not resolution.known or resolution.error_reply is not None:
            return
        if len(self._recipients) >= MAXIMAL_KEPT:
            self._recipients.clear()
        expires_s = self._clock.monotonic() + self._resolve_ttl_s
        # No address has an empty local part: there stands the answer that is good for a whole domain.
        local_part = "" if resolution.whole_domain and address.is_ordinary else address.local_part
        self._recipients[local_part, address.domain] = (expires_s, resolution)

    # ── the queue ──

    async def _lease(self, connection: Connection) -> None:
        try:
            lease = await connection.call(LeaseQueueIds())
        except MailError:
            connection.close("no lease of queue ids")
            raise
        assert isinstance(lease, Lease)
        self.ids = QueueIdSource(lease.number)
        self._leased.set()
        connection.closed.add_done_callback(self._lost_queue)

    def _lost_queue(self, _: object) -> None:
        self.ids = None

    async def _keep_connected(self) -> None:
        while True:
            with contextlib.suppress(MailError):
                connection = await self.queue.connect()
                await asyncio.shield(connection.closed)
            await asyncio.sleep(_RETRY_S)
