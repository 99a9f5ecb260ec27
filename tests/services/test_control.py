"""The log and the counters, as their clients see them."""

import asyncio
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.core.logline import Level
from posthouse.runtime.ipc import Peer
from posthouse.runtime.process import socket_path
from posthouse.runtime.schema import (
    CONTROL,
    CountConnect,
    CountDisconnect,
    CountEvent,
    Counts,
    LogLines,
    LogRecord,
)
from posthouse.services.control import LogFile, Syslog
from tests.runtime.test_master import Run


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = Run(tmp_path_factory.mktemp("control"), "Subject", "anvil_rate_time_unit=1h")
    yield run
    run.end()


@pytest.fixture
def connect(system: Run) -> Callable[[], Peer]:
    run_directory = f"{system.facts['dir']}/run"
    return lambda: Peer(socket_path(run_directory, CONTROL, "subject"), CONTROL)


def test_connections_of_all_processes_are_counted_together(connect: Callable[[], Peer]) -> None:
    async def talk() -> None:
        one, other = connect(), connect()
        ask = CountConnect("smtp", "192.0.2.1")
        assert await one.call(ask, expect=Counts) == Counts(1, 1)
        assert await other.call(ask, expect=Counts) == Counts(2, 2)
        one.notify(CountDisconnect("smtp", "192.0.2.1"))
        assert await one.call(CountEvent("smtp", "192.0.2.1", "message"), expect=Counts) == Counts(1, 1)
        one.close()
        other.close()

    asyncio.run(talk())


def test_what_a_dead_process_had_counted_is_released(connect: Callable[[], Peer]) -> None:
    async def talk() -> None:
        dying, living = connect(), connect()
        ask = CountConnect("smtp", "192.0.2.2")
        for _ in range(5):
            await dying.call(ask)
        assert await living.call(ask, expect=Counts) == Counts(6, 6)
        dying.close()
        for _ in range(200):
            counts = await living.call(CountEvent("smtp", "192.0.2.2", "message"), expect=Counts)
            if counts.connections == 1:
                break
            await asyncio.sleep(0.01)
        assert counts.connections == 1
        living.close()

    asyncio.run(talk())


def test_nobody_takes_back_what_another_process_counted(connect: Callable[[], Peer]) -> None:
    async def talk() -> None:
        honest, liar = connect(), connect()
        await honest.call(CountConnect("smtp", "192.0.2.3"))
        connection = await liar.connect()
        connection.notify(CountDisconnect("smtp", "192.0.2.3"))
        counts = await liar.call(CountEvent("smtp", "192.0.2.3", "auth"), expect=Counts)
        assert counts.connections == 1
        honest.close()
        liar.close()

    asyncio.run(talk())


def test_errors_also_go_to_the_file_of_errors(system: Run, connect: Callable[[], Peer]) -> None:
    async def talk() -> None:
        peer = connect()
        records = (
            LogRecord(1763899200.0, Level.INFO, "postfix/smtpd", 5, "an ordinary line"),
            LogRecord(1763899200.0, Level.ERROR, "postfix/smtpd", 5, "error: a bad line"),
        )
        (await peer.connect()).notify(LogLines(records))
        await peer.call(CountEvent("smtp", "192.0.2.4", "message"))  # answered after the lines were written
        peer.close()

    asyncio.run(talk())
    errors = system.log_path.with_suffix(".err").read_text()
    assert re.search(r"^\w{3} [ \d]\d \d\d:\d\d:\d\d \S+ postfix/smtpd\[5\]: error: a bad line$", errors, re.MULTILINE)
    assert "an ordinary line" not in errors
    assert "an ordinary line" in system.log()
    assert "error: a bad line" in system.log()


def test_a_full_disk_delays_lines_and_loses_none(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    file = LogFile(str(tmp_path / "mail.log"), full)
    file.write(b"one\n")
    file.write(b"two\n")
    assert not file.dropped
    good = os.open(tmp_path / "mail.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(good, full)
    os.close(good)
    file.write(b"three\n")
    assert (tmp_path / "mail.log").read_bytes() == b"one\ntwo\nthree\n"
    os.close(full)


def test_beyond_its_backlog_the_log_drops_the_oldest_lines_and_counts_them(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    file = LogFile(str(tmp_path / "mail.log"), full)
    for _ in range(20):
        file.write(b"x" * 999_999 + b"\n")
    assert 10 <= file.dropped <= 13
    os.close(full)


def test_syslog_gets_datagrams_and_may_be_restarted(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    syslog = Syslog(2, path)
    syslog.write("lost: nobody listens")
    assert syslog.dropped == 1
    for word in ("first", "second"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(path)
            daemon.settimeout(5)
            syslog.write(f"<22>{word}")
            assert daemon.recv(1000) == f"<22>{word}".encode()
        os.unlink(path)
    syslog.close()
