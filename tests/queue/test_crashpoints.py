"""The queue process dies at every named step, starts again, and every message it took is where it belongs, once.

The mailbox of this test is a dictionary by delivery id that outlives the queue process, as a real mailbox does: told
that a delivery may have happened it looks first; told that it has not it believes that.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.core.identifiers import delivery_id
from posthouse.core.reply import TempFail
from posthouse.core.result import DeliveryStatus
from posthouse.queue.crashpoints import QueueStep
from posthouse.queue.maildrop import Drop, format_drop, leave
from posthouse.runtime.schema import (
    QUEUE_SHOW,
    AppendContent,
    ContentHandle,
    Deliver,
    Done,
    ListQueue,
    OpenContent,
    Outcomes,
    QueuePage,
    Submit,
)
from tests.queue.rig import Agent, Intake, Rig, outcome, sent

ROOT = Path(__file__).parents[2]
DEFERRED = outcome(DeliveryStatus.DEFERRED, "4.4.1", "not now")
BOUNCED = outcome(DeliveryStatus.BOUNCED, "5.1.1", "no such user")


class Stable:
    """Where victims come from."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.queue.victim"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, line: str) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate(timeout=10)


@pytest.fixture(scope="module")
def stable() -> Iterator[Stable]:
    stable = Stable()
    yield stable
    stable.close()


class Victim:
    def __init__(self, stable: Stable, directory: Path, crash_at: str = "") -> None:
        self._stable = stable
        self._output = directory / f"output-{crash_at.partition(':')[0]}"
        self._pid = stable.ask(f"start {directory} {self._output} {crash_at}")
        self.status = 0

    def said(self) -> str:
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def is_dead(self) -> bool:
        self.status = self.status or self._stable.ask(f"status {self._pid}")
        return self.status != 0

    async def ready(self) -> bool:
        for _ in range(1000):
            if "ready\n" in self.said():
                return True
            if self.is_dead():
                return False
            await asyncio.sleep(0.01)
        raise AssertionError(f"the queue does not start: {self.said()}")

    async def kill(self) -> None:
        if not self.is_dead():
            os.kill(self._pid, signal.SIGKILL)
        while not self.is_dead():
            await asyncio.sleep(0.005)


class World:
    """Everything around the queue process; lives on when that dies."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mailbox: dict[str, bytes] = {}
        self.twice: list[str] = []
        self.acknowledged: dict[str, str] = {}
        """Content marks by kind, of messages that were answered yes."""
        self.bounced: list[str] = []
        self.deferred: list[str] = []
        self.drops = 0
        self._agents: list[Agent] = []
        self._intake: Intake | None = None
        self.rig = Rig(directory)

    async def connect(self) -> None:
        box, out, local = [Agent(self.rig, kind) for kind in ("mailbox", "smtp", "local")]
        box.answer = lambda job: self._store(box, job)
        local.answer = sent
        out.answer = lambda job: BOUNCED(job) if job.nexthop == "bounce.test" else DEFERRED(job)
        self._agents = [box, out, local]
        for agent in self._agents:
            await agent.connect()
        self._intake = await self.rig.intake()

    def disconnect(self) -> None:
        for agent in self._agents:
            agent.close()
        if self._intake is not None:
            self._intake.peer.close()

    def _store(self, box: Agent, job: Deliver) -> Outcomes:
        for one in job.recipients:
            name = delivery_id(job.queue_id, one.index, one.action)
            if name in self.mailbox and not job.maybe_delivered:
                self.twice.append(name)
            self.mailbox[name] = box.contents[-1]
        return sent(job)

    async def work(self, round_number: int) -> None:
        """Mail of every kind; ends early when the queue dies."""
        intake = self._intake
        assert intake is not None
        for number in range(12):
            mark = f"{round_number}-{number}"
            await self._submit(intake, "box", mark, "alice@example.test")
            if number % 4 == 0:
                await self._submit(intake, "deferred", mark, "x@later.test")
            if number % 5 == 1:
                await self._submit(intake, "bounce", mark, "x@bounce.test")
            if number % 6 == 2:
                await self._submit_large(intake, mark)
            if number % 6 == 3:
                leave(str(self.directory / "spool/maildrop"), self._drop(mark))
        # Checkpoints, retired segments and moved messages come a little later.
        await asyncio.sleep(0.2)

    def _drop(self, mark: str) -> bytes:
        self.drops += 1
        return format_drop(
            Drop("joe@example.test", ["alice@example.test"], content=f"Subject: drop {mark};\n\n".encode())
        )

    async def _submit(self, intake: Intake, kind: str, mark: str, to: str) -> None:
        content = f"Subject: {kind} {mark};\r\n\r\n".encode() + b"z" * 8000 + b"\r\n"
        await intake.submit(to, content=content, sender="joe@example.test")
        self.acknowledged[f"{kind} {mark};"] = kind

    async def _submit_large(self, intake: Intake, mark: str) -> None:
        content = f"Subject: box large {mark};\r\n\r\n".encode() + b"z" * 100_000 + b"\r\n"
        handle = (await intake.peer.call(OpenContent(), expect=ContentHandle)).handle
        await intake.peer.call(AppendContent(handle, content), expect=Done)
        small = intake.message("alice@example.test", sender="joe@example.test")
        record = Submit(small.queue_id, small.envelope, small.arrival, len(content), b"", handle)
        await intake.peer.call(record, expect=Done)
        self.acknowledged[f"box large {mark};"] = "box"

    async def settled(self) -> list[str]:
        """Wait until only deferred mail is left; its queue ids."""
        peer = self.rig.peer(QUEUE_SHOW, "cli")
        for _ in range(400):
            entries = (await peer.call(ListQueue(), expect=QueuePage)).entries
            names = {entry.queue_name for entry in entries}
            if names <= {"deferred"} and not list((self.directory / "spool/maildrop").iterdir()):
                peer.close()
                return [entry.queue_id for entry in entries]
            await asyncio.sleep(0.025)
        raise AssertionError(f"the queue does not come to rest: {entries}")


@pytest.mark.parametrize("point", QueueStep, ids=lambda point: point.name)
def test_nothing_acknowledged_is_lost_or_delivered_twice(tmp_path: Path, stable: Stable, point: QueueStep) -> None:
    asyncio.run(asyncio.wait_for(_die_and_rise(tmp_path, stable, point), 60))


async def _die_and_rise(tmp_path: Path, stable: Stable, point: QueueStep) -> None:
    world = World(tmp_path)
    # Not the first time, so that there is something to lose.
    victim = Victim(stable, tmp_path, f"{point.name}:2")
    if await victim.ready():
        with contextlib.suppress(TempFail, OSError):
            await world.connect()
            for round_number in range(8):
                await world.work(round_number)
                if victim.is_dead():
                    break
        for _ in range(100):
            if victim.is_dead():
                break
            await asyncio.sleep(0.02)
    reached = victim.is_dead()
    await victim.kill()
    assert reached, f"{point.name} was never reached: {victim.said()}"
    assert victim.status == signal.SIGKILL
    world.disconnect()
    second = Victim(stable, tmp_path)
    assert await second.ready(), second.said()
    await world.connect()
    left = await world.settled()
    world.disconnect()
    said = second.said()
    await second.kill()
    assert "damaged" not in said
    assert not world.twice
    texts = [content.decode() for content in world.mailbox.values()]
    for mark, kind in world.acknowledged.items():
        if kind == "box":
            assert sum(f"Subject: {mark}" in text and "Undelivered" not in text for text in texts) == 1, mark
        elif kind == "bounce":
            assert sum(f"Subject: {mark}" in text and "Undelivered" in text for text in texts) == 1, mark
    assert sum("Subject: drop" in text for text in texts) == world.drops
    assert len(left) >= sum(kind == "deferred" for kind in world.acknowledged.values())
