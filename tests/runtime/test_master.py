"""master and the common life of its children, with processes that misbehave on purpose."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


class Run:
    def __init__(self, directory: Path, name: str, *settings: str) -> None:
        self.log_path = directory / "box/log/mail.log"
        self.etc = directory / "box/etc"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.runtime.subjects", str(directory / "box"), name, *settings],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            env={**os.environ, "SUBJECT_MARKER": str(directory / "marker")},
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        line = self.process.stdout.readline() if ready else b""
        self.facts = json.loads(line) if line else None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def wait_for_log(self, pattern: str, count: int = 1) -> None:
        give_up = time.monotonic() + 15
        while len(re.findall(pattern, self.log())) < count:
            assert time.monotonic() < give_up, f"no {pattern!r} in\n{self.log()}"
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        if self.process.poll() is None:
            self.process.terminate()
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors.decode()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def make(name: str, *settings: str) -> Run:
        runs.append(Run(tmp_path, name, *settings))
        return runs[-1]

    yield make
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.communicate()


def test_an_ordinary_process_starts_and_stops_in_order(start: Callable[..., Run]) -> None:
    run = start("Subject")
    assert run.facts
    status, _ = run.end()
    assert status == 0
    assert re.search(r"started, pid \d+", run.log())
    assert "stopped in order" in run.log()
    assert not re.search(r"(warning|error|panic): ", run.log())


@pytest.mark.parametrize(
    ("name", "reason"),
    [("FailsBeforeTheJail", "OSError: no key"), ("FailsToStart", "ValueError: nothing to serve")],
)
def test_what_keeps_a_process_from_starting_is_printed_and_logged(
    start: Callable[..., Run], name: str, reason: str
) -> None:
    run = start(name)
    assert run.facts is None
    status, errors = run.end()
    assert status == 1
    assert f"posthouse: subject 0 cannot start: {reason}" in errors
    assert re.search(rf"subject\[\d+\]: panic: cannot start: .*{reason}", run.log())


def test_a_process_that_never_gets_ready_is_given_up(start: Callable[..., Run]) -> None:
    run = start("NeverReady", "process_start_time_limit=1s")
    status, errors = run.end()
    assert status == 1
    assert "subject 0 cannot start: not ready in time" in errors


def test_a_process_that_does_not_stop_in_time_is_told_so_and_ended(start: Callable[..., Run]) -> None:
    run = start("Stubborn", "process_stop_time_limit=1s")
    began = time.monotonic()
    status, _ = run.end()
    assert status == 0
    assert time.monotonic() - began < 8
    assert "warning: the time to stop in order is up" in run.log()


def test_a_process_that_hears_nothing_is_killed(start: Callable[..., Run]) -> None:
    run = start("Deaf", "process_stop_time_limit=1s")
    time.sleep(0.5)  # until its loop is blocked
    status, _ = run.end()
    assert status == 0
    assert re.search(r"warning: process subject 0 pid \d+ killed by signal 9", run.log())


def test_standard_output_and_error_of_a_process_go_to_the_log(start: Callable[..., Run]) -> None:
    run = start("Talkative")
    run.wait_for_log(r"subject 0 \(pid \d+\) says: to standard output")
    run.wait_for_log(r"says: to standard error \\xff")
    run.end()
    assert re.search(r"says: without an end of line", run.log())


def test_an_exception_in_a_callback_is_logged_and_the_process_goes_on(start: Callable[..., Run]) -> None:
    run = start("Buggy")
    run.wait_for_log(r"panic: .*ZeroDivisionError")
    run.wait_for_log("still here")
    assert "exit status" not in run.log()
    run.end()


def test_a_process_can_ask_to_be_started_again(start: Callable[..., Run], tmp_path: Path) -> None:
    run = start("Restarting")
    run.wait_for_log("asks to be started again: the disk is back")
    (tmp_path / "marker").touch()
    run.wait_for_log(r"started, pid \d+", 2)
    assert "stopped in order" in run.log()
    run.end()


def test_reload_replaces_a_process_and_drains_the_old_one(start: Callable[..., Run]) -> None:
    run = start("Subject")
    run.process.send_signal(signal.SIGHUP)
    run.wait_for_log(r"started, pid \d+", 2)
    run.wait_for_log("draining")
    run.wait_for_log("stopped in order")
    assert len(set(re.findall(r"started, pid (\d+)", run.log()))) == 2
    run.end()


def test_a_drained_process_is_stopped_when_its_time_is_up(start: Callable[..., Run]) -> None:
    run = start("LingersWhenDrained", "process_drain_time_limit=1s")
    run.process.send_signal(signal.SIGHUP)
    run.wait_for_log("stopped in order")
    assert "killed" not in run.log()
    run.end()


def test_reload_changes_an_owner_of_state_in_place(start: Callable[..., Run]) -> None:
    run = start("InPlace", "mail_name=before")
    main = run.etc / "main.cf"
    main.write_text(main.read_text().replace("mail_name = before", "mail_name = after"))
    run.process.send_signal(signal.SIGHUP)
    run.wait_for_log("reloaded, after")
    run.end()
    assert len(re.findall(r"started, pid", run.log())) == 1


def test_a_process_that_keeps_dying_is_restarted_after_growing_pauses(start: Callable[..., Run]) -> None:
    run = start("Subject")
    for count in (1, 2):
        run.wait_for_log(r"started, pid \d+", count)
        os.kill(int(re.findall(r"started, pid (\d+)", run.log())[-1]), signal.SIGKILL)
        run.wait_for_log("killed by signal 9", count)
    run.wait_for_log("subject 0: bad command startup -- throttling 1s")
    run.wait_for_log(r"started, pid \d+", 3)
    run.end()


def test_the_log_process_may_die_and_no_line_is_lost(start: Callable[..., Run]) -> None:
    run = start("Subject")
    run.wait_for_log(r"control 0 ready, pid \d+")
    control = int(re.findall(r"control 0 ready, pid (\d+)", run.log())[-1])
    os.kill(control, signal.SIGKILL)
    run.wait_for_log(rf"process control 0 pid {control} killed by signal 9")
    run.wait_for_log(r"control 0 ready", 2)
    status, _ = run.end()
    assert status == 0
    assert "stopped in order" in run.log()


def test_a_stop_in_the_middle_of_a_reload_ends_old_and_new_processes(start: Callable[..., Run]) -> None:
    run = start("Subject")
    run.process.send_signal(signal.SIGHUP)
    began = time.monotonic()
    status, _ = run.end()
    assert status == 0
    assert time.monotonic() - began < 5


def test_a_configuration_that_a_process_cannot_use_leaves_the_old_one_at_work(start: Callable[..., Run]) -> None:
    run = start("RefusesANewName", "mail_name=before")
    run.wait_for_log("started, pid")
    main = run.etc / "main.cf"
    main.write_text(main.read_text().replace("mail_name = before", "mail_name = after"))
    run.process.send_signal(signal.SIGHUP)
    run.wait_for_log("error: subject 0 cannot start with the new configuration: ValueError: another name")
    pid = int(re.findall(r"started, pid (\d+)", run.log())[-1])
    assert Path(f"/proc/{pid}").exists()
    run.end()
    assert "stopped in order" in run.log()
