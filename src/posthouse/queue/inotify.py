"""The kernel's notice that a file has come into a directory; without it pickup looks on a timer only."""

import asyncio
import ctypes
import ctypes.util
import os
from collections.abc import Callable
from typing import Final

_IN_CLOEXEC: Final = os.O_CLOEXEC
_IN_NONBLOCK: Final = os.O_NONBLOCK
_IN_MOVED_TO: Final = 0x80
_IN_ONLYDIR: Final = 0x01000000
_READ_OCTETS: Final = 64 * 1024

# Loaded with the module: a jailed process cannot look for libraries.
_libc: Final = ctypes.CDLL(None, use_errno=True)


class DirectoryWatch:
    """Calls back once per burst of files that were renamed into `directory`. Raises OSError if the kernel refuses."""

    def __init__(self, directory: str, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._descriptor = _libc.inotify_init1(_IN_CLOEXEC | _IN_NONBLOCK)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        if _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _IN_MOVED_TO | _IN_ONLYDIR) < 0:
            number = ctypes.get_errno()
            os.close(self._descriptor)
            raise OSError(number, os.strerror(number), directory)
        self._loop.add_reader(self._descriptor, self._readable)

    def _readable(self) -> None:
        try:
            os.read(self._descriptor, _READ_OCTETS)
        except (BlockingIOError, InterruptedError):
            return
        self._changed()

    def close(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
