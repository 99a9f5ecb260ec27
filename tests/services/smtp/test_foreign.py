"""Servers we did not write: smtp-sink in its moods, and Debian's Postfix."""

import asyncio
import contextlib
import os
import pwd
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.core.result import DeliveryStatus
from tests.services.smtp.conftest import CONTENT, Desk
from tests.services.smtp.peers import PATIENCE_S, free_port, program, sink, wait_for_port

pytestmark = pytest.mark.foreign
MakeDesk = Callable[..., Desk]
SENT, DEFERRED, BOUNCED = DeliveryStatus.SENT, DeliveryStatus.DEFERRED, DeliveryStatus.BOUNCED


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ((), SENT),
        (("-p",), SENT),  # no pipelining
        (("-e",), SENT),  # no ESMTP
        (("-8",), SENT),  # no 8BITMIME
        (("-r", "DATA"), DEFERRED),
        (("-f", "RCPT"), BOUNCED),
        (("-f", "."), BOUNCED),
        (("-r", "MAIL"), DEFERRED),
        (("-q", "MAIL"), DEFERRED),
        (("-W", "DATA:1"), SENT),
    ],
)
def test_smtp_sink_in_its_moods(desk: MakeDesk, options: tuple[str, ...], status: DeliveryStatus) -> None:
    place = desk()

    async def test() -> None:
        for _ in range(1 if "-W" in options else 3):
            (result,) = await place.deliver(f"[127.0.0.1]:{port}")
            assert result.status is status, result

    with sink(*options) as port:
        place.drive(test)


def test_smtp_sink_as_lmtp_server(desk: MakeDesk) -> None:
    place = desk()

    async def test() -> None:
        results = await place.deliver(f"inet:127.0.0.1:{port}", "a@y.test", "b@y.test", transport="lmtp")
        assert [one.status for one in results] == [SENT, SENT]

    with sink("-L") as port:
        place.drive(test)


def test_many_jobs_at_once_and_many_recipients_in_one(desk: MakeDesk) -> None:
    place = desk()

    async def test() -> None:
        results = await place.deliver(f"[127.0.0.1]:{port}", *(f"u{number}@y.test" for number in range(250)))
        assert len(results) == 250
        assert all(one.status is SENT for one in results)
        for _ in range(5):
            done = await asyncio.gather(*(place.deliver(f"[127.0.0.1]:{port}") for _ in range(40)))
            assert all(one.status is SENT for (one,) in done)

    with sink() as port:
        place.drive(test)


def test_the_cost_of_a_relayed_message(desk: MakeDesk) -> None:
    """Not a benchmark: a fence that falls over when somebody makes the hot path slow. Queue, tables and log share this
    process and its loop, so the real figure is lower."""
    place = desk()
    content = b"Subject: x\r\n\r\n" + b"x" * 70 + (b"\r\n" + b"x" * 70) * 12

    async def test() -> None:
        count, at_once = 2000, 20
        left = iter(range(count))
        jobs = [place.job(f"[127.0.0.1]:{port}", content=content) for _ in range(count)]

        async def worker() -> None:
            for number in left:
                outcomes = await place.connection.call(jobs[number])
                assert outcomes.results[0].status is SENT

        await asyncio.gather(*(worker() for _ in range(at_once)))
        left = iter(range(count))
        place.lines.clear()
        wall, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(worker() for _ in range(at_once)))
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        print(f"{count / wall:.0f}/s, {cpu / count * 1e6:.0f} µs CPU for both sides")
        assert cpu / count < 1500e-6

    with sink() as port:
        place.drive(test)


@pytest.fixture
def postfix(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Debian's Postfix with a configuration and a queue of its own: gives its port and where it stores mail."""
    if os.geteuid() != 0:
        pytest.skip("Postfix's master needs root")
    command = program("postfix")
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    port = free_port()
    etc, spool, data, boxes = (tmp_path / name for name in ("etc", "spool", "data", "boxes"))
    for directory in (etc, spool, data, boxes):
        directory.mkdir()
    user = pwd.getpwnam("postfix")
    os.chown(data, user.pw_uid, user.pw_gid)
    os.chown(boxes, user.pw_uid, user.pw_gid)
    (etc / "main.cf").write_text(
        f"""compatibility_level = 3.6
queue_directory = {spool}
data_directory = {data}
myhostname = peer.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = y.test
virtual_mailbox_maps = inline:{{good@y.test=good}}
virtual_mailbox_base = {boxes}
virtual_uid_maps = static:{user.pw_uid}
virtual_gid_maps = static:{user.pw_gid}
virtual_minimum_uid = 1
maillog_file = /dev/stdout
message_size_limit = 20000
"""
    )
    (etc / "master.cf").write_text(
        f"""127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
    )
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([command, "-c", str(etc), "start-fg"], stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for_port(port, process)
        yield port, boxes
    finally:
        subprocess.run([command, "-c", str(etc), "stop"], check=False, capture_output=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
        process.kill()
        process.wait()


def test_debian_s_postfix_takes_our_mail(desk: MakeDesk, postfix: tuple[int, Path]) -> None:
    place = desk()
    port, boxes = postfix
    content = CONTENT + "Zeile mit Ümlaut und 中文\r\n.\r\n..\r\n".encode()

    async def test() -> None:
        good, bad = await place.deliver(
            f"[127.0.0.1]:{port}", "good@y.test", "bad@y.test", content=content, body="8BITMIME"
        )
        assert good.status is SENT
        assert good.text.startswith("250 2.0.0 Ok: queued as ")
        assert good.dsn_passed
        assert (bad.status, bad.dsn) == (BOUNCED, "5.1.1")
        assert "User unknown in virtual mailbox table (in reply to RCPT TO command)" in bad.text
        (big,) = await place.deliver(f"[127.0.0.1]:{port}", "good@y.test", content=b"X: y\r\n\r\n" + b"x\r\n" * 10_000)
        assert (big.status, big.dsn) == (BOUNCED, "5.3.4")

    place.drive(test)
    deadline = time.monotonic() + PATIENCE_S
    while not (boxes / "good").exists() or not (boxes / "good").read_bytes().endswith(b"\n\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stored = (boxes / "good").read_bytes()
    assert content.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n") in stored
