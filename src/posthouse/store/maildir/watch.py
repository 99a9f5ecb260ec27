"""inotify: one instance per process tells which open mailboxes other programs have changed.

Events are hints. Whoever gets one looks at the files; if the kernel dropped some, everything is looked at. Where
inotify is not to be had (limits, jails; network file systems report their own host only) there are the times of the
directories.
"""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable
from typing import Final

_IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x40, 0x80, 0x100, 0x200
_IN_Q_OVERFLOW, _IN_IGNORED, _IN_ONLYDIR = 0x4000, 0x8000, 0x01000000
_MASK: Final = _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE | _IN_ONLYDIR
_HEADER: Final = struct.Struct("iIII")
_READ_OCTETS: Final = 64 * 1024
MAX_NAMES: Final = 1000
"""Beyond so many changed names the whole directory is listed."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Watch:
    """What has happened in one directory since `take` was last called."""

    def __init__(self, directory: str, prefix: str, wake: Callable[[], None]) -> None:
        self.directory = directory
        self.prefix = prefix
        self.wake = wake
        self.names: set[str] = set()
        self.all = False

    def take(self) -> set[str] | None:
        """Changed names ("cur/…"); None if everything has to be looked at."""
        names, everything = self.names, self.all
        self.names, self.all = set(), False
        return None if everything else names


class Watcher:
    """The inotify instance. With a loop, `wake` of a watch is called when something happened."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self._watches: dict[int, Watch] = {}
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor >= 0 and loop is not None:
            loop.add_reader(self._descriptor, self.drain)

    def add(self, directory: str, prefix: str, wake: Callable[[], None]) -> tuple[int, Watch] | None:
        """None if it cannot be watched."""
        if self._descriptor < 0:
            return None
        number = _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _MASK)
        if number < 0 or number in self._watches:
            return None
        watch = self._watches[number] = Watch(directory, prefix, wake)
        return number, watch

    def remove(self, number: int) -> None:
        self._watches.pop(number, None)
        _libc.inotify_rm_watch(self._descriptor, number)

    def drain(self) -> None:
        """Read what the kernel has and hand it to the watches. The kernel queues an event before the system call that
        caused it returns, so after this nothing is missing that happened before."""
        touched: set[Watch] = set()
        while self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, _READ_OCTETS)
            except (BlockingIOError, InterruptedError):
                break
            at = 0
            while at < len(data):
                number, mask, _, length = _HEADER.unpack_from(data, at)
                at += _HEADER.size
                name = data[at : at + length].rstrip(b"\0")
                at += length
                if mask & _IN_Q_OVERFLOW:
                    for one in self._watches.values():
                        one.all = True
                    touched.update(self._watches.values())
                    continue
                watch = self._watches.get(number)
                if watch is None:
                    continue
                touched.add(watch)
                if mask & _IN_IGNORED or len(watch.names) >= MAX_NAMES:
                    watch.all = True
                elif name and not name.startswith(b"."):
                    watch.names.add(watch.prefix + os.fsdecode(name))
        if touched and self._loop is not None:
            for wake in {watch.wake for watch in touched}:
                self._loop.call_soon(wake)

    def close(self) -> None:
        if self._descriptor >= 0:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        self._watches.clear()
