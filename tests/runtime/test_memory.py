"""Each in an interpreter of its own: what the allocator was told holds for the rest of a process."""

import asyncio
import subprocess
import sys
import time

import pytest

from posthouse.runtime import memory

_ROLLUP = """
import re
def kilobytes(name):
    return int(re.search(rf"^{name}:\\s+(\\d+)", open("/proc/self/smaps_rollup").read(), re.M)[1])
"""


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _ROLLUP + program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("asked", [False, True])
def test_memory_of_a_finished_hash_returns_to_the_system_only_if_asked_for(asked: bool) -> None:
    program = f"""
from posthouse.runtime import memory
import ctypes
if {asked}:
    memory.give_back_blocks_above(1 << 20)
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = (ctypes.c_size_t,)
library.free.argtypes = (ctypes.c_void_p,)
def use(octets):
    block = library.malloc(octets)
    ctypes.memset(block, 1, octets)
    keep = library.malloc(100)
    library.free(block)
use(20 << 20)
use(20 << 20)
print(kilobytes("Anonymous"))
"""
    assert (int(run(program)) > 20 << 10) is not asked


def test_what_children_allocate_does_not_go_into_holes_of_the_image() -> None:
    program = """
import ctypes
from posthouse.runtime import memory
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = (ctypes.c_size_t,)
library.free.argtypes = (ctypes.c_void_p,)
blocks = [library.malloc(1000) for _ in range(2000)]
for one in blocks[::2]:
    library.free(one)
holes = set(blocks[::2])
memory.fill_holes()
print(sum(library.malloc(1000) in holes for _ in range(1000)))
"""
    assert int(run(program)) < 20


def test_pages_of_libraries_go_and_come_back() -> None:
    program = """
import ssl
from posthouse.runtime import memory
context = ssl.create_default_context()
before = kilobytes("Rss") - kilobytes("Anonymous")
memory.forget_library_pages()
after = kilobytes("Rss") - kilobytes("Anonymous")
ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="example.test")
print(before, after)
"""
    before, after = map(int, run(program).split())
    assert after < before / 2


def test_a_process_that_has_worked_gives_back_its_free_pages_when_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "QUIET_S", 0.05)
    trimmed: list[int] = []

    async def live() -> None:
        trim = memory.QuietTrim(asyncio.get_running_loop())
        trim._trim = lambda pad: trimmed.append(pad) or 0  # type: ignore[func-returns-value]
        await asyncio.sleep(0.15)
        assert trimmed == [], "it has done nothing"
        end_s = time.process_time() + 0.1
        while time.process_time() < end_s:
            pass
        await asyncio.sleep(0.2)
        assert trimmed == [0]

    asyncio.run(live())
