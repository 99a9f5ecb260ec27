"""From acceptance to the end of a message, through real sockets, journal and index."""

import asyncio
from pathlib import Path

import pytest

from posthouse.core.address import Address
from posthouse.core.reply import PermFail, Reply, TempFail
from posthouse.core.result import DeliveryStatus, RecipientResult
from posthouse.runtime.ipc import Peer, PeerLost
from posthouse.runtime.process import socket_path
from posthouse.runtime.schema import (
    QUEUE_DELIVERY,
    AliasExpansion,
    AppendContent,
    ContentHandle,
    Deliver,
    Done,
    Flush,
    OpenContent,
    Outcomes,
    Register,
    Resolution,
    Written,
)
from tests.queue.asynchronous import asynchronous
from tests.queue.rig import DOMAIN, HOST, outcome, running, sent

FAST = {"minimal_backoff_time": "0.2s", "maximal_backoff_time": "0.2s", "queue_run_delay": "0.1s"}


@asynchronous
async def test_a_message_to_a_mailbox_is_delivered_recorded_retired_and_removed(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box = await rig.agent("mailbox")
        intake = await rig.intake()
        queue_id = await intake.submit("alice@example.test", content=b"Subject: x\r\n\r\nhello\r\n")
        await rig.until(lambda: box.retired == [f"{queue_id}.0.0"])
        (job,) = box.jobs
        assert job.queue_id == queue_id
        assert job.recipients[0].address == Address("alice", DOMAIN)
        assert job.sender == Address("sender", "elsewhere.test")
        assert not job.maybe_delivered
        assert box.contents == [b"Subject: x\r\n\r\nhello\r\n"]
        assert rig.log == [
            f"cleanup: {queue_id}: message-id=<{queue_id}@test>",
            f"qmgr: {queue_id}: from=<sender@elsewhere.test>, size=21, nrcpt=1 (queue active)",
            f"qmgr: {queue_id}: removed",
        ]


@asynchronous
async def test_recipients_of_one_destination_travel_together_and_others_apart(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box, out = await rig.agent("mailbox"), await rig.agent("smtp")
        intake = await rig.intake()
        await intake.submit("a@example.test", "b@example.test", "c@one.test", "d@one.test", "e@two.test")
        await rig.until(lambda: any("removed" in line for line in rig.log))
        assert [len(job.recipients) for job in box.jobs] == [2]
        assert sorted((job.nexthop, len(job.recipients)) for job in out.jobs) == [("one.test", 2), ("two.test", 1)]


@asynchronous
async def test_virtual_aliases_are_expanded_once_and_nobody_gets_two_copies(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box = await rig.agent("mailbox")
        rig.tables.virtual["all@example.test"] = ("a@example.test", "B@example.test")
        intake = await rig.intake()
        await intake.submit("all@example.test", "b@example.test")
        await rig.until(lambda: any("removed" in line for line in rig.log))
        recipients = {str(one.address): one.original for job in box.jobs for one in job.recipients}
        assert recipients == {"a@example.test": "all@example.test", "B@example.test": "all@example.test"}


@asynchronous
async def test_a_lookup_that_fails_refuses_the_message_for_now(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        rig.tables.failing = True
        intake = await rig.intake()
        with pytest.raises(TempFail, match="tables are on fire"):
            await intake.submit("a@example.test")


@asynchronous
async def test_a_route_that_cannot_be_found_defers(tmp_path: Path) -> None:
    async with running(tmp_path, {"virtual_alias_maps": "", **FAST}) as rig:
        rig.tables.failing = True
        box = await rig.agent("mailbox")
        intake = await rig.intake()
        await intake.submit("a@example.test")
        await rig.until(lambda: any("address resolver failure" in line for line in rig.log))
        rig.tables.failing = False
        await rig.until(lambda: len(box.jobs) == 1)


@asynchronous
async def test_a_deferred_message_is_tried_again_and_its_reason_is_listed(tmp_path: Path) -> None:
    async with running(tmp_path, FAST) as rig:
        out = await rig.agent("smtp")
        out.answer = outcome(DeliveryStatus.DEFERRED, "4.4.1", "connect to one.test: Connection refused")
        intake = await rig.intake()
        queue_id = await intake.submit("x@one.test")
        await rig.until(lambda: len(out.jobs) >= 3)
        out.answer = sent
        await rig.until(lambda: f"qmgr: {queue_id}: removed" in rig.log)
        # In between it was in the index only.
        assert sum("queue active" in line for line in rig.log) >= 4


@asynchronous
async def test_a_permanent_failure_comes_back_as_one_bounce_for_all_recipients(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box, out = await rig.agent("mailbox"), await rig.agent("smtp")
        out.answer = outcome(
            DeliveryStatus.BOUNCED, "5.1.1", "no such user", remote_mta="mx.one.test", remote_reply="550 5.1.1 no"
        )
        intake = await rig.intake()
        queue_id = await intake.submit("x@one.test", "y@two.test", "ok@example.test", sender="joe@example.test")
        await rig.until(lambda: f"qmgr: {queue_id}: removed" in rig.log and len(box.jobs) == 2)
        bounce = next(job for job in box.jobs if job.sender is None)
        assert str(bounce.recipients[0].address) == "joe@example.test"
        text = box.contents[box.jobs.index(bounce)].decode()
        assert "Final-Recipient: rfc822; x@one.test" in text
        assert "Final-Recipient: rfc822; y@two.test" in text
        assert "ok@example.test" not in text
        assert "Diagnostic-Code: smtp; 550 5.1.1 no" in text
        assert "hello" in text
        assert f"bounce: {queue_id}: sender non-delivery notification: {bounce.queue_id}" in rig.log


@asynchronous
async def test_a_bounce_that_bounces_is_dropped(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        out = await rig.agent("smtp")
        out.answer = outcome(DeliveryStatus.BOUNCED, "5.1.1", "no such user")
        intake = await rig.intake()
        await intake.submit("x@one.test", sender="joe@one.test")
        await rig.until(lambda: sum("removed" in line for line in rig.log) == 2)
        assert len(out.jobs) == 2


@asynchronous
async def test_postmaster_gets_double_bounces_if_he_wants_to_and_never_a_third(tmp_path: Path) -> None:
    async with running(tmp_path, {"notify_classes": "2bounce"}) as rig:
        out, local = await rig.agent("smtp"), await rig.agent("local")
        out.answer = outcome(DeliveryStatus.BOUNCED, "5.1.1", "no such user")
        local.answer = out.answer
        intake = await rig.intake()
        await intake.submit("x@one.test", sender="joe@one.test")
        await rig.until(lambda: sum("removed" in line for line in rig.log) == 3)
        assert str(local.jobs[0].sender) == f"double-bounce@{HOST}"
        assert str(local.jobs[0].recipients[0].address) == f"postmaster@{HOST}"
        assert any("undeliverable postmaster notification discarded" in line for line in rig.log)


@asynchronous
async def test_notify_never_means_never(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        out = await rig.agent("smtp")
        out.answer = outcome(DeliveryStatus.BOUNCED, "5.1.1", "no such user")
        intake = await rig.intake()
        await intake.submit("x@one.test", notify=("NEVER",))
        await rig.until(lambda: any("removed" in line for line in rig.log))
        assert len(out.jobs) == 1


@asynchronous
async def test_success_is_reported_when_asked_for_unless_the_next_system_does(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box, out = await rig.agent("mailbox"), await rig.agent("smtp")
        out.answer = outcome(DeliveryStatus.SENT, "2.0.0", "ok", dsn_passed=True)
        intake = await rig.intake()
        await intake.submit("x@one.test", "a@example.test", notify=("SUCCESS",), sender="joe@example.test")
        await rig.until(lambda: len(box.jobs) == 2 and sum("removed" in line for line in rig.log) == 2)
        text = box.contents[1].decode()
        assert "Action: delivered" in text
        assert "a@example.test" in text
        assert "x@one.test" not in text


@asynchronous
async def test_mail_that_is_too_old_is_returned(tmp_path: Path) -> None:
    async with running(tmp_path, {"maximal_queue_lifetime": "0", **FAST}) as rig:
        box, out = await rig.agent("mailbox"), await rig.agent("smtp")
        out.answer = outcome(DeliveryStatus.DEFERRED, "4.4.1", "connection timed out")
        intake = await rig.intake()
        queue_id = await intake.submit("x@one.test", sender="joe@example.test")
        await rig.until(lambda: len(box.jobs) == 1)
        assert f"qmgr: {queue_id}: from=<joe@example.test>, status=expired, returned to sender" in rig.log
        assert "connection timed out" in box.contents[0].decode()


@asynchronous
async def test_the_sender_is_warned_once_about_a_delay(tmp_path: Path) -> None:
    async with running(tmp_path, {"delay_warning_time": "0.1s", **FAST}) as rig:
        box, out = await rig.agent("mailbox"), await rig.agent("smtp")
        out.answer = outcome(DeliveryStatus.DEFERRED, "4.4.1", "connection timed out")
        intake = await rig.intake()
        await intake.submit("x@one.test", sender="joe@example.test")
        await rig.until(lambda: len(out.jobs) >= 5)
        assert len(box.jobs) == 1
        assert "Action: delayed" in box.contents[0].decode()


@asynchronous
async def test_local_aliases_are_followed_with_owner_and_self_reference(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box, local = await rig.agent("mailbox"), await rig.agent("local")
        aliases = rig.tables.aliases
        aliases["team"] = AliasExpansion("joe, ann+x, alice@example.test, |/bin/archive -a, joe", owner=True)
        aliases["joe"] = AliasExpansion("joe, bob@example.test")
        intake = await rig.intake()
        queue_id = await intake.submit(f"team@{HOST}")
        await rig.until(lambda: f"qmgr: {queue_id}: removed" in rig.log)
        delivered = {
            (str(one.address), one.mailbox, str(job.sender), one.original)
            for agent in (box, local)
            for job in agent.jobs
            for one in job.recipients
        }
        owner, team = f"owner-team@{HOST}", f"team@{HOST}"
        assert delivered == {
            (f"joe@{HOST}", "", owner, team),
            (f"ann+x@{HOST}", "", owner, team),
            ("alice@example.test", "", owner, team),
            ("bob@example.test", "", owner, team),
            (team, "|/bin/archive -a", owner, team),
        }


@asynchronous
async def test_an_alias_loop_ends_in_a_bounce(tmp_path: Path) -> None:
    async with running(tmp_path, {"alias_nesting_limit": "10"}) as rig:
        box = await rig.agent("mailbox")
        rig.tables.aliases["a"] = AliasExpansion("b")
        rig.tables.aliases["b"] = AliasExpansion("a")
        intake = await rig.intake()
        await intake.submit(f"a@{HOST}", sender="joe@example.test")
        await rig.until(lambda: len(box.jobs) == 1)
        assert "alias database loop" in box.contents[0].decode()
        assert "Status: 5.4.6" in box.contents[0].decode()


@asynchronous
async def test_an_agent_may_put_others_in_a_recipients_place(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box, local = await rig.agent("mailbox"), await rig.agent("local")

        def forward(job: Deliver) -> Outcomes:
            return Outcomes(
                tuple(
                    RecipientResult(
                        one.index, DeliveryStatus.REDIRECTED, "2.0.0", "", redirect=(Address("alice", DOMAIN),)
                    )
                    for one in job.recipients
                )
            )

        local.answer = forward
        intake = await rig.intake()
        queue_id = await intake.submit(f"joe@{HOST}")
        await rig.until(lambda: f"qmgr: {queue_id}: removed" in rig.log)
        (job,) = box.jobs
        assert job.recipients[0].index == 1
        assert job.recipients[0].original == f"joe@{HOST}"


@asynchronous
async def test_error_and_discard_transports_end_inside(tmp_path: Path) -> None:
    async with running(tmp_path, FAST) as rig:
        box = await rig.agent("mailbox")
        routes = rig.tables.routes
        routes["gone@x.test"] = Resolution("default", "error", "5.1.2 this domain is gone", Address("gone", "x.test"))
        routes["later@x.test"] = Resolution("default", "retry", "4.3.2 come back", Address("later", "x.test"))
        routes["null@x.test"] = Resolution("default", "discard", "silently", Address("null", "x.test"))
        routes["dead@x.test"] = Resolution("default", "dead", "no more", Address("dead", "x.test"))
        routes["odd@x.test"] = Resolution("default", "uucp", "x", Address("odd", "x.test"))
        routes["who@x.test"] = Resolution("relay", "smtp", "x.test", Address("who", "x.test"), known=False)
        rejected = Reply.of(550, "5.7.1", "not for you")
        routes["no@x.test"] = Resolution("default", "smtp", "x", Address("no", "x.test"), error_reply=rejected)
        intake = await rig.intake()
        names = ("gone", "later", "null", "dead", "odd", "who", "no")
        await intake.submit(*(f"{name}@x.test" for name in names), sender="joe@example.test")
        await rig.until(lambda: len(box.jobs) == 1)
        lines = [line for line in rig.log if " to=<" in line]

        def of(name: str) -> str:
            return next(line for line in lines if f"to=<{name}@x.test>" in line)

        assert "dsn=5.1.2, status=bounced (this domain is gone)" in of("gone")
        assert of("gone").startswith("error: ")
        assert "dsn=4.3.2, status=deferred (come back)" in of("later")
        assert of("null").startswith("discard: ")
        assert "status=sent (silently)" in of("null")
        assert "dsn=5.0.0, status=bounced (no more)" in of("dead")
        assert "dsn=4.3.0, status=deferred (mail transport uucp is unknown)" in of("odd")
        assert "dsn=5.1.1, status=bounced (User unknown in relay recipient table)" in of("who")
        assert "dsn=5.7.1, status=bounced (not for you)" in of("no")


@asynchronous
async def test_an_agent_that_dies_in_the_middle_is_asked_again_with_care(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        first = await rig.agent("mailbox")
        first.answer = lambda job: None
        intake = await rig.intake()
        queue_id = await intake.submit("a@example.test")
        await rig.until(lambda: bool(first.jobs))
        assert not first.jobs[0].maybe_delivered
        first.lose()
        second = await rig.agent("mailbox")
        await rig.until(lambda: f"qmgr: {queue_id}: removed" in rig.log)
        assert second.jobs[0].maybe_delivered
        assert any("lost during delivery" in line for line in rig.log)


@asynchronous
async def test_care_outlasts_an_attempt_that_failed_before_it_could_look(tmp_path: Path) -> None:
    async with running(tmp_path, FAST) as rig:
        first = await rig.agent("mailbox")
        first.answer = lambda job: None
        intake = await rig.intake()
        queue_id = await intake.submit("a@example.test")
        await rig.until(lambda: bool(first.jobs))
        first.lose()
        second = await rig.agent("mailbox")
        failed = outcome(DeliveryStatus.DEFERRED, "4.2.0", "cannot open the index")
        second.answer = lambda job: failed(job) if len(second.jobs) == 1 else sent(job)
        await rig.until(lambda: f"qmgr: {queue_id}: removed" in rig.log)
        assert [job.maybe_delivered for job in second.jobs] == [True, True]


@asynchronous
async def test_mail_waits_for_an_agent_and_is_deferred_if_none_comes(tmp_path: Path) -> None:
    async with running(tmp_path, {"transport_retry_time": "0.2s", **FAST}) as rig:
        intake = await rig.intake()
        queue_id = await intake.submit("a@example.test")
        await rig.until(lambda: any("mail transport unavailable" in line for line in rig.log))
        box = await rig.agent("mailbox")
        await rig.until(lambda: f"qmgr: {queue_id}: removed" in rig.log)
        assert len(box.jobs) == 1


@asynchronous
async def test_written_deliveries_make_room_before_they_are_answered(tmp_path: Path) -> None:
    async with running(tmp_path, {"virtual_destination_concurrency_limit": "2"}) as rig:
        box = await rig.agent("mailbox")
        box.answer = lambda job: None
        intake = await rig.intake()
        for number in range(5):
            await intake.submit(f"u{number}@example.test")
        await rig.until(lambda: len(box.jobs) == 2)
        for job in box.jobs[:2]:
            box.notify(Written(job.queue_id, (job.recipients[0].index,)))
        await rig.until(lambda: len(box.jobs) == 4)
        for job, respond in box.held[:4]:
            respond(sent(job))
        await rig.until(lambda: len(box.jobs) == 5)
        box.held[4][1](sent(box.held[4][0]))
        await rig.until(lambda: sum("removed" in line for line in rig.log) == 5)


@asynchronous
async def test_a_dead_destination_is_left_alone_and_a_flush_tries_it_again(tmp_path: Path) -> None:
    async with running(tmp_path, {"initial_destination_concurrency": "1"}) as rig:
        out = await rig.agent("smtp")

        def refused(job: Deliver) -> Outcomes:
            return Outcomes(
                tuple(
                    RecipientResult(one.index, DeliveryStatus.DEFERRED, "4.4.1", "connection refused")
                    for one in job.recipients
                ),
                destination_failed=True,
            )

        out.answer = refused
        intake = await rig.intake()
        for number in range(3):
            await intake.submit(f"u{number}@one.test")
        suspended = "delivery temporarily suspended: connection refused"
        await rig.until(lambda: sum(suspended in line for line in rig.log) == 2)
        assert len(out.jobs) == 1
        out.answer = sent
        await intake.peer.call(Flush(), expect=Done)
        await rig.until(lambda: sum("removed" in line for line in rig.log) == 3)


@asynchronous
async def test_a_flush_for_a_site_tries_only_its_mail(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        out = await rig.agent("smtp")
        out.answer = outcome(DeliveryStatus.DEFERRED, "4.2.0", "not now")
        intake = await rig.intake()
        first, second = await intake.submit("a@one.test"), await intake.submit("b@two.test")
        await rig.until(lambda: len(out.jobs) == 2)
        # One of them from memory, or both from the index: either way only the site's.
        await rig.until(lambda: not rig.process.ledger.state.messages)
        out.answer = sent
        await intake.peer.call(Flush("ONE.test"), expect=Done)
        await rig.until(lambda: f"qmgr: {first}: removed" in rig.log)
        assert f"qmgr: {second}: removed" not in rig.log


@asynchronous
async def test_large_messages_are_streamed_to_a_file_and_delivered_from_it(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        box = await rig.agent("mailbox")
        intake = await rig.intake()
        handle = (await intake.peer.call(OpenContent(), expect=ContentHandle)).handle
        pieces = [bytes([number]) * 500_000 for number in range(4)]
        for piece in pieces:
            await intake.peer.call(AppendContent(handle, piece), expect=Done)
        record = intake.message("a@example.test")
        large = type(record)(record.queue_id, record.envelope, record.arrival, 2_000_000, b"", handle)
        await intake.peer.call(large, expect=Done)
        await rig.until(lambda: any("removed" in line for line in rig.log))
        assert box.contents == [b"".join(pieces)]
        assert box.jobs[0].content == b""
        await rig.until(lambda: not list((tmp_path / "spool/large").iterdir()))


@asynchronous
async def test_a_receiver_that_goes_away_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        intake = await rig.intake()
        handle = (await intake.peer.call(OpenContent(), expect=ContentHandle)).handle
        await intake.peer.call(AppendContent(handle, b"x" * 1000), expect=Done)
        assert list((tmp_path / "spool/large").iterdir())
        intake.peer.close()
        await rig.until(lambda: not list((tmp_path / "spool/large").iterdir()))


@asynchronous
async def test_a_message_over_the_size_limit_is_refused_for_good(tmp_path: Path) -> None:
    async with running(tmp_path, {"message_size_limit": "100000"}) as rig:
        intake = await rig.intake()
        with pytest.raises(PermFail, match="exceeds"):
            await intake.submit("a@example.test", content=b"x" * 200_000)


@asynchronous
async def test_a_queue_id_that_is_not_the_connections_own_ends_the_connection(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        first, second = await rig.intake(), await rig.intake()
        with pytest.raises(TempFail):
            await second.submit("a@example.test", queue_id=first.message("x@y").queue_id)
        assert any("not this connection's to give" in line for line in rig.log)


@asynchronous
async def test_more_messages_than_may_be_active_wait_in_the_index(tmp_path: Path) -> None:
    async with running(tmp_path, {"qmgr_message_active_limit": "5", "queue_run_batch": "3"}) as rig:
        box = await rig.agent("mailbox")
        box.answer = lambda job: None
        intake = await rig.intake()
        for number in range(40):
            await intake.submit(f"u{number}@example.test")
        await rig.until(lambda: len(rig.process.ledger.state.messages) == 5)
        for number in range(40):
            await rig.until(lambda number=number: len(box.held) > number)  # type: ignore[misc]
            job, respond = box.held[number]
            respond(sent(job))
        await rig.until(lambda: sum("removed" in line for line in rig.log) == 40)
        assert len({job.queue_id for job in box.jobs}) == 40


@asynchronous
async def test_content_that_found_no_room_in_memory_is_read_from_the_journal(tmp_path: Path) -> None:
    async with running(tmp_path, {"queue_content_memory_limit": "1M", **FAST}) as rig:
        out = await rig.agent("smtp")
        out.answer = outcome(DeliveryStatus.DEFERRED, "4.0.0", "later")
        intake = await rig.intake()
        contents = [bytes([65 + number]) * 200_000 for number in range(12)]
        for number, content in enumerate(contents):
            await intake.submit(f"u{number}@one.test", content=content)
        await rig.until(lambda: len(out.jobs) >= 24)
        out.answer = sent
        await rig.until(lambda: sum("removed" in line for line in rig.log) == 12)
        assert set(out.contents) == set(contents)


@asynchronous
async def test_a_deferred_transport_delivers_only_when_asked(tmp_path: Path) -> None:
    async with running(tmp_path, {"defer_transports": "smtp", "queue_run_delay": "0.1s"}) as rig:
        out = await rig.agent("smtp")
        intake = await rig.intake()
        await intake.submit("x@one.test")
        await rig.until(lambda: any("deferred transport" in line for line in rig.log))
        await rig.until(lambda: not rig.process.manager.active)
        assert not out.jobs
        for _ in range(20):  # a flush does not concern a message that is just being tried, and this one often is
            await intake.peer.call(Flush(), expect=Done)
            await asyncio.sleep(0.05)
            if out.jobs:
                break
        assert len(out.jobs) == 1


@asynchronous
async def test_a_delivery_process_cannot_claim_to_be_another(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        impostor = Peer(socket_path(rig.run_directory, QUEUE_DELIVERY, "smtp"), QUEUE_DELIVERY)
        with pytest.raises(PeerLost):
            await impostor.call(Register("local", 0), expect=Done)
        impostor.close()
