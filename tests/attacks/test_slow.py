"""Clients that are slow, many or endless: others are served meanwhile, and memory stays bounded."""

import contextlib
import re
import resource
from pathlib import Path

import pytest

from tests.attacks.wire import Wire
from tests.running import RunningSystem

CROWD = 1000
MB = 1024 * 1024
ENDLESS_MB = 32
"""Sent by who never ends. Memory must not follow: a quarter of it is allowed for what earlier crowds have left."""


@pytest.fixture(scope="module")
def settings() -> tuple[str, ...]:
    return ("smtpd_client_connection_count_limit=0", "dovecot/mail_max_userip_connections=0")


@pytest.fixture(autouse=True)
def descriptors() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def memory(system: RunningSystem, name: str) -> int:
    """Resident octets of all processes of one kind."""
    total = 0
    for title, pid in system.processes().items():
        if title.split()[0] == name:
            status = Path(f"/proc/{pid}/status").read_text()
            found = re.search(r"VmRSS:\s+(\d+) kB", status)
            total += int(found[1]) * 1024 if found else 0
    return total


@pytest.mark.parametrize(
    ("endpoint", "process", "octets"),
    [
        ("smtp", "smtpd", b""),
        ("smtp", "smtpd", b"E"),
        ("smtp", "smtpd", b"EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nS"),
        ("submissions", "smtpd", b"\x16\x03\x01"),
        ("imap", "login", b"a LOGIN {5}\r\n"),
        ("imaps", "login", b"\x16"),
        ("pop3", "login", b"USER alice"),
    ],
)
def test_a_thousand_slow_clients_cost_little_and_hold_nobody_up(
    system: RunningSystem, endpoint: str, process: str, octets: bytes
) -> None:
    before = memory(system, process)
    with contextlib.ExitStack() as crowd:
        for number in range(CROWD):
            wire = crowd.enter_context(Wire(system.endpoint(endpoint), source=f"127.0.{number % 4}.{number % 200 + 2}"))
            if octets:
                wire.send(octets)
        with system.smtp() as client:
            client.sendmail(
                "stranger@example.org", ["bob@example.test"], f"Subject: amid {endpoint}{len(octets)}\r\n\r\nx\r\n"
            )
        system.wait_for_message(f"Subject: amid {endpoint}{len(octets)}\n", "bob")
        with system.imap("bob") as reader:
            assert reader.select()[0] == "OK"
        assert memory(system, process) - before < CROWD * 120 * 1024


@pytest.mark.parametrize(
    "command",
    [
        b"a LOGIN {9999999999}\r\n",
        b"a LOGIN {99999999999999999999999}\r\n",
        b"a LOGIN {4294967296+}\r\n" + b"x" * MB,
        b"a LOGIN {100000000+}\r\n" + b"x" * MB,
        b"a AUTHENTICATE PLAIN {100000000+}\r\n" + b"x" * MB,
        b"a {100000000+}\r\n" + b"x" * MB,
        b"a ID (" + b'"x" ' * 300_000,
        b"(" * MB,
        b"x" * MB,
    ],
    ids=lambda one: repr(one[:24]),
)
def test_nothing_large_is_taken_before_login(system: RunningSystem, command: bytes) -> None:
    before = memory(system, "login")
    with Wire(system.endpoint("imap")) as wire:
        wire.line()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(command)
            if len(command) > MB:
                for _ in range(ENDLESS_MB):
                    wire.send(b"x" * MB)
        answer = wire.rest(0.2)
        assert b"a OK" not in answer
        assert not re.search(rb"^\+", answer, re.MULTILINE), "it is asked for"
        assert memory(system, "login") - before < ENDLESS_MB * MB // 4
    with system.imap("alice") as reader:
        assert reader.select()[0] == "OK"


@pytest.mark.parametrize(
    "stream",
    [b"x" * 65536, b"EHLO " + b"x" * 65531, b"\r" * 65536, b"\0" * 65536, b"AUTH PLAIN " + b"A" * 65525],
    ids=lambda one: repr(one[:12]),
)
def test_an_endless_line_is_not_kept(system: RunningSystem, stream: bytes) -> None:
    before = memory(system, "smtpd")
    with Wire(system.endpoint("smtp")) as wire:
        wire.ehlo()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(ENDLESS_MB * MB // len(stream)):
                wire.send(stream)
        assert memory(system, "smtpd") - before < ENDLESS_MB * MB // 4


def test_an_endless_header_is_refused_at_the_size_limit(system: RunningSystem) -> None:
    limit = 10_240_000
    before = memory(system, "smtpd")
    with Wire(system.endpoint("smtp")) as wire:
        wire.ehlo()
        wire.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
        assert [wire.reply()[:1] for _ in range(3)] == [b"2", b"2", b"3"]
        block = b"X-Header: " + b"y" * 500 + b"\r\n"
        for _ in range(2 * limit // (len(block) * 100)):
            wire.send(block * 100)
        assert memory(system, "smtpd") - before < 2 * limit
        assert wire.send(b"\r\nbody\r\n.\r\n").reply()[:3] == b"552"


def test_too_many_recipients_wait_for_another_message(system: RunningSystem) -> None:
    with Wire(system.endpoint("smtp")) as wire:
        wire.ehlo()
        wire.send(b"MAIL FROM:<a@example.org>\r\n").reply()
        answers = [wire.send(b"RCPT TO:<alice+%d@example.test>\r\n" % number).reply()[:3] for number in range(1010)]
        assert set(answers[:1000]) == {b"250"}
        assert set(answers[1000:]) == {b"452"}
