"""LMTP: one answer per recipient, from the mailbox itself or from the journal."""

import asyncio
from pathlib import Path

from posthouse.core.address import Address
from posthouse.core.result import DeliveryStatus, RecipientResult
from posthouse.runtime.schema import (
    AliasExpansion,
    AppendContent,
    ContentHandle,
    Deliver,
    Done,
    OpenContent,
    Outcomes,
    Resolution,
    Submit,
    Transact,
)
from tests.queue.asynchronous import asynchronous
from tests.queue.rig import DOMAIN, HOST, Intake, outcome, running, sent


def transaction(record: Submit, handle: int = 0, content: bytes | None = None) -> Transact:
    body = record.content if content is None else content
    return Transact(record.queue_id, record.envelope, record.arrival, len(body), b"" if handle else body, handle)


async def transact(intake: Intake, *to: str) -> list[tuple[str, str]]:
    answer = await intake.peer.call(transaction(intake.message(*to)), expect=Outcomes)
    assert [result.index for result in answer.results] == list(range(len(to)))
    return [(result.status.value, result.dsn) for result in answer.results]


@asynchronous
async def test_each_recipient_is_answered_by_its_mailbox_and_nothing_is_queued(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box = await rig.agent("mailbox")

        def mixed(job: Deliver) -> Outcomes:
            full = RecipientResult(1, DeliveryStatus.BOUNCED, "5.2.2", "mailbox full")
            return Outcomes((RecipientResult(0, DeliveryStatus.SENT, "2.0.0", "delivered"), full))

        box.answer = mixed
        intake = await rig.intake()
        assert await transact(intake, "a@example.test", "b@example.test") == [("sent", "2.0.0"), ("bounced", "5.2.2")]
        assert rig.log == []
        await rig.until(lambda: len(box.retired) == 1)
        assert box.retired[0].endswith(".0.0")


@asynchronous
async def test_who_is_elsewhere_is_queued_and_answered_after_the_flush(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box, out, local = await rig.agent("mailbox"), await rig.agent("smtp"), await rig.agent("local")
        rig.tables.virtual["all@example.test"] = ("a@example.test", "x@one.test")
        rig.tables.aliases["team"] = AliasExpansion("b@example.test, joe")
        intake = await rig.intake()
        found = await transact(intake, "c@example.test", "all@example.test", f"team@{HOST}", "y@two.test")
        assert found == [("sent", "2.0.0"), ("sent", "2.6.0"), ("sent", "2.6.0"), ("sent", "2.6.0")]
        await rig.until(lambda: any("removed" in line for line in rig.log))
        assert {str(one.address) for job in box.jobs for one in job.recipients} == {
            "c@example.test", "a@example.test", "b@example.test",
        }  # fmt: skip
        assert {job.nexthop for job in out.jobs} == {"one.test", "two.test"}
        assert len(local.jobs) == 1
        assert len({(job.queue_id, one.index) for job in box.jobs for one in job.recipients}) == 3


@asynchronous
async def test_a_mailbox_that_forwards_sends_the_copy_through_the_queue(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box, out = await rig.agent("mailbox"), await rig.agent("smtp")
        box.answer = outcome(DeliveryStatus.REDIRECTED, "2.0.0", "", redirect=(Address("me", "one.test"),))
        intake = await rig.intake()
        assert await transact(intake, "a@example.test") == [("sent", "2.6.0")]
        await rig.until(lambda: len(out.jobs) == 1)
        assert out.jobs[0].recipients[0].original == "a@example.test"


@asynchronous
async def test_unknown_and_refused_recipients_and_absent_mailboxes(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        unknown = Resolution("virtual_mailbox", "virtual", DOMAIN, Address("no", DOMAIN), known=False)
        rig.tables.routes["no@example.test"] = unknown
        intake = await rig.intake()
        assert await transact(intake, "no@example.test", "a@example.test") == [
            ("bounced", "5.1.1"),
            ("deferred", "4.3.0"),
        ]
        box = await rig.agent("mailbox")
        box.answer = lambda job: None
        question = intake.peer.call(transaction(intake.message("a@example.test")), expect=Outcomes)
        task = asyncio.ensure_future(question)
        await rig.until(lambda: bool(box.jobs))
        box.lose()
        assert (await task).results[0].status is DeliveryStatus.DEFERRED
        rig.tables.failing = True
        rig.process.lookups.clear()
        assert await transact(intake, "b@example.test") == [("deferred", "4.3.0")]


@asynchronous
async def test_large_content_comes_from_its_file_which_goes_afterwards(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box = await rig.agent("mailbox")
        intake = await rig.intake()
        handle = (await intake.peer.call(OpenContent(), expect=ContentHandle)).handle
        content = b"0123456789" * 50_000
        await intake.peer.call(AppendContent(handle, content), expect=Done)
        record = transaction(intake.message("a@example.test"), handle, content)
        answer = await intake.peer.call(record, expect=Outcomes)
        assert answer.results[0].status is DeliveryStatus.SENT
        assert box.contents == [content]
        await rig.until(lambda: not list((tmp_path / "spool/large").iterdir()))
        assert box.answer is sent


@asynchronous
async def test_a_reload_changes_what_the_parameters_say(tmp_path: Path) -> None:
    async with running(tmp_path, {"message_size_limit": "1000"}) as rig:
        box = await rig.agent("mailbox")
        intake = await rig.intake()
        before = rig.process.reception.settings.message_size_limit
        rig.settings.values.update({"message_size_limit": "5000", "default_destination_recipient_limit": "1"})
        rig.settings._parsed.clear()
        await rig.process.reload(rig.configuration())
        assert (before, rig.process.reception.settings.message_size_limit) == (1000, 5000)
        await intake.submit("a@example.test", "b@example.test")
        await rig.until(lambda: len(box.jobs) == 2)
