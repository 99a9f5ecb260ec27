import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.store import flush as flush_module
from posthouse.store.checkpoint import Checkpoint
from posthouse.store.flush import SLOW_FLUSHES, Volume, Volumes, syncfs_reports_errors
from posthouse.store.interface import StorageFailed
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.location import MailLocation
from posthouse.store.maildir.store import MaildirStore


@pytest.fixture(params=["syncfs", "fsync"])
def volumes(request: pytest.FixtureRequest) -> Iterator[Volumes]:
    made = Volumes(request.param)
    yield made
    made.close()


def write(volume: Volume, directory: Path, name: str = "file") -> None:
    descriptor = os.open(directory / name, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, b"x")
    volume.wrote(descriptor, str(directory))


def test_many_waiters_share_one_flush(volumes: Volumes, tmp_path: Path) -> None:
    volume = volumes.at(str(tmp_path))

    async def run() -> None:
        for number in range(50):
            write(volume, tmp_path, str(number))
        await asyncio.gather(*(volume.flush(volume.failures) for _ in range(50)))
        assert volume.flushes == 1
        await volume.flush(volume.failures)
        assert volume.flushes == 1

    asyncio.run(run())


def test_what_is_written_during_a_flush_waits_for_the_next(volumes: Volumes, tmp_path: Path) -> None:
    volume = volumes.at(str(tmp_path))

    async def run() -> None:
        write(volume, tmp_path, "a")
        first = asyncio.create_task(volume.flush(0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        write(volume, tmp_path, "b")
        await asyncio.gather(first, volume.flush(0), volume.flush(0))
        assert volume.flushes == 2

    asyncio.run(run())


def test_a_waiter_that_gives_up_takes_nobody_along(volumes: Volumes, tmp_path: Path) -> None:
    volume = volumes.at(str(tmp_path))

    async def run() -> None:
        write(volume, tmp_path)
        waiters = [asyncio.create_task(volume.flush(0)) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        await asyncio.gather(*waiters[1:])

    asyncio.run(run())


def test_a_failed_flush_acknowledges_nobody(volumes: Volumes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = volumes.at(str(tmp_path))

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    async def run() -> None:
        seen = volume.failures
        write(volume, tmp_path)
        with monkeypatch.context() as patch:
            # The kernel's answer cannot be made here; only the system calls are replaced.
            patch.setattr(flush_module, "_syncfs", broken)
            patch.setattr(os, "fsync", broken)
            results = await asyncio.gather(*(volume.flush(seen) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(result, StorageFailed) for result in results)
        # The kernel reports an error once: whoever wrote before it must not be told that all is well.
        with pytest.raises(StorageFailed):
            await volume.flush(seen)
        write(volume, tmp_path, "later")
        await volume.flush(volume.failures)
        assert volume.failed_at_s > 0

    asyncio.run(run())


def test_a_slow_syncfs_gives_way_to_single_files_for_a_while(tmp_path: Path) -> None:
    volumes = Volumes("auto", limit_s=0.0)
    volume = volumes.at(str(tmp_path))

    async def run() -> None:
        for number in range(SLOW_FLUSHES):
            write(volume, tmp_path, str(number))
            await volume.flush(0)
        assert volume._by_file
        write(volume, tmp_path, "one")
        assert len(volume._held) == 1
        await volume.flush(0)
        assert volume._held == []
        volume._by_file_until_s = 0.0
        write(volume, tmp_path, "two")
        await volume.flush(0)
        assert not volume._by_file

    asyncio.run(run())
    volumes.close()


def test_many_files_between_two_flushes_keep_descriptors_bounded(tmp_path: Path) -> None:
    volumes = Volumes("fsync")
    volume = volumes.at(str(tmp_path))
    for number in range(flush_module.MAX_HELD_DESCRIPTORS + 50):
        write(volume, tmp_path, str(number))
    assert len(volume._held) == flush_module.MAX_HELD_DESCRIPTORS
    volume.flush_now(0)
    assert volume._held == []
    volumes.close()


def test_a_directory_that_does_not_exist_yet_lies_where_its_parent_lies(volumes: Volumes, tmp_path: Path) -> None:
    assert volumes.at(str(tmp_path / "not/yet")) is volumes.at(str(tmp_path))


def test_syncfs_is_trusted_on_this_file_system(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        major, minor = (int(part) for part in os.uname().release.split(".")[:2])
        assert syncfs_reports_errors(descriptor) == ((major, minor) >= (5, 8))
    finally:
        os.close(descriptor)


def test_checkpoints_keep_their_distance_and_the_first_is_at_once(tmp_path: Path) -> None:
    bugs: list[object] = []

    async def run() -> None:
        environment = Environment(Volumes(), loop=asyncio.get_running_loop())
        store = MaildirStore(MailLocation(str(tmp_path / "Maildir")), environment)
        checkpoint = Checkpoint(0.2, lambda what, error: bugs.append(error))
        loop = asyncio.get_running_loop()
        done: list[float] = []
        began = loop.time()
        for count in (1, 30, 30):
            for _ in range(count):
                store.touched(str(tmp_path))
                checkpoint.add([store], lambda errors: done.append(loop.time()))
            await asyncio.sleep(0.05)
        assert len(done) == 1
        assert done[0] - began < 0.15
        await checkpoint.drained()
        assert len(done) == 61
        assert checkpoint.flushes == 2
        environment.close()

    asyncio.run(run())
    assert bugs == []
