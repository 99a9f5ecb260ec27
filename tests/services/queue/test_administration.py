"""What postqueue, postsuper and postcat ask for."""

from pathlib import Path

import pytest

from posthouse.core.reply import PermFail
from posthouse.core.result import DeliveryStatus
from posthouse.runtime.schema import (
    QUEUE_ADMIN,
    QUEUE_SHOW,
    Changed,
    ChangeMessages,
    Done,
    FlushMessage,
    ListQueue,
    QueuedMessage,
    QueueEntry,
    QueuePage,
    ReadMessage,
)
from tests.queue.asynchronous import asynchronous
from tests.queue.rig import Rig, outcome, running, sent

DEFERRED = outcome(DeliveryStatus.DEFERRED, "4.4.1", "not now")


async def listing(rig: Rig, limit: int = 500) -> list[QueueEntry]:
    peer = rig.peer(QUEUE_SHOW, "cli")
    entries: list[QueueEntry] = []
    after = ""
    while True:
        page = await peer.call(ListQueue(after, limit), expect=QueuePage)
        entries += page.entries
        after = page.after
        if not after:
            return entries


@asynchronous
async def test_the_listing_has_every_message_once_in_order_wherever_it_is(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        out, box = await rig.agent("smtp"), await rig.agent("mailbox")
        out.answer = DEFERRED
        box.answer = lambda job: None
        intake = await rig.intake()
        old = [await intake.submit(f"d{number}@one.test") for number in range(7)]
        await rig.until(lambda: not rig.process.ledger.state.messages)
        new = [await intake.submit(f"a{number}@example.test") for number in range(3)]
        await rig.until(lambda: len(box.jobs) == 3)
        for limit in (1, 2, 3, 500):
            entries = await listing(rig, limit)
            assert [entry.queue_id for entry in entries] == old + new
            assert [entry.queue_name for entry in entries] == ["deferred"] * 7 + ["active"] * 3
        assert entries[0].recipients[0].delay_reason == "not now"
        assert entries[0].sender == "sender@elsewhere.test"


@asynchronous
async def test_hold_release_delete_by_id(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        out = await rig.agent("smtp")
        out.answer = DEFERRED
        intake = await rig.intake()
        first, second, third = [await intake.submit(f"d{number}@one.test") for number in range(3)]
        await rig.until(lambda: not rig.process.ledger.state.messages)
        admin = rig.peer(QUEUE_ADMIN, "cli")
        assert (await admin.call(ChangeMessages("hold", (first, second)), expect=Changed)).count == 2
        assert (await admin.call(ChangeMessages("hold", (first,)), expect=Changed)).count == 0
        assert (await admin.call(ChangeMessages("delete", (second,)), expect=Changed)).count == 1
        assert (await admin.call(ChangeMessages("delete", (second,)), expect=Changed)).count == 0
        entries = await listing(rig)
        assert [(entry.queue_id, entry.queue_name) for entry in entries] == [(first, "hold"), (third, "deferred")]
        assert f"postsuper: {second}: removed" in rig.log
        assert f"qmgr: {second}: removed" not in rig.log
        assert f"postsuper: {first}: placed on hold" in rig.log
        out.answer = sent
        assert (await admin.call(ChangeMessages("release", (first, third)), expect=Changed)).count == 1
        await rig.until(lambda: f"qmgr: {first}: removed" in rig.log)
        assert [entry.queue_id for entry in await listing(rig)] == [third]


@asynchronous
async def test_all_means_all_and_queue_names_limit_it(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        out = await rig.agent("smtp")
        out.answer = DEFERRED
        intake = await rig.intake()
        ids = [await intake.submit(f"d{number}@one.test") for number in range(30)]
        await rig.until(lambda: not rig.process.ledger.state.messages)
        admin = rig.peer(QUEUE_ADMIN, "cli")
        assert (await admin.call(ChangeMessages("hold", tuple(ids[:10])), expect=Changed)).count == 10
        assert (await admin.call(ChangeMessages("delete", (), ("active",)), expect=Changed)).count == 0
        assert (await admin.call(ChangeMessages("delete", (), ("hold",)), expect=Changed)).count == 10
        assert (await admin.call(ChangeMessages("hold", ()), expect=Changed)).count == 20
        assert (await admin.call(ChangeMessages("delete", ()), expect=Changed)).count == 20
        assert await listing(rig) == []
        with pytest.raises(PermFail, match="unknown queue"):
            await admin.call(ChangeMessages("delete", (), ("corrupt",)))
        with pytest.raises(PermFail, match="unknown action"):
            await admin.call(ChangeMessages("explode", ()))


@asynchronous
async def test_what_is_under_way_when_it_is_held_ends_and_the_rest_waits(tmp_path: Path) -> None:
    async with running(tmp_path, {"smtp_destination_concurrency_limit": "1"}) as rig:
        out = await rig.agent("smtp")
        out.answer = lambda job: None
        intake = await rig.intake()
        first = await intake.submit("a@one.test")
        second = await intake.submit("b@one.test")
        await rig.until(lambda: len(out.jobs) == 1)
        admin = rig.peer(QUEUE_ADMIN, "cli")
        assert (await admin.call(ChangeMessages("hold", (first, second)), expect=Changed)).count == 2
        out.held[0][1](sent(out.jobs[0]))
        await rig.until(lambda: f"qmgr: {first}: removed" in rig.log)
        await rig.until(lambda: second not in rig.process.manager.active)
        assert len(out.jobs) == 1
        assert [entry.queue_name for entry in await listing(rig)] == ["hold"]
        out.answer = sent
        await admin.call(ChangeMessages("release", (second,)), expect=Changed)
        await rig.until(lambda: f"qmgr: {second}: removed" in rig.log)


@asynchronous
async def test_deleting_what_is_under_way_forgets_its_result(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        out = await rig.agent("smtp")
        out.answer = lambda job: None
        intake = await rig.intake()
        queue_id = await intake.submit("a@one.test")
        await rig.until(lambda: len(out.jobs) == 1)
        await rig.peer(QUEUE_ADMIN, "cli").call(ChangeMessages("delete", (queue_id,)), expect=Changed)
        assert await listing(rig) == []
        out.held[0][1](DEFERRED(out.jobs[0]) or sent(out.jobs[0]))
        await rig.until(lambda: not rig.process.manager.active)


@asynchronous
async def test_requeue_looks_aliases_up_anew_and_makes_new_deliveries(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        out, box = await rig.agent("smtp"), await rig.agent("mailbox")
        out.answer = DEFERRED
        intake = await rig.intake()
        queue_id = await intake.submit("a@one.test")
        await rig.until(lambda: not rig.process.ledger.state.messages)
        rig.tables.virtual["a@one.test"] = ("alice@example.test", "bob@example.test")
        rig.process.lookups.clear()
        await rig.peer(QUEUE_ADMIN, "cli").call(ChangeMessages("requeue", (queue_id,)), expect=Changed)
        await rig.until(lambda: f"qmgr: {queue_id}: removed" in rig.log)
        found = {(str(one.address), one.index, one.action) for job in box.jobs for one in job.recipients}
        assert found == {("alice@example.test", 1, 1), ("bob@example.test", 2, 1)}


@asynchronous
async def test_one_message_can_be_tried_and_read(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        out = await rig.agent("smtp")
        out.answer = DEFERRED
        intake = await rig.intake()
        content = b"Subject: long\r\n\r\n" + b"0123456789abcdef" * 100_000
        queue_id = await intake.submit("a@one.test", content=content)
        await rig.until(lambda: not rig.process.ledger.state.messages)
        admin = rig.peer(QUEUE_ADMIN, "cli")
        first = await admin.call(ReadMessage(queue_id), expect=QueuedMessage)
        rest = await admin.call(ReadMessage(queue_id, len(first.content)), expect=QueuedMessage)
        assert first.content + rest.content == content
        assert first.envelope.recipients[0].address.domain == "one.test"
        out.answer = sent
        await rig.peer(QUEUE_SHOW, "cli").call(FlushMessage(queue_id), expect=Done)
        await rig.until(lambda: f"qmgr: {queue_id}: removed" in rig.log)
        with pytest.raises(PermFail, match="no such message"):
            await admin.call(ReadMessage(queue_id))


@asynchronous
async def test_the_show_socket_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        show = rig.peer(QUEUE_SHOW, "cli")
        connection = await show.connect()
        from posthouse.runtime.ipc import Connection, PeerLost

        assert isinstance(connection, Connection)
        with pytest.raises(PeerLost):
            await connection.call(ChangeMessages("delete", ()))
