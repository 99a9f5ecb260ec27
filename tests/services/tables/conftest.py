"""The tables process in this process: real sockets, a directory that the test holds."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import posthouse.config.parameters  # noqa: F401 - fills the registry
from posthouse.config.configuration import Configuration
from posthouse.config.parameter import DOVECOT, MAIN, Settings
from posthouse.core.logline import LogLine, Message
from posthouse.core.reply import LOCAL_ERROR, TempFail
from posthouse.runtime.clock import SystemClock
from posthouse.runtime.ipc import Connection, Peer, Responder, Server
from posthouse.runtime.process import Context, IpcListener, socket_path
from posthouse.runtime.schema import AUTH_DIRECTORY, TABLES, DirectoryValues, LookupDirectory, Record
from posthouse.services.tables import TablesProcess


def listening(run: Path, endpoint: str, server: str, client: str) -> socket.socket:
    directory = run / f"{server}.0"
    directory.mkdir(exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / f"{endpoint}.{client}"))
    listener.listen()
    return listener


class House:
    """`directory` maps (table, key) to values; `questions` counts what auth was asked."""

    def __init__(self, run: Path, **values: str) -> None:
        self.run = run
        main = Settings(MAIN, {"compatibility_level": "3.6", **values}, {"myhostname": "h.example"})
        self.lines: list[LogLine] = []
        self.directory: dict[tuple[str, str], tuple[str, ...]] = {}
        self.questions: list[tuple[str, str]] = []
        self.broken = False
        self._directory_listener = listening(run, AUTH_DIRECTORY.name, AUTH_DIRECTORY.server, "tables")
        self._listeners = {
            client: listening(run, TABLES.name, "tables", client) for client in ("smtpd", "smtp", "queue")
        }
        self.context = Context(
            process="tables",
            worker=0,
            workers={},
            configuration=Configuration("", main, Settings(DOVECOT, {}, {})),
            listeners=(),
            ipc_listeners=tuple(IpcListener(TABLES, client, sock) for client, sock in self._listeners.items()),
            run_directory=str(run),
            clock=SystemClock(),
            emit=self.lines.append,
        )

    def warnings(self) -> list[str]:
        return [line.words for line in self.lines if isinstance(line, Message)]

    def _auth(self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None) -> None:
        assert isinstance(record, LookupDirectory)
        assert respond is not None
        self.questions.append((record.table, record.key))
        if self.broken:
            raise TempFail(LOCAL_ERROR)
        respond(DirectoryValues(self.directory.get((record.table, record.key))))

    def peer(self, client: str = "smtpd") -> Peer:
        return Peer(socket_path(str(self.run), TABLES, client), TABLES)

    def drive(self, test: Callable[[Peer], Awaitable[None]], client: str = "smtpd") -> None:
        async def run() -> None:
            auth = Server(self._directory_listener, AUTH_DIRECTORY, self._auth)
            process = TablesProcess(self.context)
            process.before_jail()
            await process.start()
            peer = self.peer(client)
            try:
                await test(peer)
            finally:
                peer.close()
                await process.stop()
                auth.close()
                await asyncio.sleep(0)

        try:
            asyncio.run(run())
        finally:
            for listener in (self._directory_listener, *self._listeners.values()):
                listener.close()


@pytest.fixture
def house(tmp_path: Path) -> Callable[..., House]:
    return lambda **values: House(tmp_path, **values)
