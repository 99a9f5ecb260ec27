"""The whole tree is killed with SIGKILL under load and started again on the same directory: every acknowledged
message is
in its Maildir exactly once; one without a final 250 is there once or not at all."""

import contextlib
import json
import os
import re
import select
import signal
import smtplib
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from bench.process_tree import tree

ROUNDS = 3
CLIENTS = 8
LOAD_S = 1.5
MARK = re.compile(rb"^X-Mark: (\S+)", re.MULTILINE)
ACCOUNTS = ("alice", "bob")


class System:
    """`posthouse sandbox` on a directory that survives it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        self.smtp = ""

    def start(self) -> None:
        command = [sys.executable, "-m", "posthouse.cli.posthouse", "sandbox", "--dir", str(self.directory), "--json"]
        for account in ACCOUNTS:
            command += ["--user", f"{account}:secret"]
        with open(self.directory.parent / "stderr", "ab") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        line = self.process.stdout.readline() if ready else b""
        assert line, (self.directory.parent / "stderr").read_text()
        self.smtp = json.loads(line)["smtp"]

    def kill_everything(self) -> None:
        assert self.process is not None
        for pid in tree(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    def queue_is_empty(self) -> bool:
        command = [str(Path(sys.executable).parent / "postqueue"), "-c", str(self.directory / "etc"), "-p"]
        listing = subprocess.run(command, capture_output=True, timeout=30, check=False)
        return b"Mail queue is empty" in listing.stdout

    def marks(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for part in ("new", "cur"):
            for path in self.directory.rglob(f"{part}/*"):
                if path.is_file() and (match := MARK.search(path.read_bytes())):
                    found[match[1].decode()] += 1
        return found


def send_until(stop: threading.Event, system: System, client: int, round_: int, acked: set[str]) -> None:
    """One client: transaction after transaction on one connection; a mark is acknowledged when 250 was read."""
    host, _, port = system.smtp.rpartition(":")
    number = 0
    with contextlib.suppress(OSError, smtplib.SMTPException):
        connection = smtplib.SMTP(host, int(port), timeout=10)
        try:
            while not stop.is_set():
                number += 1
                mark = f"{round_}-{client}-{number}"
                recipient = f"{ACCOUNTS[number % len(ACCOUNTS)]}@example.test"
                text = f"Subject: {mark}\r\nX-Mark: {mark}\r\n\r\n{'x' * 800}\r\n"
                connection.sendmail("s@example.org", [recipient], text)
                acked.add(mark)
        finally:
            connection.close()


@pytest.mark.timeout(300)
def test_every_acknowledged_message_is_delivered_exactly_once_after_sigkill(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    system = System(tmp_path / "sandbox")
    acked: set[str] = set()
    try:
        for round_ in range(ROUNDS):
            system.start()
            stop = threading.Event()
            clients = [
                threading.Thread(target=send_until, args=(stop, system, client, round_, acked))
                for client in range(CLIENTS)
            ]
            for thread in clients:
                thread.start()
            time.sleep(LOAD_S)  # the load itself, not synchronisation
            system.kill_everything()
            stop.set()
            for thread in clients:
                thread.join(30)
        system.start()
        give_up = time.monotonic() + 60
        while not system.queue_is_empty():
            assert time.monotonic() < give_up, "the queue does not drain after restart"
            time.sleep(0.1)
        marks = system.marks()
    finally:
        system.stop()
    assert len(acked) > ROUNDS * CLIENTS, "there was no load to speak of"
    lost = acked - set(marks)
    assert not lost, f"{len(lost)} of {len(acked)} acknowledged messages are lost"
    twice = {mark: count for mark, count in marks.items() if count > 1}
    assert not twice, f"{len(twice)} of {len(marks)} messages were delivered more than once"
