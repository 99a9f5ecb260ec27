"""Answers of the tables process that come with a message: used as if the queue had asked, if they really are its."""

import time
from pathlib import Path

import msgspec
import pytest

from posthouse.core.address import Address
from posthouse.runtime.schema import Done, Expansion, Resolution, Submit
from posthouse.runtime.sealing import SealedAnswer, new_key, seal
from tests.queue.asynchronous import asynchronous
from tests.queue.rig import DOMAIN, Intake, Rig, running

ALICE = Address("alice", DOMAIN)


def answer(
    recipient: Address = ALICE, *routes: Resolution, age_s: float = 0.0, expansion: Expansion | None = None
) -> SealedAnswer:
    found = routes or (Resolution("virtual_mailbox", "virtual", DOMAIN, recipient),)
    return SealedAnswer(time.monotonic() - age_s, recipient, expansion or Expansion((recipient,)), found)


async def begun(rig: Rig) -> Intake:
    """The queue has asked once, so tables has its key."""
    intake = await rig.intake()
    await intake.submit("first@elsewhere.test")
    await rig.until(lambda: bool(rig.tables.seal_key))
    await rig.until(lambda: len(rig.tables.asked) == 2)
    rig.tables.asked.clear()
    return intake


async def submit(intake: Intake, sealed: bytes, *to: str) -> None:
    record: Submit = msgspec.structs.replace(intake.message(*(to or (str(ALICE),))), sealed=(sealed,))
    await intake.peer.call(record, expect=Done)


@asynchronous
async def test_with_a_sealed_answer_nothing_is_asked(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box = await rig.agent("mailbox")
        intake = await begun(rig)
        await submit(intake, seal(rig.tables.seal_key, answer()))
        await rig.until(lambda: len(box.jobs) == 1)
        assert rig.tables.asked == []


@asynchronous
async def test_an_alias_is_expanded_as_the_answer_says(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box = await rig.agent("mailbox")
        intake = await begun(rig)
        bob, carol = Address("bob", DOMAIN), Address("carol", DOMAIN)
        routes = (
            Resolution("virtual_mailbox", "virtual", DOMAIN, bob),
            Resolution("virtual_mailbox", "virtual", DOMAIN, carol),
        )
        await submit(intake, seal(rig.tables.seal_key, answer(ALICE, *routes, expansion=Expansion((bob, carol)))))
        await rig.until(lambda: sum(len(job.recipients) for job in box.jobs) == 2)
        assert {one.address for job in box.jobs for one in job.recipients} == {bob, carol}
        assert rig.tables.asked == []


@pytest.mark.parametrize("why", ["other key", "changed", "too old", "from the future", "about somebody else"])
@asynchronous
async def test_any_other_answer_is_as_if_there_were_none(tmp_path: Path, why: str) -> None:
    async with running(tmp_path) as rig:
        box, out = await rig.agent("mailbox"), await rig.agent("smtp")
        intake = await begun(rig)
        key = rig.tables.seal_key
        away = Resolution("default", "smtp", "evil.test", ALICE)
        sealed = {
            "other key": seal(new_key(), answer(ALICE, away)),
            "changed": seal(key, answer(ALICE, away))[:-1] + b"!",
            "too old": seal(key, answer(ALICE, away, age_s=6)),
            "from the future": seal(key, answer(ALICE, away, age_s=-60)),
            "about somebody else": seal(key, answer(Address("mallory", DOMAIN))),
        }[why]
        await submit(intake, sealed)
        await rig.until(lambda: len(box.jobs) == 1)
        assert len(rig.tables.asked) == 2
        assert [job.nexthop for job in out.jobs] == ["elsewhere.test"]


@asynchronous
async def test_what_is_good_for_a_whole_domain_is_asked_once(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        out = await rig.agent("smtp")
        intake = await begun(rig)
        one = Address("one", "wide.test")
        route = Resolution("default", "smtp", "wide.test", one, whole_domain=True)
        await submit(intake, seal(rig.tables.seal_key, answer(one, route, expansion=Expansion((one,), True))), str(one))
        await intake.submit("two@wide.test")
        await rig.until(lambda: len(out.jobs) == 3)
        assert {str(job.recipients[0].address) for job in out.jobs[1:]} == {"one@wide.test", "two@wide.test"}
        assert rig.tables.asked == []
        await intake.submit('"odd one"@wide.test')
        await rig.until(lambda: len(rig.tables.asked) == 2)
