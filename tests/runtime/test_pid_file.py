"""One master per run directory."""

import fcntl
import os
from pathlib import Path

import pytest

from posthouse.runtime import pid_file
from posthouse.runtime.pid_file import AlreadyRunning, PidFile, running_pid


def test_the_second_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    assert running_pid(str(tmp_path)) is None
    first = PidFile.take(str(tmp_path))
    # flock belongs to the open file: another open of our own process is another owner.
    with pytest.raises(AlreadyRunning, match=f"already running: PID: {os.getpid()}"):
        PidFile.take(str(tmp_path))
    assert running_pid(str(tmp_path)) == os.getpid()
    first.release()
    assert running_pid(str(tmp_path)) is None
    PidFile.take(str(tmp_path)).release()


def test_leftover_children_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pid_file, "_LEFTOVER_S", 0.2)
    path = tmp_path / pid_file.NAME
    path.write_text("999999999\n")  # the master is dead, a child still holds its lock
    with path.open() as child:
        fcntl.flock(child, fcntl.LOCK_EX)
        with pytest.raises(AlreadyRunning, match="a master that was killed"):
            PidFile.take(str(tmp_path))
        assert running_pid(str(tmp_path)) is None
    PidFile.take(str(tmp_path)).release()
