"""The pid file and its lock: at most one master per run directory.

Children inherit the lock with the descriptor, so that it also says whether the processes of a master that was killed
are all gone: only then may a new master open the queue and the mailboxes.
"""

import fcntl
import os
import time
from pathlib import Path
from typing import Final, Self

NAME: Final = "master.pid"
_LEFTOVER_S: Final = 15.0
"""Children of a killed master close down within ORPHAN_LIMIT_S; longer means one hangs."""


class AlreadyRunning(Exception):
    """Another master holds the lock."""

    def __init__(self, pid: int | None, path: str, *, leftover: bool = False) -> None:
        if leftover:
            super().__init__(f"processes of a master that was killed are still there and hold {path}")
        else:
            super().__init__(f"the Posthouse mail system is already running: PID: {pid or 'unknown'}")
        self.pid = pid


class PidFile:
    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, run_directory: str) -> Self:
        """Raises AlreadyRunning. Waits a little for the leftovers of a killed master."""
        path = str(Path(run_directory, NAME))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        give_up = time.monotonic() + _LEFTOVER_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pid = _read(descriptor)
                if pid is not None and _is_alive(pid):
                    os.close(descriptor)
                    raise AlreadyRunning(pid, path) from None
                if time.monotonic() > give_up:
                    os.close(descriptor)
                    raise AlreadyRunning(pid, path, leftover=True) from None
                time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid():>10}\n".encode(), 0)
        return cls(path, descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def release(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def running_pid(run_directory: str) -> int | None:
    """The pid of the master that runs there, or None."""
    try:
        descriptor = os.open(Path(run_directory, NAME), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _read(descriptor)
        return pid if pid is not None and _is_alive(pid) else None
    finally:
        os.close(descriptor)
    return None


def _read(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _is_alive(pid: int) -> bool:
    try:
        # A zombie was killed and only waits for its parent to notice.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):
        return False
