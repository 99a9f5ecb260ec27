"""Memory that processes would keep, or copy, without need: what the C library and the kernel are told about it.

Everything here is advice: with another C library than glibc, or without /proc, nothing happens and nothing is wrong.
"""

import asyncio
import ctypes
import re
import time
from collections.abc import Callable
from typing import Final

QUIET_S: Final = 3.0
"""A process looks so often whether it is quiet; an idle one wakes up no more often."""
QUIET_SHARE: Final = 0.02
"""Quiet means: this part of the time at work, no more."""
WORTH_S: Final = 0.05
"""After less work than this there is nothing to give back."""
_M_MMAP_THRESHOLD: Final = -3
_MADV_DONTNEED: Final = 4
_HOLES_LIMIT: Final = 32 << 20
"""Octets that `fill_holes` may take, whatever the heap looks like; what was no hole goes back."""
_BLOCK_SIZES: Final = (65536, 16384, 8192, 4096, 3072, 2048, 1536, *range(1280, 8, -16))
"""Large holes are filled by large blocks first; glibc keeps small ones sorted by steps of 16 octets."""
_MALLOC_ALIGNMENT: Final = 16
_REGULAR_RUN: Final = 64
"""So many blocks side by side are no holes any more but the free end of the heap."""
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r[-w]?[-x]p \S+ \S+ [1-9]\d* ")
_ANONYMOUS: Final = "Anonymous:"


def give_back_blocks_above(octets: int) -> None:
    """Freed blocks of this size return to the system at once.

    glibc raises this threshold to the size of the largest block it saw freed: after the first 19 MiB for an Argon2 hash
    it keeps such a block for good, once for every thread that computed one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, octets)


class QuietTrim:
    """Gives free pages between blocks that stay back to the system, when the process has worked and is quiet now.

    glibc does so only at the end of the heap. It takes some milliseconds for a large heap: nothing for busy times."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._seen_s = self._trimmed_s = time.process_time()
        if self._trim is not None:
            self._wait()

    def _wait(self) -> None:
        self._loop.call_later(QUIET_S, self._look)

    def _look(self) -> None:
        now_s = time.process_time()
        if now_s - self._seen_s < QUIET_SHARE * QUIET_S and now_s - self._trimmed_s > WORTH_S:
            assert self._trim is not None
            self._trim(0)
            now_s = self._trimmed_s = time.process_time()
        self._seen_s = now_s
        self._wait()


def fill_holes() -> None:
    """Before the first fork. Imports leave free blocks between blocks that stay; every child that reused one would copy
    a whole page for it. They are taken here, once and for good, so that what children allocate stands together on pages
    of their own: a megabyte less in each process that speaks TLS, a tenth of it in others."""
    library = ctypes.CDLL(None)
    malloc, free = library.malloc, library.free
    malloc.restype = ctypes.c_void_p
    malloc.argtypes = (ctypes.c_size_t,)
    free.argtypes = (ctypes.c_void_p,)
    taken = 0
    for octets in _BLOCK_SIZES:
        run: list[int] = []
        while len(run) < _REGULAR_RUN and taken < _HOLES_LIMIT:
            address = malloc(octets) or 0
            if not run or not 0 < address - run[-1] <= octets + 2 * _MALLOC_ALIGNMENT:
                run.clear()
            run.append(address)
            taken += octets
        for address in run:
            free(address)


def forget_library_pages() -> None:
    """In a master that has loaded libraries for its children: pages of files that it read once while they were being
    linked go out of its memory, and come back from the files if it should need them again. Only mappings without a
    single page of our own are touched."""
    try:
        with open("/proc/self/smaps") as file:
            lines = file.readlines()
    except OSError:
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    found: tuple[int, int] | None = None
    for line in lines:
        if (match := _MAPPING.match(line)) is not None:
            begin, end = int(match[1], 16), int(match[2], 16)
            found = (begin, end - begin)
        elif found is not None and line.startswith(_ANONYMOUS):
            if line.split()[1] == "0":
                madvise(*found, _MADV_DONTNEED)
            found = None
