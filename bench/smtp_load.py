"""SMTP and LMTP load from smtp-source, a C program of Debian's postfix package: far cheaper than any server."""

import itertools
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench import smtp_tls
from bench.arrivals import Arrivals
from bench.process_tree import cpu_seconds
from bench.server import LOOPBACK, Server

LIMIT_S = 150.0
_POLL_S = 0.01


@dataclass(frozen=True)
class Load:
    """`is_kept`: messages share connections; else each comes on a connection of its own."""

    count: int
    connections: int
    size: int = 1024
    is_kept: bool = True
    recipient: str = "user@example.test"
    is_numbered: bool = True
    """NNNuser@example.test: every message another recipient, spread over all mailboxes."""
    protocol: str = "smtp"

    def command(self, port: int) -> list[str]:
        words = ["smtp-source", "-s", str(self.connections), "-m", str(self.count), "-l", str(self.size), "-C", "5"]
        if self.protocol == "lmtp":
            words.append("-L")
        if self.is_kept:
            words.append("-d")
        if self.is_numbered:
            words.append("-N")
        return [*words, "-f", "sender@mail.example.test", "-t", self.recipient, f"{LOOPBACK}:{port}"]


def run(server: Server, load: Load, *, is_done: Callable[[], bool]) -> dict[str, float]:
    """Until `is_done` and the queue is empty: then all is flushed at its destination."""
    cpu = cpu_seconds(server.pid)
    begin = time.monotonic()
    subprocess.run(load.command(server.ports[load.protocol]), check=True, timeout=LIMIT_S, capture_output=True)
    accepted = time.monotonic() - begin
    while not is_done() or server.queue_length():
        if time.monotonic() - begin > LIMIT_S:
            raise TimeoutError(f"{server.name}: {load} is not delivered after {LIMIT_S} s")
        time.sleep(_POLL_S)
    delivered = time.monotonic() - begin
    spent = cpu_seconds(server.pid) - cpu
    return {
        "delivered": load.count / delivered,
        "accepted": load.count / accepted,
        "cpu": spent / load.count * 1000,
    }


def run_to_maildirs(server: Server, load: Load) -> dict[str, float]:
    arrivals = Arrivals(maildir / "new" for maildir in server.maildirs)
    try:
        return run(server, load, is_done=lambda: arrivals.poll() >= load.count)
    finally:
        arrivals.close()


def run_tls_to_maildirs(server: Server, load: Load) -> dict[str, float]:
    """As `run_to_maildirs`, over STARTTLS; connections are made and encrypted before the clock starts."""
    arrivals = Arrivals(maildir / "new" for maildir in server.maildirs)
    sessions = [smtp_tls.Session(server.ports["smtp"]) for _ in range(load.connections)]
    numbers = itertools.count()
    body = b"Subject: bench\r\n\r\n" + (b"x" * 70 + b"\r\n") * (load.size // 72) + b".\r\n"

    def work(session: smtp_tls.Session) -> None:
        while (number := next(numbers)) < load.count:
            session.send(b"%d%s" % (number, load.recipient.encode()), body)

    try:
        cpu = cpu_seconds(server.pid)
        begin = time.monotonic()
        with ThreadPoolExecutor(load.connections) as pool:
            list(pool.map(work, sessions))
        accepted = time.monotonic() - begin
        while arrivals.poll() < load.count or server.queue_length():
            if time.monotonic() - begin > LIMIT_S:
                raise TimeoutError(f"{server.name}: {load} is not delivered after {LIMIT_S} s")
            time.sleep(_POLL_S)
        delivered = time.monotonic() - begin
        spent = cpu_seconds(server.pid) - cpu
    finally:
        for session in sessions:
            session.close()
        arrivals.close()
    return {
        "delivered": load.count / delivered,
        "accepted": load.count / accepted,
        "cpu": spent / load.count * 1000,
    }


def run_to_queue_end(server: Server, load: Load) -> dict[str, float]:
    """For what leaves nothing to be counted: the queue is empty."""
    return run(server, load, is_done=lambda: True)


def run_beside_queue(server: Server, load: Load) -> dict[str, float]:
    """As `run_to_maildirs`, but other messages stay in the queue: until the last file has arrived."""
    arrivals = Arrivals(maildir / "new" for maildir in server.maildirs)
    begin = time.monotonic()
    try:
        accept(server, load)
        while arrivals.poll() < load.count:
            if time.monotonic() - begin > LIMIT_S:
                raise TimeoutError(f"{server.name}: {arrivals.count} of {load.count} messages arrived")
            time.sleep(_POLL_S)
    finally:
        arrivals.close()
    return {"delivered": load.count / (time.monotonic() - begin)}


def accept(server: Server, load: Load) -> None:
    subprocess.run(load.command(server.ports[load.protocol]), check=True, timeout=LIMIT_S, capture_output=True)


def wait_until_quiet(server: Server) -> None:
    """Until the server has used next to no CPU time for half a second."""
    give_up = time.monotonic() + LIMIT_S
    before = cpu_seconds(server.pid)
    while time.monotonic() < give_up:
        time.sleep(0.5)
        now = cpu_seconds(server.pid)
        if now - before < 0.05:
            return
        before = now
    raise TimeoutError(f"{server.name} goes on working")
