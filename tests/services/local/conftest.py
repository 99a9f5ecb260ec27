"""The real local process over a real socket; the tests play the queue. As root deliveries go to a system user made for
the tests, otherwise to the user who runs them."""

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from posthouse.config import known
from posthouse.config.configuration import Configuration
from posthouse.config.parameter import DOVECOT, MAIN, Settings
from posthouse.core.address import Address
from posthouse.core.identifiers import QueueId
from posthouse.core.logline import LogLine
from posthouse.core.result import RecipientResult
from posthouse.runtime.clock import SystemClock
from posthouse.runtime.ipc import Connection, Responder, Server
from posthouse.runtime.process import Context, socket_path
from posthouse.runtime.schema import QUEUE_DELIVERY, Deliver, Done, JobRecipient, Outcomes, Record, Register
from posthouse.services.local import LocalProcess

CONTENT = b"Received: by mail.example.org\r\nSubject: test\r\n\r\nHello\r\nFrom here\r\n"
DOMAIN = "example.org"


class House:
    """One user, a spool, a home, and settings for the next run."""

    def __init__(self, base: Path, user: pwd.struct_passwd) -> None:
        self.user = user
        self.spool = base / "mail"
        self.run_directory = base / "run"
        self.home = Path(user.pw_dir)
        self.logged: list[LogLine] = []
        self.settings = {
            "mail_spool_directory": str(self.spool),
            "myhostname": "mail.example.org",
            "mydestination": DOMAIN,
            "recipient_delimiter": "+",
            "deliver_lock_attempts": "2",
            "deliver_lock_delay": "0.05s",
            "local_child_idle_time": "5s",
        }
        self.spool.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(self.spool, 0, user.pw_gid)
            self.spool.chmod(0o2775)
        (self.run_directory / "queue.0").mkdir(parents=True)

    @property
    def mailbox(self) -> Path:
        return self.spool / self.user.pw_name

    @property
    def forward(self) -> Path:
        return self.home / ".forward"

    def write_forward(self, text: str) -> None:
        self.forward.write_text(text)
        self.forward.chmod(0o644)
        os.chown(self.forward, self.user.pw_uid, self.user.pw_gid)

    def words(self) -> list[str]:
        return [line.text() for line in self.logged]

    def recipient(self, local_part: str | None = None, mailbox: str = "", index: int = 0) -> JobRecipient:
        return JobRecipient(index, 1, Address(local_part or self.user.pw_name, DOMAIN), mailbox=mailbox)

    def deliver(self, *recipients: JobRecipient, content: bytes = CONTENT, **more: object) -> list[RecipientResult]:
        """One job, start to end."""
        return self.deliver_jobs([self.job(*recipients, content=content, **more)])[0]

    def job(self, *recipients: JobRecipient, content: bytes = CONTENT, **more: object) -> Deliver:
        facts: dict[str, object] = {"sender": Address("sender", "example.com")}
        return Deliver(  # type: ignore[arg-type]  # the tests' own facts
            queue_id=QueueId("4bXyzTest"),
            transport="local",
            nexthop=DOMAIN,
            recipients=recipients or (self.recipient(),),
            arrived_s=1_700_000_000.0,
            active_s=1_700_000_000.5,
            size=len(content),
            content=content,
            **(facts | more),
        )

    def deliver_jobs(
        self, jobs: list[Deliver], *, as_file: bool = False, meanwhile: Callable[[int], None] | None = None
    ) -> list[list[RecipientResult]]:
        """`meanwhile` runs in a thread and gets the number of the process whose children deliver."""
        return asyncio.run(asyncio.wait_for(self._deliver(jobs, as_file, meanwhile), 60))

    async def _deliver(
        self, jobs: list[Deliver], as_file: bool, meanwhile: Callable[[int], None] | None
    ) -> list[list[RecipientResult]]:
        async with self.started() as (process, registered):
            connection = await registered.get()
            assert process._forker is not None
            side = asyncio.to_thread(meanwhile, process._forker.pid) if meanwhile else asyncio.sleep(0)
            answers, _ = await asyncio.gather(
                asyncio.gather(*(self._ask(connection, job, as_file) for job in jobs)), side
            )
        return answers

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[tuple[LocalProcess, asyncio.Queue[Connection]]]:
        """The process, and every connection on which it has registered."""
        known.complete()
        settings = Settings(MAIN, self.settings, {})
        context = Context(
            "local",
            0,
            {},
            Configuration("/", settings, Settings(DOVECOT, {}, {})),
            (),
            (),
            str(self.run_directory),
            SystemClock(),
            self.logged.append,
        )
        path = socket_path(str(self.run_directory), QUEUE_DELIVERY, "local")
        Path(path).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        registered: asyncio.Queue[Connection] = asyncio.Queue()

        def handle(connection: Connection, record: Record, _: list[int], respond: Responder | None) -> None:
            assert isinstance(record, Register)
            assert record.agent == "local"
            assert respond is not None
            respond(Done())
            registered.put_nowait(connection)

        server = Server(listener, QUEUE_DELIVERY, handle)
        process = LocalProcess(context)
        process.before_jail()
        try:
            await process.start()
            yield process, registered
        finally:
            await process.stop()
            for one in list(server.connections):
                one.close()
            asyncio.get_running_loop().remove_reader(listener.fileno())
            listener.close()
            assert process._forker is not None
            os.waitpid(process._forker.pid, 0)

    async def _ask(self, connection: Connection, job: Deliver, as_file: bool) -> list[RecipientResult]:
        import msgspec

        if as_file:
            with tempfile.TemporaryFile() as file:
                file.write(job.content)
                file.flush()
                reply = await connection.call(msgspec.structs.replace(job, content=b""), (file.fileno(),))
        else:
            reply = await connection.call(job)
        assert isinstance(reply, Outcomes)
        return list(reply.results)


@pytest.fixture(scope="session")
def system_user() -> Iterator[pwd.struct_passwd]:
    """Made for the tests and removed afterwards, as root; else the one who runs them."""
    if os.geteuid() != 0:
        yield pwd.getpwuid(os.geteuid())
        return
    name = f"ph-test-{os.getpid() % 100000}"
    base = Path(tempfile.mkdtemp(prefix="ph-home-"))
    base.chmod(0o755)
    home = base / name
    command = [
        "/usr/sbin/useradd",
        "--no-log-init",
        "--create-home",
        "--home-dir",
        str(home),
        "--shell",
        "/bin/sh",
        name,
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"cannot make a system user: {made.stderr.strip()}")
    try:
        yield pwd.getpwnam(name)
    finally:
        subprocess.run(["/usr/sbin/userdel", name], capture_output=True, check=False)
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def house(system_user: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    base = Path(tempfile.mkdtemp(prefix="ph-local-"))
    base.chmod(0o755)
    home = base / "home"
    home.mkdir(mode=0o755)
    os.chown(home, system_user.pw_uid, system_user.pw_gid)
    # The real entry, with a home of this test's own.
    user = pwd.struct_passwd((*system_user[:5], str(home), system_user[6]))
    real = pwd.getpwnam
    monkeypatch.setattr(pwd, "getpwnam", lambda name: user if name == user.pw_name else real(name))
    yield House(base, user)
    shutil.rmtree(base)
