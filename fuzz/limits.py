"""Too long and too much are findings like any other: measured for each input.

Time is this thread's own processor time, so that a loaded machine makes no findings. Memory is the growth of the
process's peak; what an earlier input had already taken does not count, so this sees large steps only, and libFuzzer's
limit on the whole process (`worker`) sees what piles up.
"""

import resource
import time
from collections.abc import Callable
from typing import Final

SECONDS_PER_INPUT: Final = 3.0
"""Instrumented code is some five times slower, and no input is longer than a few ten thousand octets."""
KIB_PER_INPUT: Final = 192 * 1024


class TooSlow(AssertionError):
    pass


class TooMuchMemory(AssertionError):
    pass


def guarded(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.thread_time()
        check(data)
        if (took := time.thread_time() - began) > SECONDS_PER_INPUT:
            raise TooSlow(f"{took:.1f} s for {len(data)} octets")
        if (grown := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) > KIB_PER_INPUT:
            raise TooMuchMemory(f"{grown} KiB for {len(data)} octets")

    return run
