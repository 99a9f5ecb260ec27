"""One flush to disk for everybody who waits.

Stores write without flushing and then await `Volume.flush`. A volume is one file system; at most one flush of it is in
flight, and what is written meanwhile shares the next one. The flush is `syncfs` in a thread, on a descriptor that was
open before the writes, because that is where the kernel reports errors of writing back (Linux 5.8 and later). Where
syncfs reports nothing (older kernels, network file systems) or takes too long because of other people's data, every
written file and directory is flushed by itself instead.

After a failed flush nobody who waited is told that it went well, and what the page cache shows of the data is worth
nothing (the kernel marks pages clean that it could not write): `failed_at_s` says since when. The kernel reports an
error once, perhaps to a flush that somebody else asked for; so a writer notes `failures` before it writes, and its own
flush fails if that number has grown.
"""

import asyncio
import ctypes
import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from posthouse.store.interface import StorageFailed

MAX_HELD_DESCRIPTORS: Final = 256
"""Files kept open for their own fsync; beyond it the writer waits for its own flush."""
SLOW_FLUSHES: Final = 3
"""So many syncfs in a row over the limit, and files are flushed one by one …"""
SLOW_PAUSE_S: Final = 300.0
"""… for so long."""

_libc: Final = ctypes.CDLL(None, use_errno=True)
_NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        0x6969,  # NFS
        0x517B,  # SMB
        0xFF534D42,  # CIFS
        0xFE534D42,  # SMB2
        0x65735546,  # FUSE
        0x00C36400,  # Ceph
        0x01021997,  # 9p
        0x5346414F,  # AFS
        0x7461636F,  # OCFS2
        0x01161970,  # GFS2
        0x47504653,  # GPFS
        0x0BD00BD0,  # Lustre
    }
)


def _syncfs(descriptor: int) -> None:
    if _libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _file_system_type(descriptor: int) -> int:
    buffer = ctypes.create_string_buffer(256)
    if _libc.fstatfs(descriptor, buffer) != 0:
        return 0
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF


def syncfs_reports_errors(descriptor: int) -> bool:
    """Linux 5.8 and a local file system."""
    try:
        major, minor = (int(part) for part in os.uname().release.split(".")[:2])
    except ValueError:
        return False
    if not hasattr(_libc, "syncfs") or (major, minor) < (5, 8):
        return False
    return _file_system_type(descriptor) not in _NETWORK_FILE_SYSTEMS


def sync_file(path: str) -> None:
    """fsync of one file or directory by name; one that is gone needs none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Volume:
    """One file system. Belongs to one event loop; only `_work` runs elsewhere."""

    def __init__(self, descriptor: int, executor: ThreadPoolExecutor, method: str, limit_s: float) -> None:
        self.failed_at_s = 0.0
        """When a flush last failed; what was written before it and not flushed since cannot be trusted. 0: never."""
        self.failures = 0
        self.flushes = 0
        self._descriptor = descriptor
        self._executor = executor
        self._limit_s = limit_s
        self._by_file = method == "fsync" or (method == "auto" and not syncfs_reports_errors(descriptor))
        self._fixed = method != "auto" or self._by_file
        self._by_file_until_s = 0.0
        self._slow = 0
        self._owes_syncfs = not self._by_file
        self._held: list[int] = []
        self._paths: dict[str, None] = {}
        self._writes = 0
        self._flushed = 0
        self._running: asyncio.Future[None] | None = None
        self._running_mark = 0
        self._next: asyncio.Future[None] | None = None

    # ── writers ──

    def wrote(self, descriptor: int, *directories: str) -> None:
        """A file was written through `descriptor`, which is ours now, and its name stands in `directories`."""
        self._writes += 1
        if not self._by_file:
            os.close(descriptor)
            return
        if len(self._held) >= MAX_HELD_DESCRIPTORS:
            try:
                os.fsync(descriptor)
            except OSError:
                # The writer hears of it from its flush, as everybody else.
                self._failed()
            finally:
                os.close(descriptor)
        else:
            self._held.append(descriptor)
        self._paths.update(dict.fromkeys(directories))

    def touched(self, *paths: str) -> None:
        """These directories (renames, removals) or files (databases) changed."""
        self._writes += 1
        if self._by_file:
            self._paths.update(dict.fromkeys(paths))

    # ── waiters ──

    async def flush(self, failures: int) -> None:
        """Everything written before this call, and since `self.failures` was `failures`, is on stable storage. Raises
        StorageFailed."""
        if self._running is not None and self._running_mark == self._writes:
            await asyncio.shield(self._running)
        elif self._flushed != self._writes:
            if self._next is None:
                loop = asyncio.get_running_loop()
                self._next = loop.create_future()
                if self._running is None:
                    # Everybody who comes in this turn of the loop is taken along.
                    loop.call_soon(self._begin, loop)
            await asyncio.shield(self._next)
        self._check(failures)

    def _check(self, failures: int) -> None:
        if self.failures != failures:
            raise StorageFailed("Internal error: cannot flush to disk", "an earlier flush of the same data failed")

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._next is None or self._running is not None:
            return
        self._running, self._next = self._next, None
        self._running_mark = self._writes
        work = loop.run_in_executor(self._executor, self._prepare())
        work.add_done_callback(lambda done: self._finish(loop, done))

    def _finish(self, loop: asyncio.AbstractEventLoop, work: "asyncio.Future[float]") -> None:
        future, self._running = self._running, None
        if future is None or loop.is_closed():
            return
        error = None if work.cancelled() else work.exception()
        if work.cancelled() or error is not None:
            self._failed()
            failure = StorageFailed(
                "Internal error: cannot flush to disk", f"flush: {error}", no_space=_no_space(error)
            )
            failure.__cause__ = error
            future.set_exception(failure)
            future.exception()  # without waiters (all cancelled) nobody needs to hear of it
        else:
            self._succeeded(work.result(), self._running_mark)
            future.set_result(None)
        if self._next is not None:
            self._begin(loop)

    def flush_now(self, failures: int) -> None:
        """The same, waiting in place, for programs without a loop. Raises StorageFailed."""
        mark = self._writes
        self._check(failures)
        if self._flushed == mark:
            return
        try:
            taken = self._prepare()()
        except OSError as error:
            self._failed()
            raise StorageFailed(
                "Internal error: cannot flush to disk", f"flush: {error}", no_space=_no_space(error)
            ) from error
        self._succeeded(taken, mark)

    # ── the flush itself ──

    def _prepare(self) -> Callable[[], float]:
        """Take what is to be flushed, in the loop; the answer does it, in a thread, and tells how long it took."""
        held, self._held = self._held, []
        paths, self._paths = list(self._paths), {}
        whole = self._owes_syncfs
        self._owes_syncfs = not self._by_file
        descriptor = self._descriptor

        def work() -> float:
            begun = time.monotonic()
            failure: OSError | None = None
            for one in held:
                try:
                    os.fsync(one)
                except OSError as error:
                    failure = error
                finally:
                    os.close(one)
            if failure is not None:
                raise failure
            for path in paths:
                sync_file(path)
            if whole:
                _syncfs(descriptor)
            return time.monotonic() - begun

        return work

    def _succeeded(self, took_s: float, mark: int) -> None:
        self.flushes += 1
        self._flushed = max(self._flushed, mark)
        if self._fixed:
            return
        now_s = time.monotonic()
        if self._by_file:
            if now_s >= self._by_file_until_s:
                self._by_file, self._slow, self._owes_syncfs = False, 0, True
        elif took_s > self._limit_s:
            self._slow += 1
            if self._slow >= SLOW_FLUSHES:
                # What was written until now is still owed a syncfs; what comes is flushed by itself.
                self._by_file, self._by_file_until_s = True, now_s + SLOW_PAUSE_S
        else:
            self._slow = 0

    def _failed(self) -> None:
        self.failures += 1
        self.failed_at_s = time.time()

    def close(self) -> None:
        for one in self._held:
            os.close(one)
        self._held.clear()
        os.close(self._descriptor)


def _no_space(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _open_nearest(directory: str) -> int:
    """A descriptor of the directory, or of the nearest one above it that exists."""
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        parent = os.path.dirname(directory)
        if parent == directory:
            raise
        return _open_nearest(parent)


class Volumes:
    """All file systems of this process."""

    def __init__(self, method: str = "auto", limit_s: float = 2.0) -> None:
        self._method = method
        self._limit_s = limit_s
        self._volumes: dict[int, Volume] = {}
        self._by_directory: dict[str, Volume] = {}
        self.executor: Final = ThreadPoolExecutor(4, "flush")

    def at(self, directory: str) -> Volume:
        """The volume that `directory` lies on, or will lie on once it exists. Raises OSError."""
        known = self._by_directory.get(directory)
        if known is not None:
            return known
        descriptor = _open_nearest(directory)
        device = os.fstat(descriptor).st_dev
        volume = self._volumes.get(device)
        if volume is None:
            volume = self._volumes[device] = Volume(descriptor, self.executor, self._method, self._limit_s)
        else:
            os.close(descriptor)
        if len(self._by_directory) >= 10_000:
            self._by_directory.clear()
        self._by_directory[directory] = volume
        return volume

    def forget(self, directory: str) -> None:
        """It may have been made on another file system than its parent's (a mount point that appeared)."""
        self._by_directory.pop(directory, None)

    def close(self) -> None:
        self.executor.shutdown(wait=True)
        for volume in self._volumes.values():
            volume.close()
        self._volumes.clear()
        self._by_directory.clear()
