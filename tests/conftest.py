"""Fixtures that every area shares: a running system, and foreign programs.

`sandbox` is one system per test module; `new_sandbox` starts one with settings of its own. Both fail a test that leaves
undeclared warnings in the log (declare them with `expect_log`). `foreign` finds a foreign program: missing, the test is
skipped, but under CI it fails.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.running import RunningSystem

NewSandbox = Callable[..., RunningSystem]


def _reachable(directory: Path) -> Path:
    """pytest's temporary directories are for the caller only; service users must reach what they own in there."""
    for one in (directory, *directory.parents):
        if one.stat().st_uid == os.getuid() and one != Path("/") and not one.stat().st_mode & 0o001:
            one.chmod(one.stat().st_mode | 0o011)
    return directory


@pytest.fixture(scope="module")
def module_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    system = RunningSystem(_reachable(tmp_path_factory.mktemp("sandbox")) / "box")
    yield system
    system.stop()


@pytest.fixture
def sandbox(module_sandbox: RunningSystem) -> Iterator[RunningSystem]:
    """The module's system; complaints in the log are blamed on the test that ran meanwhile."""
    yield module_sandbox
    complaints = module_sandbox.undeclared_complaints()
    assert not complaints, "the log complains:\n" + "\n".join(complaints)


@pytest.fixture
def new_sandbox(tmp_path: Path) -> Iterator[NewSandbox]:
    """Call it with --set settings ("name=value") for a system of the test's own; stopped and checked at the end."""
    systems: list[RunningSystem] = []

    def make(*settings: str, **options: object) -> RunningSystem:
        system = RunningSystem(_reachable(tmp_path) / f"box{len(systems)}", *settings, **options)  # type: ignore[arg-type]
        systems.append(system)
        return system

    yield make
    for system in systems:
        system.stop()


@pytest.fixture
def foreign() -> Callable[[str], str]:
    """The path of a foreign program by name."""

    def find(program: str) -> str:
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if path is None:
            if os.environ.get("CI"):
                pytest.fail(f"{program} is missing; tests/debian-packages.txt must name its package")
            pytest.skip(f"{program} is not installed")
        return path

    return find
