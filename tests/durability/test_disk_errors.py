"""What a sender hears when the disk fails: never yes; and what is queued goes on where it can."""

import errno
import os
import signal
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest
from torture.injection import CHANGES, Calls
from torture.load import SENDER, connect
from torture.world import USERS, World

ALICE = "alice@example.test"
TEXT = b"Subject: %s\r\n\r\nx\r\n"


@pytest.fixture
def world(open_directory: Path) -> Iterator[World]:
    one = World(open_directory)
    if one.injection is None or not one.spool_disk.is_own:
        one.close()
        pytest.skip("needs root, loop devices and gcc")
    one.start()
    yield one
    one.close()


def send(world: World, endpoint: str, subject: str, size: int = 1) -> tuple[int, str]:
    """The reply to the content (or to whatever was refused before)."""
    kind = smtplib.LMTP if endpoint == "lmtp" else smtplib.SMTP
    host, port = world.endpoint(endpoint)
    with kind(host, port, timeout=20) as client:
        client.ehlo_or_helo_if_needed()
        for reply in (client.mail(SENDER), client.rcpt(ALICE)):
            if reply[0] >= 400:
                return reply[0], reply[1].decode()
        code, text = client.data(TEXT % subject.encode() + b"x" * size)
        return code, text.decode()


def is_there(world: World, subject: str) -> bool:
    maildir = world.maildir("alice")
    return any(
        b"Subject: " + subject.encode() + b"\n" in path.read_bytes()
        for part in ("new", "cur")
        for path in (maildir / part).glob("*")
    )


def pids(world: World, role: str) -> list[int]:
    return [pid for title, pid in world.processes().items() if title.split()[0] == role]


def test_a_full_spool_refuses_new_mail_for_now_and_delivers_what_it_has(world: World) -> None:
    assert send(world, "smtp", "before")[0] == 250
    # What has come in waits while the mailboxes stand still; then the spool is full.
    mailboxes = pids(world, "mailbox")
    for pid in mailboxes:
        os.kill(pid, signal.SIGSTOP)
    assert send(world, "smtp", "waits")[0] == 250
    world.spool_disk.fill()
    for pid in mailboxes:
        os.kill(pid, signal.SIGCONT)
    try:
        # The journal's segment has its space already; what fits into it is safe.
        answers = [send(world, "smtp", f"filling{number}", 100_000) for number in range(40)]
        code, text = next(one for one in answers if one[0] != 250)
        assert (code, text[:5]) == (452, "4.3.1"), text
        world.queued()  # a flush
        assert world.wait(lambda: is_there(world, "waits"), 20)
        # Results are recorded in the reserve: everything that was accepted leaves the queue, with the disk full.
        assert world.wait(lambda: world.queued() == 0, 30)
        assert send(world, "smtp", "refused")[0] == 452
    finally:
        world.spool_disk.relieve()
    assert world.wait(lambda: send(world, "smtp", "after")[0] == 250, 20)
    assert world.wait(lambda: world.queued() == 0, 20)
    for number, (code, _) in enumerate(answers):
        assert is_there(world, f"filling{number}") == (code == 250)


def test_a_read_only_spool_refuses_for_now(world: World) -> None:
    assert world.injection is not None
    assert send(world, "smtp", "first")[0] == 250
    world.injection.arm(pids(world, "queue"), CHANGES, errno.EROFS)
    code, text = send(world, "smtp", "refused")
    assert (code, text[:5]) == (451, "4.3.0"), text
    assert world.injection.disarm() > 0
    assert world.wait(lambda: send(world, "smtp", "after")[0] == 250, 20)


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_failing_flush_of_the_journal_is_loud_and_nothing_behind_it_is_acknowledged(world: World, error: int) -> None:
    assert world.injection is not None
    assert send(world, "smtp", "first")[0] == 250
    world.injection.arm(pids(world, "queue"), Calls.FLUSH, error)
    for number in range(3):
        assert send(world, "smtp", f"refused{number}")[0] in (451, 452)
    assert world.injection.disarm() > 0
    # Log lines travel on their own, up to a moment after the reply.
    assert world.wait(lambda: "error: the journal cannot be written" in world.log.read_text(), 20)
    assert world.wait(lambda: "nothing of this batch was acknowledged" in world.log.read_text(), 20)
    assert world.wait(lambda: send(world, "smtp", "after")[0] == 250, 20)
    assert world.wait(lambda: world.queued() == 0, 20)
    assert not any(is_there(world, f"refused{number}") for number in range(3))


def test_a_failing_flush_of_the_store_acknowledges_neither_lmtp_nor_append(world: World) -> None:
    assert world.injection is not None
    assert send(world, "lmtp", "first")[0] == 250
    client = connect(world.endpoint("imap"), ALICE, USERS["alice"])
    assert client.append("INBOX", "", "", TEXT % b"appended-before")[0] == "OK"
    world.injection.arm(pids(world, "mailbox"), Calls.FLUSH | Calls.SYNCFS, errno.EIO)
    assert client.append("INBOX", "", "", TEXT % b"appended-meanwhile")[0] == "NO"
    assert send(world, "lmtp", "meanwhile")[0] >= 400
    assert world.injection.disarm() > 0
    client.shutdown()
    assert world.wait(lambda: send(world, "lmtp", "after")[0] == 250, 20)
    assert world.wait(lambda: world.queued() == 0, 20)
    assert not is_there(world, "appended-meanwhile")


def test_a_full_store_defers_what_is_queued_and_says_so_to_readers(world: World) -> None:
    assert send(world, "smtp", "first")[0] == 250
    assert world.wait(lambda: is_there(world, "first"), 20)
    world.store_disk.fill()
    try:
        assert send(world, "smtp", "queued")[0] == 250
        client = connect(world.endpoint("imap"), ALICE, USERS["alice"])
        status, [text] = client.append("INBOX", "", "", b"Subject: x\r\n\r\n" + b"y" * 100_000)
        assert status == "NO"
        assert b"Not enough disk space" in text
        client.shutdown()
        assert world.wait(lambda: "status=deferred" in world.log.read_text(), 20)
        assert world.queued() == 1
    finally:
        world.store_disk.relieve()
    assert world.wait(lambda: world.queued() == 0, 20)
    assert is_there(world, "queued")
