"""`make security`: what the probes tried in each process, and which attacks were made, as one report.

A pytest plugin; the tests give their attempts as properties (`record_property`), so that it works with several workers.
"""

import os
import platform
from collections import Counter, defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest

from posthouse.runtime import landlock

ATTACKS = "tests/attacks/"


class Report:
    def __init__(self) -> None:
        self.attempts: dict[tuple[str, str, str], tuple[object, bool]] = {}
        """(as whom, process, attempt) → outcome, and whether the process may."""
        self.attacks: dict[str, Counter[str]] = defaultdict(Counter)
        self.others: Counter[str] = Counter()

    def add(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == "attempt":
                how, process, attempt, outcome, allowed = value  # type: ignore[misc]
                self.attempts[how, process, attempt] = (outcome, allowed)
        if report.when == "call" or (report.when == "setup" and report.outcome != "passed"):
            if report.nodeid.startswith(ATTACKS):
                self.attacks[Path(report.nodeid.partition("::")[0]).stem.removeprefix("test_")][report.outcome] += 1
            else:
                self.others[report.outcome] += 1

    def lines(self) -> Generator[str]:
        yield f"{platform.system()} {platform.release()}, {platform.machine()}, Landlock ABI {landlock.abi()}"
        yield ""
        yield "What an intruder tries from inside each process (refused + works as it should = tried):"
        for how, process in dict.fromkeys((how, process) for how, process, _ in self.attempts):
            mine = {what: found for (h, p, what), found in self.attempts.items() if (h, p) == (how, process)}
            refused = sum(not allowed and self._as_told(found, allowed) for found, allowed in mine.values())
            works = sum(allowed and self._as_told(found, allowed) for found, allowed in mine.values())
            may = ", ".join(what for what, (_, allowed) in mine.items() if allowed)
            yield f"  {process:8s} as {how:15s} {refused:4d} + {works:3d} = {len(mine):4d}   may: {may}"
        yield ""
        yield "Attacks from outside, and by local users:"
        for name, outcomes in sorted(self.attacks.items()):
            passed, failed, skipped = (outcomes[one] for one in ("passed", "failed", "skipped"))
            yield f"  {name:16s} {passed:4d} withstood, {failed} not, {skipped} skipped"

    @staticmethod
    def _as_told(outcome: object, allowed: bool) -> bool:
        return (outcome == "done") if allowed else outcome in ("EPERM", "EACCES")

    def last_line(self) -> str:
        wrong = sum(not self._as_told(*found) for found in self.attempts.values())
        attacks: Counter[str] = sum(self.attacks.values(), Counter())
        return (
            f"security: attempts {len(self.attempts)}, not as SECURITY.md says {wrong}, attacks {attacks.total()}, "
            f"succeeded {attacks['failed']}, other tests {self.others.total()}, failed {self.others['failed']}, "
            f"skipped {attacks['skipped'] + self.others['skipped']}"
        )


_REPORT = Report()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if os.environ.get("PYTEST_XDIST_WORKER") is None:
        _REPORT.add(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _REPORT.lines():
        terminalreporter.write_line(line)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    if os.environ.get("PYTEST_XDIST_WORKER") is None:
        print(_REPORT.last_line())
