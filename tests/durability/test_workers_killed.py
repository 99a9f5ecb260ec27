"""Processes die one after the other under load: master starts them again, nothing acknowledged is lost or doubled."""

import contextlib
import re
import smtplib
import threading
import time
from collections import Counter

import pytest
from tests.conftest import NewSandbox
from tests.running import RunningSystem

VICTIMS = ("queue 0", "mailbox 0", "smtpd 0", "mailbox 1", "tables 0", "auth 0", "control 0", "queue 0", "smtpd 1")
CLIENTS = 6
PAUSE_S = 0.5
MARK = re.compile(rb"^X-Mark: (\S+)", re.MULTILINE)


def send_until(stop: threading.Event, system: RunningSystem, client: int, acked: set[str]) -> None:
    """Transaction after transaction; after a lost connection or a temporary refusal a new one. A mark that got no 250
    is not used again."""
    number = 0
    while not stop.is_set():
        with contextlib.suppress(OSError, smtplib.SMTPException):
            connection = smtplib.SMTP(*system.endpoint("smtp"), timeout=10)
            try:
                while not stop.is_set():
                    number += 1
                    mark = f"{client}-{number}"
                    recipient = f"{('alice', 'bob')[number % 2]}@example.test"
                    connection.sendmail("s@example.org", [recipient], f"X-Mark: {mark}\r\n\r\n{'y' * 600}\r\n")
                    acked.add(mark)
            finally:
                connection.close()


@pytest.mark.timeout(180)
def test_no_process_takes_acknowledged_mail_with_it(new_sandbox: NewSandbox) -> None:
    system = new_sandbox("minimal_backoff_time=1s", "maximal_backoff_time=2s", "queue_run_delay=1s")
    # The others may complain about a colleague that is gone, but nobody may stumble over it.
    system.expect_log(r"^(?!.*\bpanic: )")
    acked: set[str] = set()
    stop = threading.Event()
    clients = [threading.Thread(target=send_until, args=(stop, system, number, acked)) for number in range(CLIENTS)]
    for thread in clients:
        thread.start()
    try:
        for title in VICTIMS:
            time.sleep(PAUSE_S)  # the load itself, not synchronisation
            system.wait_until(lambda title=title: title in system.processes(), f"{title} to live")
            with contextlib.suppress(ProcessLookupError, KeyError):
                system.kill(title)
        before = len(acked)
        system.wait_until(lambda: len(acked) > before + CLIENTS, "mail to go on after the last death")
    finally:
        stop.set()
        for thread in clients:
            thread.join(30)
    system.wait_until(lambda: "Mail queue is empty" in system.command("postqueue", "-p").stdout, "an empty queue", 60)
    marks = Counter(
        match[1].decode()
        for name in ("alice", "bob")
        for path in system.files(name)
        if (match := MARK.search(path.read_bytes()))
    )
    assert len(acked) > 50, "there was no load to speak of"
    lost = acked - set(marks)
    assert not lost, f"{len(lost)} of {len(acked)} acknowledged messages are lost"
    twice = [mark for mark, count in marks.items() if count > 1]
    assert not twice, f"{len(twice)} messages were delivered more than once"
