"""Flushing by the kernel, with real files."""

import asyncio
import os
from pathlib import Path

import pytest

from posthouse.runtime.kernel_flush import IN_FLIGHT, KernelFlush
from tests.queue.asynchronous import asynchronous


def opened() -> KernelFlush:
    made = KernelFlush.open(asyncio.get_running_loop())
    if made is None:
        pytest.skip("this kernel has no asynchronous flush for us")
    return made


@asynchronous
async def test_a_flush_is_answered_in_the_loop(tmp_path: Path) -> None:
    flusher = opened()
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    for number in range(50):
        os.pwrite(descriptor, b"x" * 1000, number * 1000)
        done: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
        assert flusher.flush(descriptor, done.set_result)
        assert not done.done()
        assert await asyncio.wait_for(done, 10) is None
    flusher.close()
    os.close(descriptor)


@asynchronous
async def test_several_at_once_are_each_answered_and_too_many_are_refused(tmp_path: Path) -> None:
    flusher = opened()
    descriptors = [os.open(tmp_path / str(number), os.O_RDWR | os.O_CREAT) for number in range(IN_FLIGHT)]
    answers: list[OSError | None] = []
    for descriptor in descriptors:
        os.write(descriptor, b"x")
        assert flusher.flush(descriptor, answers.append)
    assert not flusher.flush(descriptors[0], answers.append)
    async with asyncio.timeout(10):
        while len(answers) < IN_FLIGHT:
            await asyncio.sleep(0.001)
    assert answers == [None] * IN_FLIGHT
    flusher.close()
    for descriptor in descriptors:
        os.close(descriptor)


@asynchronous
async def test_what_cannot_be_flushed_is_refused_at_once() -> None:
    flusher = opened()
    reading, writing = os.pipe()
    assert not flusher.flush(writing, lambda _: None)
    os.close(reading)
    os.close(writing)
    assert not flusher.flush(writing, lambda _: None)
    flusher.close()


@asynchronous
async def test_closing_waits_and_calls_nobody(tmp_path: Path) -> None:
    flusher = opened()
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"x" * 100_000)
    answers: list[OSError | None] = []
    assert flusher.flush(descriptor, answers.append)
    flusher.close()
    await asyncio.sleep(0.05)
    assert answers == []
    os.close(descriptor)
