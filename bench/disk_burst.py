"""A foreign program that dirties much memory on the same disk, as a backup or an unpacked archive does."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

_PROGRAM = """\
import os, sys
block = os.urandom(1 << 20)
with open(sys.argv[1], "wb", buffering=0) as file:
    for _ in range(int(sys.argv[2])):
        file.write(block)
"""


class Burst:
    """Written without flushing, by another process; the file is removed at the end."""

    def __init__(self, path: Path, megabytes: int) -> None:
        self._path = path
        self._process = subprocess.Popen([sys.executable, "-c", _PROGRAM, str(path), str(megabytes)])

    def __enter__(self) -> "Burst":
        return self

    def is_writing(self) -> bool:
        return self._process.poll() is None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.unlink(self._path)
