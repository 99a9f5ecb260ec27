"""A process kills itself at every named step of the store and of local delivery; nothing it promised is broken."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from posthouse.delivery.crashpoints import LocalStep
from posthouse.queue.crashpoints import QueueStep
from posthouse.runtime.crashpoints import CrashPoint
from posthouse.store.crashpoints import StoreStep
from tests.store.life import reconcile

ROOT = Path(__file__).parents[2]
STEPS: tuple[CrashPoint, ...] = (*StoreStep, *LocalStep)


def live(root: Path, step: CrashPoint, time: int, *, crowded: bool = False) -> subprocess.CompletedProcess[str]:
    # A block of numbers is waited for only if more are shown between two flushes than it has.
    words = ["crowded"] if crowded or step is StoreStep.UIDS_RESERVED else []
    return subprocess.run(
        [sys.executable, "-m", "tests.store.life", str(root), "auto", *words],
        cwd=ROOT,
        env={**os.environ, "POSTHOUSE_CRASH_AT": f"{step.name}:{time}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("time", [1, 2])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_death_at_this_step_breaks_no_promise(tmp_path: Path, step: CrashPoint, time: int) -> None:
    root = tmp_path / "Maildir"
    run = live(root, step, time)
    assert run.returncode == -signal.SIGKILL, f"{step.name} was not reached: {run.stderr}"
    reconcile(str(root), run.stdout.splitlines())


@pytest.mark.parametrize("time", [300, 1500])
def test_numbers_shown_before_their_rows_were_written_name_nothing_else(tmp_path: Path, time: int) -> None:
    root = tmp_path / "Maildir"
    run = live(root, StoreStep.APPEND_NAMED, time, crowded=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    reconcile(str(root), run.stdout.splitlines())


def test_every_step_is_described_under_its_number_and_marked_in_the_code() -> None:
    page = (ROOT / "docs/mail-store.md").read_text()
    described = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \| ", page, re.MULTILINE)
    assert [(int(number), name) for number, name in described] == [(step.value, step.name) for step in STEPS]
    code = "".join(path.read_text() for path in (ROOT / "src/posthouse").rglob("*.py"))
    for step in STEPS:
        assert f"reach({type(step).__name__}.{step.name})" in code


def test_names_of_steps_are_unique_because_they_are_armed_by_name() -> None:
    names = [step.name for area in (QueueStep, StoreStep, LocalStep) for step in area]
    assert len(names) == len(set(names))
