"""One mailbox process inside the test: the test is queue, auth and login on real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import posthouse.config.parameters  # noqa: F401 - fills the registry
from posthouse.config.configuration import Configuration
from posthouse.config.parameter import DOVECOT, MAIN, Settings
from posthouse.core.address import Address
from posthouse.core.identifiers import DeliveryId, QueueId
from posthouse.core.logline import LogLine, Message
from posthouse.core.reply import LOCAL_ERROR, TempFail
from posthouse.core.result import RecipientResult
from posthouse.runtime.clock import SystemClock
from posthouse.runtime.ipc import Connection, Peer, Responder, Server
from posthouse.runtime.process import Context, IpcListener, socket_path
from posthouse.runtime.schema import (
    AUTH_USERDB,
    MAILBOX_HANDOVER,
    QUEUE_DELIVERY,
    Admitted,
    Deliver,
    Done,
    Handover,
    JobRecipient,
    LookupUser,
    NoSuchUser,
    Outcomes,
    Record,
    Redeem,
    Register,
    Retired,
    UserEntry,
    Written,
)
from posthouse.services.mailbox import MailboxProcess

CONTENT = b"From: ann@example.com\r\nTo: bob@example.net\r\nSubject: hello\r\n\r\nA line.\r\n"


def listening(run: Path, endpoint: str, server: str, client: str) -> socket.socket:
    directory = run / f"{server}.0"
    directory.mkdir(exist_ok=True)
    path = directory / f"{endpoint}.{client}"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


class House:
    """`users` are those auth knows; what the mailbox process says is collected."""

    def __init__(self, directory: Path, main: dict[str, str], dovecot: dict[str, str]) -> None:
        self.run = directory / "run"
        self.mail = directory / "vmail"
        self.run.mkdir(exist_ok=True)
        self.mail.mkdir(exist_ok=True)
        self.lines: list[LogLine] = []
        self.users: dict[str, UserEntry] = {}
        self.tickets: dict[bytes, str] = {}
        self.lookups: list[str] = []
        self.auth_down = False
        self.registered: list[Connection] = []
        self.has_registered = asyncio.Event()
        self.written: list[Written] = []
        self._handover = listening(self.run, MAILBOX_HANDOVER.name, "mailbox", "login")
        self._queue_socket = listening(self.run, QUEUE_DELIVERY.name, "queue", "mailbox")
        self._auth_socket = listening(self.run, AUTH_USERDB.name, "auth", "mailbox")
        self.context = Context(
            process="mailbox",
            worker=0,
            workers={"mailbox": 1},
            configuration=Configuration("", Settings(MAIN, main, {}), Settings(DOVECOT, dovecot, {})),
            listeners=(),
            ipc_listeners=(IpcListener(MAILBOX_HANDOVER, "login", self._handover),),
            run_directory=str(self.run),
            clock=SystemClock(),
            emit=self.lines.append,
        )
        self.add_user("bob@example.net")

    def add_user(self, user: str, quota: int = 0) -> Path:
        self.users[user] = UserEntry(user, 0, 0, str(self.mail / user), "maildir:~/Maildir", quota)
        return self.mail / user / "Maildir"

    def maildir(self, user: str = "bob@example.net") -> Path:
        return self.mail / user / "Maildir"

    def files(self, user: str = "bob@example.net") -> list[Path]:
        return sorted(path for part in ("new", "cur") for path in (self.maildir(user) / part).glob("*"))

    def log(self) -> list[str]:
        return [line.text() for line in self.lines]

    def complaints(self) -> list[str]:
        return [line.words for line in self.lines if isinstance(line, Message) and line.severity < 6]

    def _on_queue(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        if isinstance(record, Written):
            self.written.append(record)
            return
        assert isinstance(record, Register)
        assert respond is not None
        assert (record.agent, record.worker) == ("mailbox", 0)
        self.registered.append(connection)
        self.has_registered.set()
        respond(Done())

    def _on_auth(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        assert respond is not None
        if self.auth_down:
            raise TempFail(LOCAL_ERROR)
        if isinstance(record, LookupUser):
            self.lookups.append(record.user)
            respond(self.users.get(record.user, NoSuchUser()))
        else:
            assert isinstance(record, Redeem)
            respond(self.users.get(self.tickets.pop(record.ticket, ""), NoSuchUser()))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MailboxProcess]:
        queue = Server(self._queue_socket, QUEUE_DELIVERY, self._on_queue)
        auth = Server(self._auth_socket, AUTH_USERDB, self._on_auth)
        process = self.process = MailboxProcess(self.context)
        process.before_jail()
        await process.start()
        await asyncio.wait_for(self.has_registered.wait(), 5)
        try:
            yield process
        finally:
            await process.stop()
            queue.close()
            auth.close()
            await asyncio.sleep(0)

    def close(self) -> None:
        for listener in (self._handover, self._queue_socket, self._auth_socket):
            listener.close()

    # ── what queue and login do ──

    def job(self, *recipients: str, number: int = 1, **fields: object) -> Deliver:
        values: dict[str, object] = {
            "queue_id": QueueId(f"4bXyZ{number}abcdz0"),
            "transport": "virtual",
            "nexthop": "example.net",
            "sender": Address.split("ann@example.com"),
            "recipients": tuple(
                JobRecipient(index, 0, Address.split(one))
                for index, one in enumerate(recipients or ("bob@example.net",))
            ),
            "arrived_s": self.context.clock.now(),
            "active_s": self.context.clock.now(),
            "size": len(CONTENT),
            "content": CONTENT,
        }
        return Deliver(**{**values, **fields})  # type: ignore[arg-type]

    async def deliver(self, job: Deliver, descriptors: tuple[int, ...] = ()) -> tuple[RecipientResult, ...]:
        reply = await asyncio.wait_for(self.registered[-1].call(job, descriptors), 30)
        assert isinstance(reply, Outcomes)
        return reply.results

    def retire(self, *deliveries: str) -> None:
        self.registered[-1].notify(Retired(tuple(DeliveryId(one) for one in deliveries)))

    async def hand_over(
        self, protocol: str = "imap", user: str = "bob@example.net", tag: str = "a1", unread: bytes = b""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A session of this user; raises what login would be told."""
        self.tickets[b"ticket"] = user
        return await self.hand_over_ticket(b"ticket", protocol, tag, unread)

    async def hand_over_ticket(
        self, ticket: bytes, protocol: str = "imap", tag: str = "a1", unread: bytes = b""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        peer = Peer(socket_path(str(self.run), MAILBOX_HANDOVER, "login"), MAILBOX_HANDOVER)
        try:
            record = Handover(protocol, ticket, tag, "192.0.2.7:4711", "192.0.2.1:143", True, "Sess1", unread)
            await peer.call(record, expect=Admitted, descriptors=(theirs.fileno(),))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            peer.close()
        return await asyncio.open_connection(sock=ours)


Drive = Callable[[Callable[[House], Awaitable[None]]], House]


@pytest.fixture
def drive(tmp_path: Path) -> Callable[..., House]:
    """`drive(test, **settings)` runs `await test(house)` with a mailbox process; names with "/" or in `dovecot`."""

    def run(test: Callable[[House], Awaitable[None]], *, dovecot: dict[str, str] | None = None, **main: str) -> House:
        async def inside() -> House:
            house = House(tmp_path, main, dovecot or {})
            try:
                async with house.open():
                    await test(house)
            finally:
                house.close()
            return house

        return asyncio.run(inside())

    return run
