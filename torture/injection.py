"""Faults in the system calls of running processes: the Python side of shim.c, same layout.

The shim is compiled when it is needed; without a C compiler there are no such faults, and the report says so.
"""

import enum
import errno
import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

RULES: Final = 16
EVERYBODY: Final = -1
SHORT_WRITE: Final = -1
FOR_EVER: Final = 1 << 30
_CLOCK: Final = struct.Struct("=q")
_RULE: Final = struct.Struct("=iiiiiiii")
_FIRED_AT: Final = 24
"""Offset of `fired` inside a rule."""
VARIABLE: Final = "POSTHOUSE_TORTURE_CONTROL"
COMPILE_LIMIT_S: Final = 60.0


class Calls(enum.IntFlag):
    WRITE = 1
    FLUSH = 2
    """fsync and fdatasync."""
    CREATE = 4
    RENAME = 8
    UNLINK = 16
    TRUNCATE = 32
    SYNCFS = 64


ALL_CALLS: Final = (
    Calls.WRITE | Calls.FLUSH | Calls.CREATE | Calls.RENAME | Calls.UNLINK | Calls.TRUNCATE | Calls.SYNCFS
)
CHANGES: Final = Calls.WRITE | Calls.CREATE | Calls.RENAME | Calls.UNLINK | Calls.TRUNCATE
"""What a read-only file system refuses."""


class Injection:
    """One control file for one tree of processes. `environment` goes into the program that starts the tree."""

    def __init__(self, directory: Path) -> None:
        """Raises FileNotFoundError without a compiler, CalledProcessError if it fails."""
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise FileNotFoundError(errno.ENOENT, "no C compiler")
        library = directory / "shim.so"
        source = Path(__file__).with_name("shim.c")
        subprocess.run(
            [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"],
            check=True,
            timeout=COMPILE_LIMIT_S,
        )
        library.chmod(0o755)
        control = directory / "faults"
        control.write_bytes(bytes(_CLOCK.size + RULES * _RULE.size))
        control.chmod(0o666)
        descriptor = os.open(control, os.O_RDWR | os.O_CLOEXEC)
        self._map = mmap.mmap(descriptor, 0)
        os.close(descriptor)
        self.environment = {"LD_PRELOAD": str(library), VARIABLE: str(control)}

    def arm(self, pids: Iterable[int], calls: Calls, error: int, *, every: int = 1, limit: int = FOR_EVER) -> None:
        """Each of these processes gets `error` from one in `every` of these calls, `limit` times at most."""
        for pid in pids:
            slot = self._free_slot()
            at = _CLOCK.size + slot * _RULE.size
            # The pid last: it switches the rule on.
            _RULE.pack_into(self._map, at, 0, int(calls), error, every, limit, 0, 0, 0)
            struct.pack_into("=i", self._map, at, pid)

    def disarm(self) -> int:
        """All rules off; how many calls failed through them."""
        fired = 0
        for slot in range(RULES):
            at = _CLOCK.size + slot * _RULE.size
            if struct.unpack_from("=i", self._map, at)[0]:
                struct.pack_into("=i", self._map, at, 0)
                fired += struct.unpack_from("=i", self._map, at + _FIRED_AT)[0]
        return fired

    def shift_clock(self, seconds: float) -> None:
        _CLOCK.pack_into(self._map, 0, int(seconds * 1e9))

    def _free_slot(self) -> int:
        for slot in range(RULES):
            if not struct.unpack_from("=i", self._map, _CLOCK.size + slot * _RULE.size)[0]:
                return slot
        raise ValueError(f"more than {RULES} rules at a time")
