"""A queue process of its own: real journal, index and sockets in a temporary directory; the test plays the others.

`tables` and the delivery agents are connections that the test answers, on the same sockets and with the same records as
the real processes.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import posthouse.config.parameters  # noqa: F401  # fills the registry
from posthouse.config.configuration import Configuration, MasterEntry
from posthouse.config.parameter import DOVECOT, MAIN, Settings
from posthouse.core.address import Address
from posthouse.core.envelope import Arrival, Envelope, Recipient
from posthouse.core.identifiers import QueueId, QueueIdSource
from posthouse.core.logline import LogLine, Message
from posthouse.core.reply import Reply
from posthouse.core.result import DeliveryStatus, RecipientResult
from posthouse.runtime.clock import SystemClock
from posthouse.runtime.ipc import Connection, Peer, Responder, Server
from posthouse.runtime.process import Context, IpcListener, socket_path
from posthouse.runtime.schema import (
    QUEUE_ADMIN,
    QUEUE_DELIVERY,
    QUEUE_INTAKE,
    QUEUE_SHOW,
    TABLES,
    AliasExpansion,
    Deliver,
    Done,
    Endpoint,
    ExpandVirtual,
    Expansion,
    Failure,
    Lease,
    LeaseQueueIds,
    LookupAlias,
    Outcomes,
    Record,
    Register,
    Resolution,
    Resolve,
    Retired,
    SealFor,
    Submit,
)
from posthouse.services.queue import QueueProcess

HOST = "mx.example.test"
DOMAIN = "example.test"

Answer = Callable[[Deliver], Outcomes | None]


def sent(job: Deliver) -> Outcomes:
    return Outcomes(
        tuple(
            RecipientResult(one.index, DeliveryStatus.SENT, "2.0.0", "delivered", "virtual") for one in job.recipients
        )
    )


def outcome(status: DeliveryStatus, dsn: str, text: str, **more: Any) -> Answer:
    def answer(job: Deliver) -> Outcomes:
        return Outcomes(tuple(RecipientResult(one.index, status, dsn, text, **more) for one in job.recipients))

    return answer


class FakeTables:
    """Routes by domain: DOMAIN is virtual mailboxes, "local.test" local, the rest goes out by smtp."""

    def __init__(self) -> None:
        self.virtual: dict[str, tuple[str, ...]] = {}
        self.aliases: dict[str, AliasExpansion] = {}
        self.routes: dict[str, Resolution] = {}
        self.failing = False
        self.asked: list[Record] = []
        self.seal_key = b""

    def __call__(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        assert respond is not None
        if isinstance(record, SealFor):
            self.seal_key = record.key
            respond(Done())
            return
        self.asked.append(record)
        if self.failing:
            respond(Failure(Reply.of(451, "4.3.0", "tables are on fire")))
            return
        match record:
            case ExpandVirtual():
                targets = self.virtual.get(record.recipient.key, (str(record.recipient),))
                respond(Expansion(tuple(Address.split(one) for one in targets)))
            case LookupAlias():
                respond(self.aliases.get(record.name, AliasExpansion(None)))
            case Resolve():
                respond(self.route(record.recipient))
            case _:
                raise AssertionError(record)

    def route(self, address: Address) -> Resolution:
        if (found := self.routes.get(address.key)) is not None:
            return found
        if address.domain == DOMAIN:
            return Resolution("virtual_mailbox", "virtual", DOMAIN, address)
        if address.domain in ("local.test", HOST):
            return Resolution("local", "local", HOST, address)
        return Resolution("default", "smtp", address.domain, address)


class Agent:
    """A delivery process: `answer` says what becomes of a job; None keeps it open."""

    def __init__(self, rig: "Rig", kind: str, worker: int = 0) -> None:
        self.kind = kind
        self.worker = worker
        self.jobs: list[Deliver] = []
        self.retired: list[str] = []
        self.contents: list[bytes] = []
        self.answer: Answer = sent
        self.held: list[tuple[Deliver, Responder]] = []
        self._peer = Peer(
            socket_path(rig.run_directory, QUEUE_DELIVERY, kind), QUEUE_DELIVERY, self._handle, on_error=rig.problem
        )

    async def connect(self) -> "Agent":
        await self._peer.call(Register(self.kind, self.worker), expect=Done)
        return self

    def _handle(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        if isinstance(record, Retired):
            self.retired.extend(record.deliveries)
            return
        assert isinstance(record, Deliver)
        assert respond is not None
        content = record.content
        for descriptor in descriptors:
            with open(descriptor, "rb") as file:
                file.seek(0)
                content = file.read()
        assert len(content) == record.size
        self.contents.append(content)
        self.jobs.append(record)
        answer = self.answer(record)
        if answer is None:
            self.held.append((record, _once(respond)))
        else:
            respond(answer)

    def notify(self, note: Any) -> None:
        connection = self._peer.connection
        assert connection is not None
        connection.notify(note)

    def lose(self) -> None:
        """The process dies."""
        connection = self._peer.connection
        assert connection is not None
        connection.close("killed")

    def close(self) -> None:
        self._peer.close()


def _once(respond: Responder) -> Responder:
    answered: list[Record] = []

    def answer(reply: Record) -> None:
        if not answered:
            answered.append(reply)
            respond(reply)

    return answer


class Rig:
    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None, workers: int = 1) -> None:
        self.directory = directory
        self.spool = directory / "spool"
        self.run_directory = str(directory / "run")
        self.lines: list[LogLine] = []
        self.problems: list[str] = []
        self.tables = FakeTables()
        self.workers = workers
        self.clock = SystemClock()
        values = {
            "queue_directory": str(self.spool),
            "virtual_alias_maps": "static:x",
            "alias_maps": "static:x",
            "queue_checkpoint_interval": "0.1s",
            "myhostname": HOST,
            "myorigin": HOST,
            **(settings or {}),
        }
        self.settings = Settings(MAIN, values, {"mydomain": "test", "mynetworks": "127.0.0.0/8"})
        self.process: QueueProcess
        self._agents: list[Agent] = []
        self._peers: list[Peer] = []

    def configuration(self) -> Configuration:
        master = tuple(
            MasterEntry(name, "unix", "-", "-", "n", "-", "-", command, (), {}, "master.cf:1")
            for name, command in (("dead", "error"), ("slow", "smtp"))
        )
        return Configuration(str(self.directory), self.settings, Settings(DOVECOT, {}, {}), master)

    def problem(self, what: str, error: BaseException | None) -> None:
        self.problems.append(f"{what}: {error!r}")

    def emit(self, line: LogLine) -> None:
        self.lines.append(line)

    @property
    def log(self) -> list[str]:
        """All lines as "program: text"."""
        return [f"{line.service if isinstance(line, Message) else line.program}: {line.text()}" for line in self.lines]

    def listener(self, endpoint: Endpoint, client: str, worker: int = 0) -> IpcListener:
        path = Path(socket_path(self.run_directory, endpoint, client, worker))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(str(path))
        sock.listen(64)
        return IpcListener(endpoint, client, sock)

    async def start(self) -> "Rig":
        self._listeners = [
            self.listener(QUEUE_INTAKE, "smtpd"),
            self.listener(QUEUE_ADMIN, "cli"),
            self.listener(QUEUE_SHOW, "cli"),
            *(self.listener(QUEUE_DELIVERY, kind) for kind in ("mailbox", "smtp", "local")),
        ]
        tables = self.listener(TABLES, "queue")
        self._tables_server = Server(tables.sock, TABLES, self.tables, on_error=self.problem)
        self._tables_listener = tables
        context = Context(
            "queue",
            0,
            {"mailbox": self.workers, "smtp": 1, "local": 1, "queue": 1},
            self.configuration(),
            (),
            tuple(self._listeners),
            self.run_directory,
            self.clock,
            self.emit,
        )
        self.process = QueueProcess(context)
        self.process.before_jail()
        await self.process.start()
        return self

    async def stop(self) -> None:
        manager, messages = self.process.manager, self.process.ledger.state.messages
        for agent in self._agents:
            for job, respond in agent.held:
                respond(sent(job))
        await self.until(lambda: all(queue_id in messages for queue_id in manager.active))
        await self.process.stop()
        await self.close()

    async def crash(self) -> None:
        """As if the process had died: nothing more is written, connections break."""
        process = self.process
        process.manager.stop()
        for task in process._tasks:
            task.cancel()
        await asyncio.gather(*process._tasks, return_exceptions=True)
        process.pickup.close()
        process.ledger.batch_done = lambda: None
        for server in process._servers:
            server.close()
        process.tables.close()
        await process.ledger.journal.close()
        await process.ledger.index.close()
        process.files.close()
        await self.close()

    async def close(self) -> None:
        self._tables_server.close()
        for agent in self._agents:
            agent.close()
        for peer in self._peers:
            peer.close()
        for one in (*self._listeners, self._tables_listener):
            one.sock.close()
        await asyncio.sleep(0)

    async def agent(self, kind: str, worker: int = 0) -> Agent:
        agent = await Agent(self, kind, worker).connect()
        self._agents.append(agent)
        return agent

    def peer(self, endpoint: Endpoint, client: str) -> Peer:
        peer = Peer(socket_path(self.run_directory, endpoint, client), endpoint, on_error=self.problem)
        self._peers.append(peer)
        return peer

    async def intake(self) -> "Intake":
        peer = self.peer(QUEUE_INTAKE, "smtpd")
        lease = await peer.call(LeaseQueueIds(), expect=Lease)
        return Intake(peer, QueueIdSource(lease.number))

    async def until(self, condition: Callable[[], bool], seconds: float = 5.0) -> None:
        give_up = self.clock.monotonic() + seconds
        while not condition():
            assert self.clock.monotonic() < give_up, f"waited in vain; log: {self.log}; problems: {self.problems}"
            await asyncio.sleep(0.005)


class Intake:
    def __init__(self, peer: Peer, ids: QueueIdSource) -> None:
        self.peer = peer
        self.ids = ids

    def message(
        self,
        *to: str,
        sender: str | None = "sender@elsewhere.test",
        content: bytes = b"Subject: x\r\n\r\nhello\r\n",
        **more: Any,
    ) -> Submit:
        now_s = SystemClock.now()
        notify = more.pop("notify", ())
        queue_id: QueueId = more.pop("queue_id", None) or self.ids.next(now_s)
        envelope = Envelope(
            Address.split(sender) if sender else None,
            tuple(Recipient(Address.split(one), "", notify) for one in to),
            **more,
        )
        arrival = Arrival(now_s, "smtp", message_id=f"<{queue_id}@test>")
        return Submit(queue_id, envelope, arrival, len(content), content)

    async def submit(self, *to: str, **more: Any) -> QueueId:
        record = self.message(*to, **more)
        await self.peer.call(record, expect=Done)
        return record.queue_id


@contextlib.asynccontextmanager
async def running(directory: Path, settings: Mapping[str, str] | None = None, workers: int = 1) -> AsyncIterator[Rig]:
    rig = await Rig(directory, settings, workers).start()
    try:
        yield rig
    finally:
        await rig.stop()
