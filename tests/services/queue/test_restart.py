"""Stops, crashes and what is there afterwards."""

import asyncio
import os
import time
from pathlib import Path

from posthouse.core.result import DeliveryStatus
from posthouse.queue.index import Index
from posthouse.queue.segment import segment_numbers
from posthouse.runtime.clock import SystemClock
from posthouse.runtime.schema import (
    QUEUE_ADMIN,
    AppendContent,
    Changed,
    ChangeMessages,
    ContentHandle,
    Done,
    Flush,
    OpenContent,
)
from tests.queue.asynchronous import asynchronous
from tests.queue.rig import Rig, outcome, running, sent

DEFERRED = outcome(DeliveryStatus.DEFERRED, "4.4.1", "not now")


@asynchronous
async def test_after_a_crash_everything_is_delivered_with_care_and_nothing_twice(tmp_path: Path) -> None:
    rig = await Rig(tmp_path).start()
    box = await rig.agent("mailbox")
    intake = await rig.intake()
    done = await intake.submit("done@example.test")
    await rig.until(lambda: bool(box.retired))
    box.answer = lambda job: None
    ids = {await intake.submit(f"u{number}@example.test") for number in range(5)}
    await rig.until(lambda: len(box.jobs) == 6)
    await rig.crash()
    async with running(tmp_path) as again:
        box = await again.agent("mailbox")
        await again.until(lambda: sum("removed" in line for line in again.log) == 5)
        assert {job.queue_id for job in box.jobs} == ids
        assert all(job.maybe_delivered for job in box.jobs)
        assert done not in ids


@asynchronous
async def test_after_a_stop_in_order_nobody_needs_to_look_first(tmp_path: Path) -> None:
    rig = await Rig(tmp_path).start()
    out = await rig.agent("smtp")
    out.answer = DEFERRED
    intake = await rig.intake()
    queue_id = await intake.submit("x@one.test")
    await rig.until(lambda: not rig.process.ledger.state.messages)
    await rig.stop()
    async with running(tmp_path, {"queue_run_delay": "0.1s"}) as again:
        out = await again.agent("smtp")
        await (await again.intake()).peer.call(Flush())
        await again.until(lambda: f"qmgr: {queue_id}: removed" in again.log)
        assert not out.jobs[0].maybe_delivered


@asynchronous
async def test_a_hold_survives_a_crash_even_if_the_index_has_not_heard_of_it(tmp_path: Path) -> None:
    rig = await Rig(tmp_path, {"queue_checkpoint_interval": "3600"}).start()
    out = await rig.agent("smtp")
    out.answer = DEFERRED
    intake = await rig.intake()
    queue_id = await intake.submit("x@one.test")
    await rig.until(lambda: len(out.jobs) == 1)
    changed = await rig.peer(QUEUE_ADMIN, "cli").call(ChangeMessages("hold", (queue_id,)), expect=Changed)
    assert changed.count == 1
    await rig.crash()
    async with running(tmp_path, {"queue_run_delay": "0.1s", "minimal_backoff_time": "0.1s"}) as again:
        out = await again.agent("smtp")
        other = await (await again.intake()).submit("y@one.test")
        await again.until(lambda: f"qmgr: {other}: removed" in again.log)
        assert {job.queue_id for job in out.jobs} == {other}


@asynchronous
async def test_an_index_that_reverts_to_before_a_hold_does_not_release_the_message(tmp_path: Path) -> None:
    """A power cut may take back what SQLite wrote last; the journal knows better."""
    rig = await Rig(tmp_path, {"queue_checkpoint_interval": "0.1s"}).start()
    out = await rig.agent("smtp")
    out.answer = DEFERRED
    queue_id = await (await rig.intake()).submit("x@one.test")
    await rig.until(lambda: not rig.process.ledger.state.messages)
    files = {path: path.read_bytes() for path in (tmp_path / "spool/index").iterdir()}
    changed = await rig.peer(QUEUE_ADMIN, "cli").call(ChangeMessages("hold", (queue_id,)), expect=Changed)
    assert changed.count == 1
    await asyncio.sleep(0.5)  # the index follows
    await rig.crash()
    for path in (tmp_path / "spool/index").iterdir():
        path.unlink()
    for path, content in files.items():
        path.write_bytes(content)
    async with running(tmp_path, {"queue_run_delay": "0.1s", "minimal_backoff_time": "0.1s"}) as again:
        out = await again.agent("smtp")
        other = await (await again.intake()).submit("y@one.test")
        await again.peer(QUEUE_ADMIN, "cli").call(Flush(), expect=Done)
        await again.until(lambda: f"qmgr: {other}: removed" in again.log)
        assert {job.queue_id for job in out.jobs} == {other}


@asynchronous
async def test_large_files_of_a_crashed_run_are_kept_if_somebody_needs_them_and_removed_if_not(tmp_path: Path) -> None:
    rig = await Rig(tmp_path).start()
    intake = await rig.intake()
    handles = [(await intake.peer.call(OpenContent(), expect=ContentHandle)).handle for _ in range(2)]
    for handle in handles:
        await intake.peer.call(AppendContent(handle, b"x" * 300_000), expect=Done)
    record = intake.message("a@example.test")
    await intake.peer.call(
        type(record)(record.queue_id, record.envelope, record.arrival, 300_000, b"", handles[0]), expect=Done
    )
    orphan = next(path for path in (tmp_path / "spool/large").iterdir())
    copies = {path.name: path.read_bytes() for path in (tmp_path / "spool/large").iterdir()}
    await rig.crash()
    for name, octets in copies.items():  # a real crash removes nothing
        (tmp_path / "spool/large" / name).write_bytes(octets)
    assert orphan.exists()
    async with running(tmp_path) as again:
        assert len(list((tmp_path / "spool/large").iterdir())) == 1
        box = await again.agent("mailbox")
        await again.until(lambda: box.contents == [b"x" * 300_000])


@asynchronous
async def test_segments_behind_the_index_are_retired_and_stragglers_move(tmp_path: Path) -> None:
    settings = {"queue_segment_size": "64k", "minimal_backoff_time": "0.2s", "queue_run_delay": "3600s"}
    rig = await Rig(tmp_path, settings).start()
    box, out = await rig.agent("mailbox"), await rig.agent("smtp")
    out.answer = DEFERRED
    intake = await rig.intake()
    kept = {}
    for number in range(60):
        content = os.urandom(10_000).hex().encode() + b"\r\n"
        if number % 10 == 0:
            kept[await intake.submit("x@one.test", content=content)] = content
        else:
            await intake.submit("a@example.test", content=content)
    journal = str(tmp_path / "spool/journal")
    await rig.until(lambda: len(segment_numbers(journal)) <= 2)
    await rig.until(lambda: not rig.process.ledger.state.messages)
    assert len(box.jobs) == 54
    assert segment_numbers(str(tmp_path / "spool/deferred"))
    await rig.crash()
    async with running(tmp_path, settings) as again:
        out = await again.agent("smtp")
        peer = again.peer(QUEUE_ADMIN, "cli")
        await peer.call(ChangeMessages("requeue", ()), expect=Changed)
        await again.until(lambda: len(out.jobs) == 6)
        assert {job.queue_id: content for job, content in zip(out.jobs, out.contents, strict=True)} == kept
        await again.until(lambda: not segment_numbers(str(tmp_path / "spool/deferred")))


@asynchronous
async def test_retired_segments_are_used_again(tmp_path: Path) -> None:
    settings = {"queue_segment_size": "64k", "queue_spare_segments": "2"}
    async with running(tmp_path, settings) as rig:
        await rig.agent("mailbox")
        intake = await rig.intake()
        for _ in range(200):
            await intake.submit("a@example.test", content=b"y" * 5000)
        await rig.until(lambda: sum("removed" in line for line in rig.log) == 200)
        await rig.until(lambda: len(segment_numbers(str(tmp_path / "spool/journal"))) <= 2)
    async with running(tmp_path, settings) as rig:
        assert not [line for line in rig.log if "ERROR" in line or "damaged" in line]


@asynchronous
async def test_a_lost_index_is_rebuilt_from_journal_and_deferred_segments(tmp_path: Path) -> None:
    settings = {"queue_segment_size": "64k", "queue_run_delay": "3600s"}
    rig = await Rig(tmp_path, settings).start()
    out = await rig.agent("smtp")
    out.answer = DEFERRED
    intake = await rig.intake()
    ids = {await intake.submit("x@one.test", content=b"z" * 20_000) for _ in range(12)}
    await rig.until(lambda: len(segment_numbers(str(tmp_path / "spool/journal"))) <= 2)
    await rig.until(lambda: not rig.process.ledger.state.messages)
    await rig.stop()
    for path in (tmp_path / "spool/index").iterdir():
        path.unlink()
    async with running(tmp_path, settings) as again:
        index = Index(str(tmp_path / "spool/index/queue.sqlite"), read_only=True)
        assert {message.queue_id for _, message in index.page("", 100)} == ids
        index.close()
        out = await again.agent("smtp")
        await again.peer(QUEUE_ADMIN, "cli").call(ChangeMessages("requeue", ()), expect=Changed)
        await again.until(lambda: len(out.jobs) == 12)
        assert set(out.contents) == {b"z" * 20_000}
        assert out.answer is sent


@asynchronous
async def test_after_a_crash_care_outlasts_attempts_that_failed_and_stops_in_order(tmp_path: Path) -> None:
    settings = {"queue_run_delay": "0.1s", "minimal_backoff_time": "0.1s", "maximal_backoff_time": "0.1s"}
    rig = await Rig(tmp_path, settings).start()
    box = await rig.agent("mailbox")
    box.answer = lambda job: None
    await (await rig.intake()).submit("a@example.test")
    await rig.until(lambda: bool(box.jobs))
    await rig.crash()
    for _ in range(2):
        async with running(tmp_path, settings) as again:
            box = await again.agent("mailbox")
            box.answer = outcome(DeliveryStatus.DEFERRED, "4.2.0", "cannot open the index")
            await again.until(lambda jobs=box.jobs: len(jobs) >= 2)
            assert all(job.maybe_delivered for job in box.jobs)


class AheadClock(SystemClock):
    """An hour fast; it is set right before the restart."""

    @staticmethod
    def now() -> float:  # type: ignore[override]
        return time.time() + 3600.0


@asynchronous
async def test_mail_does_not_wait_because_the_clock_was_set_back(tmp_path: Path) -> None:
    settings = {"queue_run_delay": "0.1s", "maximal_backoff_time": "600s"}
    rig = Rig(tmp_path, settings)
    rig.clock = AheadClock()
    await rig.start()
    out = await rig.agent("smtp")
    out.answer = DEFERRED
    intake = await rig.intake()
    deferred = await intake.submit("x@one.test")
    await rig.until(lambda: not rig.process.ledger.state.messages)
    out.answer = lambda job: None
    new = await intake.submit("y@two.test")
    await rig.until(lambda: len(out.jobs) == 2)
    await rig.crash()
    async with running(tmp_path, settings) as again:
        await again.agent("smtp")
        await again.until(lambda: {f"qmgr: {one}: removed" for one in (deferred, new)} <= set(again.log))
