import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from posthouse.core.address import Address
from posthouse.core.result import DeliveryStatus
from posthouse.delivery.virtual import is_loop
from posthouse.runtime.schema import JobRecipient
from tests.services.mailbox.conftest import CONTENT, House

Drive = Callable[..., House]

HEAD = b"Return-Path: <ann@example.com>\nX-Original-To: bob@example.net\nDelivered-To: bob@example.net\n"


def test_a_message_is_in_the_maildir_with_the_headers_of_virtual(drive: Drive) -> None:
    async def test(house: House) -> None:
        (result,) = await house.deliver(house.job())
        assert (result.status, result.dsn, result.text) == (DeliveryStatus.SENT, "2.0.0", "delivered to maildir")
        assert result.relay == "virtual"
        (path,) = house.files()
        assert path.parent.name == "new"
        assert path.read_bytes() == HEAD + CONTENT.replace(b"\r\n", b"\n")
        assert f",S={path.stat().st_size},W=" in path.name
        assert [note.indexes for note in house.written] == [(0,)]

    house = drive(test)
    assert re.fullmatch(
        r"4bXyZ1abcdz0: to=<bob@example\.net>, relay=virtual, delay=[\d.]+, delays=[\d.]+/[\d.]+/0/[\d.]+, "
        r"dsn=2\.0\.0, status=sent \(delivered to maildir\)",
        house.log()[-1],
    )


def test_the_null_sender_and_the_original_recipient_are_told(drive: Drive) -> None:
    async def test(house: House) -> None:
        recipient = JobRecipient(0, 0, Address.split("bob@example.net"), "info@example.net")
        await house.deliver(house.job(sender=None, recipients=(recipient,)))
        assert house.files()[0].read_bytes().startswith(b"Return-Path: <>\nX-Original-To: info@example.net\nDelivered-")

    assert "orig_to=<info@example.net>" in drive(test).log()[-1]


def test_every_recipient_has_a_result_of_its_own(drive: Drive) -> None:
    async def test(house: House) -> None:
        house.add_user("eve@example.net")
        results = await house.deliver(house.job("bob@example.net", "nobody@example.net", "eve@example.net"))
        by_index = {result.index: result for result in results}
        assert by_index[0].status is by_index[2].status is DeliveryStatus.SENT
        assert (by_index[1].status, by_index[1].dsn) == (DeliveryStatus.BOUNCED, "5.1.1")
        assert len(house.files("bob@example.net")) == len(house.files("eve@example.net")) == 1

    drive(test)


def test_content_in_a_descriptor_is_read_to_its_end(drive: Drive, tmp_path: Path) -> None:
    async def test(house: House) -> None:
        content = b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" * 100_000
        (tmp_path / "content").write_bytes(content)
        descriptor = os.open(tmp_path / "content", os.O_RDONLY)
        (result,) = await house.deliver(house.job(content=b"", size=len(content)), (descriptor,))
        os.close(descriptor)
        assert result.status is DeliveryStatus.SENT
        assert house.files()[0].read_bytes() == HEAD + content.replace(b"\r\n", b"\n")

    drive(test)


def test_the_answer_of_userdb_serves_many_deliveries(drive: Drive) -> None:
    async def test(house: House) -> None:
        for number in range(5):
            await house.deliver(house.job(number=number))
        assert house.lookups == ["bob@example.net"]

    drive(test)


def test_while_auth_does_not_answer_mail_waits(drive: Drive) -> None:
    async def test(house: House) -> None:
        house.auth_down = True
        (result,) = await house.deliver(house.job())
        assert (result.status, result.dsn) == (DeliveryStatus.DEFERRED, "4.3.0")
        house.auth_down = False
        (result,) = await house.deliver(house.job())
        assert result.status is DeliveryStatus.SENT

    drive(test)


def test_many_jobs_share_few_flushes_and_each_is_answered(drive: Drive) -> None:
    async def test(house: House) -> None:
        users = [f"user{number}@example.net" for number in range(20)]
        for user in users:
            house.add_user(user)
        jobs = [house.job(users[number % 20], number=number) for number in range(200)]
        answers = await asyncio.gather(*(house.deliver(job) for job in jobs))
        assert all(result.status is DeliveryStatus.SENT for results in answers for result in results)
        assert sum(len(house.files(user)) for user in users) == 200

    drive(test)


def test_a_delivery_that_may_have_happened_happens_once(drive: Drive) -> None:
    async def test(house: House) -> None:
        await house.deliver(house.job())
        (result,) = await house.deliver(house.job(maybe_delivered=True))
        assert result.status is DeliveryStatus.SENT
        assert len(house.files()) == 1
        house.retire("4bXyZ1abcdz0.0.0")
        (result,) = await house.deliver(house.job(number=2, maybe_delivered=True))
        assert len(house.files()) == 2

    drive(test)


def test_after_a_restart_of_the_process_it_still_happens_once(drive: Drive) -> None:
    async def first(house: House) -> None:
        await house.deliver(house.job())

    async def second(house: House) -> None:
        (path,) = house.files()
        # A reader has seen it meanwhile.
        path.rename(path.parent.parent / "cur" / (path.name + ":2,S"))
        (result,) = await house.deliver(house.job(maybe_delivered=True))
        assert result.status is DeliveryStatus.SENT
        assert len(house.files()) == 1

    drive(first)
    drive(second)


def test_a_torn_file_of_a_power_cut_is_replaced(drive: Drive) -> None:
    async def first(house: House) -> None:
        await house.deliver(house.job())

    async def second(house: House) -> None:
        house.files()[0].write_bytes(b"")
        await house.deliver(house.job(maybe_delivered=True))
        (path,) = house.files()
        assert path.read_bytes() == HEAD + CONTENT.replace(b"\r\n", b"\n")

    drive(first)
    house = drive(second)
    assert any("incomplete delivery" in words for words in house.complaints())


def test_over_quota_bounces_as_dovecot_does_or_waits(drive: Drive) -> None:
    async def bounced(house: House) -> None:
        house.add_user("bob@example.net", quota=100)
        (result,) = await house.deliver(house.job())
        assert (result.status, result.dsn) == (DeliveryStatus.BOUNCED, "5.2.2")
        assert "Quota exceeded (mailbox for user is full)" in result.text

    async def deferred(house: House) -> None:
        house.add_user("bob@example.net", quota=100)
        (result,) = await house.deliver(house.job())
        assert (result.status, result.dsn) == (DeliveryStatus.DEFERRED, "4.2.2")

    drive(bounced)
    drive(deferred, dovecot={"quota_full_tempfail": "yes"})


def test_a_message_beyond_the_limit_bounces(drive: Drive) -> None:
    async def test(house: House) -> None:
        (result,) = await house.deliver(house.job())
        assert (result.status, result.dsn) == (DeliveryStatus.BOUNCED, "5.2.2")

    drive(test, virtual_mailbox_limit="20")


def test_a_mailbox_from_a_lookup_table_lies_below_the_base(drive: Drive, tmp_path: Path) -> None:
    def recipient(path: str) -> tuple[JobRecipient, ...]:
        return (JobRecipient(0, 0, Address.split("bob@example.net"), "", (), path),)

    async def test(house: House) -> None:
        (result,) = await house.deliver(house.job(recipients=recipient("example.net/bob/")))
        assert result.status is DeliveryStatus.SENT
        assert len(list((tmp_path / "base/example.net/bob/new").iterdir())) == 1
        for number, bad in enumerate(("../outside/", "example.net/mbox")):
            (result,) = await house.deliver(house.job(number=number + 5, recipients=recipient(bad)))
            assert (result.status, result.dsn) == (DeliveryStatus.DEFERRED, "4.3.5")
        assert house.lookups == []
        assert not (tmp_path / "outside").exists()

    house = drive(test, virtual_mailbox_base=str(tmp_path / "base"))
    assert len(house.complaints()) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_without_permission_mail_waits_and_the_log_names_the_repair(drive: Drive) -> None:
    async def test(house: House) -> None:
        house.mail.chmod(0o500)
        (result,) = await house.deliver(house.job())
        house.mail.chmod(0o700)
        assert (result.status, result.dsn) == (DeliveryStatus.DEFERRED, "4.2.0")
        assert str(house.mail) not in result.text

    house = drive(test)
    assert any("missing +w perm" in words and "to repair: " in words for words in house.complaints())


def test_a_path_that_is_a_file_defers_and_is_explained(drive: Drive) -> None:
    async def test(house: House) -> None:
        (house.mail / "bob@example.net").write_bytes(b"")
        (result,) = await house.deliver(house.job())
        assert (result.status, result.dsn) == (DeliveryStatus.DEFERRED, "4.2.0")

    house = drive(test)
    assert any("Not a directory" in words for words in house.complaints())


def test_a_message_that_was_here_before_is_a_loop(drive: Drive) -> None:
    async def test(house: House) -> None:
        content = b"Received: x\r\nDelivered-To: Bob@Example.net\r\n" + CONTENT
        (result,) = await house.deliver(house.job(content=content, size=len(content)))
        assert (result.status, result.dsn) == (DeliveryStatus.BOUNCED, "5.4.6")

    drive(test)


def test_only_a_header_field_of_this_recipient_makes_a_loop() -> None:
    bob = "bob@example.net"
    assert is_loop(b"Delivered-To: bob@example.net\r\n\r\n", bob)
    assert not is_loop(b"Delivered-To: bobby@example.net\r\n\r\n", bob)
    assert not is_loop(b"X-Delivered-To: bob@example.net\r\n\r\n", bob)
    assert not is_loop(b"Subject: x\r\n\r\nDelivered-To: bob@example.net\r\n", bob)


def test_the_process_comes_back_to_a_queue_that_was_replaced(drive: Drive) -> None:
    async def test(house: House) -> None:
        house.has_registered.clear()
        house.registered[-1].close()
        await asyncio.wait_for(house.has_registered.wait(), 5)
        (result,) = await house.deliver(house.job())
        assert result.status is DeliveryStatus.SENT

    drive(test)


def test_a_reload_changes_what_deliveries_obey(drive: Drive) -> None:
    async def test(house: House) -> None:
        configuration = house.context.configuration
        configuration.main = configuration.main.overlay({"virtual_mailbox_limit": "20"})
        async with asyncio.timeout(5):
            await house.process.reload(configuration)
        (result,) = await house.deliver(house.job())
        assert result.status is DeliveryStatus.BOUNCED

    drive(test)
