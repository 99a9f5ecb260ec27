"""The smtp process in this process, fed by a queue and tables that the test plays, over real sockets."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import posthouse.config.parameters  # noqa: F401 - fills the registry
from posthouse.config.configuration import Configuration, MasterEntry
from posthouse.config.parameter import DOVECOT, MAIN, Settings
from posthouse.core.address import Address
from posthouse.core.identifiers import QueueId
from posthouse.core.logline import LogLine
from posthouse.core.result import RecipientResult
from posthouse.runtime.clock import SystemClock
from posthouse.runtime.ipc import Connection, Responder, Server
from posthouse.runtime.process import Context
from posthouse.runtime.schema import (
    QUEUE_DELIVERY,
    TABLES,
    Deliver,
    Done,
    JobRecipient,
    Lookup,
    LookupResult,
    Outcomes,
    Record,
    Register,
)
from posthouse.services.smtp import SmtpProcess

CONTENT = b"From: s@x.test\r\nSubject: hello\r\n\r\n.dot\r\nbody\r\n"


def listening(run: Path, endpoint: str, server: str, client: str) -> socket.socket:
    directory = run / f"{server}.0"
    directory.mkdir(exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / f"{endpoint}.{client}"))
    listener.listen()
    return listener


class Desk:
    """Where the test sits: it gives jobs and reads results and log lines."""

    def __init__(self, run: Path, master: tuple[MasterEntry, ...], **values: str) -> None:
        # Nothing here may ask the machine's own resolver.
        values = {"compatibility_level": "3.6", "dns_servers": "127.0.0.1:1", "dns_timeout": "0.1", **values}
        main = Settings(MAIN, values, {"myhostname": "client.test"})
        self.lines: list[LogLine] = []
        self.tables: dict[tuple[str, str], str] = {}
        self._listeners = (
            listening(run, QUEUE_DELIVERY.name, "queue", "smtp"),
            listening(run, TABLES.name, "tables", "smtp"),
        )
        self.context = Context(
            process="smtp",
            worker=0,
            workers={},
            configuration=Configuration("", main, Settings(DOVECOT, {}, {}), master),
            listeners=(),
            ipc_listeners=(),
            run_directory=str(run),
            clock=SystemClock(),
            emit=self.lines.append,
        )
        self.connection: Connection
        self._number = 0

    def log(self) -> list[str]:
        return [f"{line.program}: {line.text()}" for line in self.lines]

    def _queue(self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None) -> None:
        assert isinstance(record, Register)
        assert record.agent == "smtp"
        self.connection = connection
        assert respond is not None
        respond(Done())

    def _tables(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        assert isinstance(record, Lookup)
        assert respond is not None
        respond(LookupResult(self.tables.get((record.maps, record.key))))

    def job(
        self,
        nexthop: str,
        *recipients: str,
        transport: str = "smtp",
        content: bytes = CONTENT,
        sender: str | None = "s@x.test",
        size: int = -1,
        **more: object,
    ) -> Deliver:
        now = self.context.clock.now()
        self._number += 1
        return Deliver(
            QueueId(f"4XYZ{self._number}"),
            transport,
            nexthop,
            None if sender is None else Address.split(sender),
            tuple(
                JobRecipient(index, 0, Address.split(address))
                for index, address in enumerate(recipients or ("r@y.test",))
            ),
            now - 2,
            now - 1,
            len(content) if size < 0 else size,
            content,
            **more,  # type: ignore[arg-type]  # whatever the test wants
        )

    async def outcomes(self, job: Deliver, descriptors: tuple[int, ...] = ()) -> Outcomes:
        outcomes = await asyncio.wait_for(self.connection.call(job, descriptors), 20)
        assert isinstance(outcomes, Outcomes)
        assert sorted(one.index for one in outcomes.results) == list(range(len(job.recipients)))
        return outcomes

    async def deliver(self, nexthop: str, *recipients: str, **more: object) -> list[RecipientResult]:
        outcomes = await self.outcomes(self.job(nexthop, *recipients, **more))  # type: ignore[arg-type]
        return sorted(outcomes.results, key=lambda one: one.index)

    def drive(self, test: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            servers = [
                Server(self._listeners[0], QUEUE_DELIVERY, self._queue),
                Server(self._listeners[1], TABLES, self._tables),
            ]
            self.process = SmtpProcess(self.context)
            self.process.before_jail()
            await self.process.start()
            try:
                await test()
            finally:
                await asyncio.wait_for(self.process.drain(), 5)
                await self.process.stop()
                for server in servers:
                    server.close()
                await asyncio.sleep(0.01)

        try:
            asyncio.run(run())
        finally:
            for listener in self._listeners:
                listener.close()


@pytest.fixture
def desk(tmp_path: Path) -> Callable[..., Desk]:
    return lambda *master, **values: Desk(tmp_path, master, **values)
