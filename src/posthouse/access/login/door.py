"""What all connections of one login process share: settings per listener, peers, the limit on connections, the
sweep."""

import asyncio
import binascii
import ipaddress
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from posthouse.core.clock import Clock
from posthouse.core.logline import LogLine
from posthouse.core.routing_hash import worker_of
from posthouse.protocol.login import Channel, Ending, LoginCore, LoginOptions
from posthouse.runtime.ipc import Peer
from posthouse.runtime.schema import Request

if TYPE_CHECKING:
    from posthouse.access.login.connection import LoginConnection

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SWEEP_S: Final = 1.0
LINGER_S: Final = 10.0
"""How long a client that does not read may take for the last words we wrote, and for the end of TLS."""


@dataclass(frozen=True, slots=True)
class DoorListener:
    """One listener's settings, ready for use. `tls` is None when there is no certificate."""

    protocol: str
    """"imap" or "pop3"."""
    make_core: Callable[..., LoginCore]
    options: LoginOptions
    tls: ssl.SSLContext | None
    implicit_tls: bool
    trusted: tuple[Network, ...]
    channel_of: Callable[[ssl.SSLObject], Channel]
    timeout_s: float
    handshake_timeout_s: float
    input_limit: int
    relay_buffer: int

    def is_trusted(self, address: str) -> bool:
        if not self.trusted:
            return False
        client = ipaddress.ip_address(address)
        return any(client.version == network.version and client in network for network in self.trusted)


class Door:
    """`connections` are those before login, the oldest first; `relays` those whose TLS is ours to carry."""

    def __init__(
        self,
        *,
        clock: Clock,
        emit: Callable[[LogLine], None],
        report: Callable[[str, BaseException | None], None],
        auth: Peer,
        mailboxes: tuple[Peer, ...],
        max_connections: int,
        max_descriptors: int,
    ) -> None:
        self.clock = clock
        self.emit = emit
        self.report = report
        self._auth = auth
        self._mailboxes = mailboxes
        self._max_connections = max_connections
        self._max_descriptors = max_descriptors
        self.connections: OrderedDict[LoginConnection, None] = OrderedDict()
        self.relays: set[LoginConnection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._exchange = 0
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Event | None = None

    # ── connections ──

    def admit(self, connection: "LoginConnection") -> None:
        """As Dovecot does: at the limit the oldest that has not logged in makes room, because silence costs an attacker
        nothing, and the newest may be a real user."""
        self.connections[connection] = None
        waiting, relayed = len(self.connections), len(self.relays)
        # A relay has two descriptors. Running out of them would stop accepting altogether.
        if waiting + relayed > self._max_connections or waiting + 2 * relayed > self._max_descriptors:
            next(iter(self.connections)).end(Ending.FULL, "Connection queue full")

    def forget(self, connection: "LoginConnection") -> None:
        self.connections.pop(connection, None)
        self.relays.discard(connection)
        if self._emptied is not None and not self.connections and not self.relays:
            self._emptied.set()

    def begin_relay(self, connection: "LoginConnection") -> None:
        self.relays.add(connection)
        self.connections.pop(connection, None)

    async def emptied(self) -> None:
        """Until the last connection is gone."""
        if self.connections or self.relays:
            self._emptied = asyncio.Event()
            await self._emptied.wait()

    def start(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def stop(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self.connections):
            connection.end(Ending.SHUTDOWN, "Shutting down")
        for connection in list(self.relays):
            connection.end_relay()
        for task in list(self.tasks):
            task.cancel()

    def _sweep(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        now_s = self.clock.monotonic()
        # All limits of one process are the same in practice, so the oldest is due first.
        while self.connections:
            oldest = next(iter(self.connections))
            if oldest.deadline_s > now_s:
                return
            oldest.time_is_up()

    # ── peers ──

    def next_exchange(self) -> int:
        self._exchange += 1
        return self._exchange

    def ask_auth(self, request: Request) -> "asyncio.Future[Any]":
        return _ask(self._auth, request, ())

    def tell_auth(self, note: Any) -> None:
        self._auth.notify(note)

    def ask_mailbox(self, user: str, request: Request, descriptor: int) -> "asyncio.Future[Any]":
        mailbox = self._mailboxes[worker_of(user, len(self._mailboxes))]
        return _ask(mailbox, request, (descriptor,))

    def run(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.report("in a login connection", error)


def _ask(peer: Peer, request: Request, descriptors: tuple[int, ...]) -> "asyncio.Future[Any]":
    connection = peer.connection
    if connection is not None:
        return connection.call(request, descriptors)

    async def connect_and_ask() -> Any:
        return await (await peer.connect()).call(request, descriptors)

    return asyncio.ensure_future(connect_and_ask())


def session_id(now_s: float, remote: str, remote_port: int) -> str:
    """Unique for as long as an address and port cannot be used twice in a microsecond; in Dovecot's form."""
    moment = (int(now_s * 1_000_000) & 0xFFFFFFFFFFFF).to_bytes(6, "little")
    address = socket.inet_pton(socket.AF_INET6 if ":" in remote else socket.AF_INET, remote)
    return binascii.b2a_base64(moment + remote_port.to_bytes(2, "little") + address, newline=False).decode("ascii")
