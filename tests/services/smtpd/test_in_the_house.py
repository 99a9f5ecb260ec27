"""smtpd with the real queue, tables and auth: relay tricks, foreign senders, a restarted queue."""

import os
import signal
import smtplib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import NewSandbox
from tests.running import RunningSystem

TRICKS = [
    "user@elsewhere.example",
    "user%elsewhere.example@example.test",
    "user%elsewhere.example",
    "user%elsewhere.example@localhost",
    "user%elsewhere.example%example.test@example.test",
    "elsewhere.example!user",
    "elsewhere.example!user@example.test",
    '"user@elsewhere.example"@example.test',
    '"user@elsewhere.example"',
    '"user%elsewhere.example"@localhost',
    '"elsewhere.example!user"@localhost',
    "@example.test:user@elsewhere.example",
    "@example.test,@localhost:user@elsewhere.example",
    "user@[192.0.2.9]",
    "user@[IPv6:2001:db8::1]",
    "user@[127.0.0.1",
    "user@elsewhere.example.",
    "user@ELSEWHERE.example",
    '"user@elsewhere.example"@[127.0.0.1]',
    "user%elsewhere.example@[127.0.0.1]",
    "user@example.test@elsewhere.example",
    "user@sub.example.test",
    "alice@example.test%elsewhere.example",
]


def test_no_trick_makes_us_relay_for_a_stranger(new_sandbox: NewSandbox) -> None:
    box = new_sandbox("mynetworks=192.0.2.0/24", "smtpd_client_event_limit_exceptions=static:all")
    host, port = box.endpoint("smtp")
    for number, recipient in enumerate(TRICKS):
        with smtplib.SMTP(host, port, timeout=20) as client:
            client.ehlo()
            client.docmd("MAIL FROM:<s@example.org>")
            code, text = client.docmd(f"RCPT TO:<{recipient}>")
            assert code in (454, 501, 550), (number, recipient, code, text)


def test_local_users_have_addresses_at_our_literal(new_sandbox: NewSandbox) -> None:
    box = new_sandbox("mynetworks=192.0.2.0/24")
    host, port = box.endpoint("smtp")
    with smtplib.SMTP(host, port, timeout=20) as client:
        client.ehlo()
        client.docmd("MAIL FROM:<s@example.org>")
        assert client.docmd("RCPT TO:<root@[127.0.0.1]>")[0] == 250
        assert client.docmd("RCPT TO:<postmaster>")[0] == 250
        assert client.docmd("RCPT TO:<nobody-at-all@localhost>")[0] == 550


@pytest.mark.foreign
def test_smtp_source_speaks_smtp_and_lmtp(sandbox: RunningSystem, foreign: Callable[[str], str]) -> None:
    host, port = sandbox.endpoint("smtp")
    for options in (["-d"], ["-4"], ["-L"]):
        endpoint = sandbox.endpoint("lmtp") if options == ["-L"] else (host, port)
        arguments = ["-s", "5", "-m", "50", "-l", "5000", "-f", "s@example.org", "-t", "alice@example.test"]
        done = subprocess.run(
            [foreign("smtp-source"), *options, *arguments, f"{endpoint[0]}:{endpoint[1]}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.foreign
def test_swaks_pipelines_and_sends_a_large_message(
    sandbox: RunningSystem, foreign: Callable[[str], str], tmp_path: Path
) -> None:
    host, port = sandbox.endpoint("smtp")
    body = tmp_path / "body"
    body.write_text("".join(f".{number} " + "y" * 70 + "\n" for number in range(20_000)))
    envelope = ["--from", "s@example.org", "--to", "alice@example.test,bob@example.test"]
    content = ["--body", f"@{body}", "--header", "Subject: large"]
    done = subprocess.run(
        [foreign("swaks"), "--server", host, "--port", str(port), "--pipeline", *envelope, *content],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1000:]
    assert "250 2.0.0 Ok: queued as" in done.stdout


def test_a_queue_that_dies_is_met_again(new_sandbox: NewSandbox) -> None:
    box = new_sandbox()
    box.expect_log(r"queue 0|killed|signal|cutting off|restart")
    host, port = box.endpoint("smtp")
    with smtplib.SMTP(host, port, timeout=30) as client:
        client.sendmail("s@example.org", ["alice@example.test"], "Subject: before\r\n\r\nx\r\n")
        os.kill(box.processes()["queue 0"], signal.SIGKILL)
        give_up = time.monotonic() + 30
        while True:
            try:
                client.sendmail("s@example.org", ["alice@example.test"], "Subject: after\r\n\r\nx\r\n")
                break
            except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError, smtplib.SMTPSenderRefused):
                assert time.monotonic() < give_up
                time.sleep(0.1)
