"""All targets, two at a time, the time shared among them; findings are kept and counted."""

import hashlib
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fuzz.target import FOUND, ROOT, load

WORK: Final = ROOT.parent / ".fuzz"
"""What the fuzzer has learned so far; stays between runs, belongs to nobody else."""
MAXIMAL_FINDINGS: Final = 3
"""Of one target in one run: more of them are mostly the same bug again."""
LEAST_SECONDS: Final = 5
GRACE_S: Final = 180
KINDS: Final = ("crash", "timeout", "oom")
_EXECUTED: Final = re.compile(r"^(?:stat::number_of_executed_units:\s+|#)(\d+)", re.MULTILINE)
_EXCEPTION: Final = re.compile(r"Uncaught Python exception: ===\n(.*?)(?:\n\n|\n==\d+==|\Z)", re.DOTALL)
_CORPUS: Final = re.compile(r"cov: (\d+)")


@dataclass(slots=True)
class Outcome:
    name: str
    inputs: int = 0
    seconds: float = 0.0
    coverage: int = 0
    crashes: int = 0
    hangs: int = 0
    memory: int = 0
    reports: list[str] = field(default_factory=list)

    @property
    def findings(self) -> int:
        return self.crashes + self.hangs + self.memory


def run_target(name: str, seconds: int) -> Outcome:
    """Fuzz until the time is over; a finding ends a process, not the target."""
    outcome = Outcome(name)
    work = WORK / name
    shutil.rmtree(work / "found", ignore_errors=True)
    (work / "found").mkdir(parents=True)
    end = time.monotonic() + seconds
    while (left := int(end - time.monotonic())) > 0 and outcome.findings < MAXIMAL_FINDINGS:
        began = time.monotonic()
        command = [sys.executable, "-m", "fuzz.worker", name, str(max(left, 1)), str(work)]
        try:
            process = subprocess.run(
                command, cwd=ROOT.parent, capture_output=True, text=True, errors="replace", timeout=left + GRACE_S,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            outcome.hangs += 1
            outcome.reports.append(f"{name}: did not come back after {left + GRACE_S} s")
            break
        outcome.seconds += time.monotonic() - began
        log = process.stdout + process.stderr
        (work / "log").write_text(log)
        outcome.inputs += max((int(match) for match in _EXECUTED.findall(log)), default=0)
        outcome.coverage = max((outcome.coverage, *map(int, _CORPUS.findall(log))))
        artifacts = [path for path in work.glob("*-*") if path.name.split("-")[0] in KINDS]
        for path in artifacts:
            _keep(outcome, path, log)
        if process.returncode and not artifacts:
            outcome.crashes += 1
            outcome.reports.append(f"{name}: ended with status {process.returncode}:\n{log[-2000:]}")
            break
        if not process.returncode:
            break
    return outcome


def _keep(outcome: Outcome, artifact: Path, log: str) -> None:
    data = artifact.read_bytes()
    artifact.unlink()
    kind = artifact.name.split("-")[0]
    match = _EXCEPTION.search(log)
    words = match[1].strip() if match else log[-1500:]
    if kind == "timeout" or "TooSlow" in words:
        kind = "hang"
        outcome.hangs += 1
    elif kind == "oom" or "TooMuchMemory" in words:
        kind = "memory"
        outcome.memory += 1
    else:
        outcome.crashes += 1
    directory = FOUND / outcome.name
    directory.mkdir(parents=True, exist_ok=True)
    kept = directory / f"{kind}-{hashlib.sha256(data).hexdigest()[:16]}"
    kept.write_bytes(data)
    shown = kept.relative_to(ROOT.parent)
    outcome.reports.append(
        f"{outcome.name}: {kind}: {shown}\n{words}\n"
        f"Again: {sys.executable} -m fuzz replay {outcome.name} {shown}\n"
        "Fix the cause, write a test that says what was wrong, commit the input: tests/fuzz replays it from then on."
    )


def run(chosen: list[str], minutes: float, side_by_side: int = 2) -> int:
    """The exit status: 1 if anything was found."""
    for name in chosen:
        load(name)  # a broken target is to be seen before an hour has gone by
    seconds = max(LEAST_SECONDS, int(minutes * 60 / len(chosen)))
    with ThreadPoolExecutor(side_by_side) as pool:
        outcomes = []
        for outcome in pool.map(lambda name: run_target(name, seconds), chosen):
            outcomes.append(outcome)
            print(
                f"{outcome.name}: {outcome.seconds:.0f} s, {outcome.inputs:,} inputs, {outcome.coverage} branches"
                f"{''.join(chr(10) + report for report in outcome.reports)}",
                flush=True,
            )
    print(summary(outcomes))
    return 1 if any(outcome.findings for outcome in outcomes) else 0


def summary(outcomes: list[Outcome]) -> str:
    minutes = sum(outcome.seconds for outcome in outcomes) / 60
    return (
        f"fuzz: {len(outcomes)} targets, {minutes:.1f} minutes, {sum(one.inputs for one in outcomes):,} inputs,"
        f" crashes {sum(one.crashes for one in outcomes)}, hangs {sum(one.hangs for one in outcomes)},"
        f" memory {sum(one.memory for one in outcomes)}"
    )
