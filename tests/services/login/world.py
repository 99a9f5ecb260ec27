"""LoginProcess and AuthProcess on real sockets, with a mailbox process that answers every session in one line.

The stand-in for mailbox is the receiving end of the contract: it redeems the ticket at auth, takes the descriptor and
talks to the client through it.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import cast

import uvloop

from posthouse.core.reply import Reply, TempFail
from posthouse.runtime import certificates
from posthouse.runtime.ipc import Connection, Responder, Server
from posthouse.runtime.process import Listener
from posthouse.runtime.schema import (
    AUTH_USERDB,
    MAILBOX_HANDOVER,
    Admitted,
    Handover,
    Record,
    Redeem,
    UserEntry,
)
from posthouse.services.login import LoginProcess
from tests.services.auth.world import AuthWorld, auth_running, context, listening

MAILBOX_PID = 4711


class EchoSession(asyncio.Protocol):
    """Answers the login, then echoes lines; "BYE" ends it, "BIG n" sends n octets."""

    def __init__(self, handover: Handover, entry: UserEntry, world: "LoginWorld") -> None:
        self._handover = handover
        self._entry = entry
        self._world = world
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.Transport, transport)
        self._world.sessions.add(self)
        tag = self._handover.tag
        transport.write(f"{tag} OK Logged in as {self._entry.user}\r\n".encode() if tag else b"+OK Logged in.\r\n")
        self.data_received(self._handover.unread)

    def data_received(self, data: bytes) -> None:
        self._world.received += len(data)
        if self._world.swallows:
            return
        self._buffer += data
        while b"\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\n")
            line = line.rstrip(b"\r")
            if line == b"BYE":
                self.transport.write(b"* BYE\r\n")
                self.transport.close()
            elif line.startswith(b"BIG "):
                self.transport.write(b"x" * int(line[4:]) + b"\r\n")
            else:
                self.transport.write(b"echo " + line + b"\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self._world.sessions.discard(self)


class LoginWorld:
    def __init__(self, auth: AuthWorld, directory: Path, dovecot: Mapping[str, str]) -> None:
        self.auth = auth
        self.path = directory
        self.lines = auth.lines
        self.sessions: set[EchoSession] = set()
        self.handovers: list[Handover] = []
        self.received = 0
        self.swallows = False
        self.refuse_with: Reply | None = None
        files = certificates.make(directory / "tls", ["localhost"])
        self.ca_file = str(files.authority)
        auth.configuration.dovecot = auth.configuration.dovecot.overlay(
            {"ssl_cert": f"<{files.certificate}", "ssl_key": f"<{files.key}", **dovecot}
        )
        self.ports: dict[str, int] = {}
        listeners = tuple(
            self._listener(service, name, implicit)
            for service, name, implicit in (
                ("imap-login", "imap", False),
                ("imap-login", "imaps", True),
                ("pop3-login", "pop3", False),
                ("pop3-login", "pop3s", True),
            )
        )
        self._handover_socket = listening(directory / "run", MAILBOX_HANDOVER, "login")
        self.process = LoginProcess(
            context("login", directory, auth.configuration, self.lines, listeners=listeners, clock=auth.clock)
        )

    def _listener(self, service: str, name: str, implicit_tls: bool) -> Listener:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # All of 127/8: a client of 127.0.0.2 does not come from the address it speaks to.
        sock.bind(("0.0.0.0", 0))
        sock.listen(1024)
        self.ports[name] = sock.getsockname()[1]
        return Listener(service, name, sock, self.auth.configuration.dovecot, implicit_tls)

    async def start(self) -> None:
        self._redeemer = self.auth.peer(AUTH_USERDB, "mailbox")
        self._server = Server(self._handover_socket.sock, MAILBOX_HANDOVER, self._on_handover)
        self.process.before_jail()
        await self.process.start()

    async def stop(self) -> None:
        await self.process.stop()
        self._server.close()
        self._handover_socket.sock.close()
        for session in list(self.sessions):
            session.transport.abort()

    def log(self) -> list[str]:
        return [f"{line.program}: {line.text()}" for line in self.lines]

    def tls_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)

    def _on_handover(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        assert isinstance(record, Handover)
        sock = socket.socket(fileno=descriptors[0])
        connection.respond_with(respond, self._take(record, sock))

    async def _take(self, handover: Handover, sock: socket.socket) -> Record:
        if self.refuse_with is not None:
            sock.close()
            raise TempFail(self.refuse_with)
        entry = await self._redeemer.call(Redeem(handover.ticket, handover.protocol), expect=UserEntry)
        self.handovers.append(handover)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: EchoSession(handover, entry, self), sock)
        return Admitted(MAILBOX_PID)


@contextlib.asynccontextmanager
async def login_running(
    directory: Path, dovecot: Mapping[str, str] | None = None, main: Mapping[str, str] | None = None
) -> AsyncIterator[LoginWorld]:
    async with auth_running(directory, main, dovecot) as auth:
        world = LoginWorld(auth, directory, dovecot or {})
        await world.start()
        try:
            yield world
        finally:
            await world.stop()


class Client:
    """A line at a time, with a limit on every wait."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> "Client":
        reader, writer = await asyncio.open_connection(
            host, port, ssl=context, server_hostname="localhost" if context else None, limit=1 << 23
        )
        return cls(reader, writer)

    async def line(self, limit_s: float = 5.0) -> bytes:
        async with asyncio.timeout(limit_s):
            return await self.reader.readline()

    async def rest(self, limit_s: float = 5.0) -> bytes:
        async with asyncio.timeout(limit_s):
            return await self.reader.read()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ask(self, data: bytes) -> bytes:
        self.send(data)
        return await self.line()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        await self.writer.start_tls(context, server_hostname="localhost")

    def close(self) -> None:
        self.writer.transport.abort()


def run(scene, path: Path, dovecot: Mapping[str, str] | None = None, main: Mapping[str, str] | None = None) -> None:
    # type: ignore[no-untyped-def]
    """Play `scene(world)` on uvloop, which is what production runs on."""

    async def play() -> None:
        async with asyncio.timeout(60), login_running(path, dovecot, main) as world:
            await scene(world)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
