"""What the torture calls a power cut: the device keeps what was flushed, and loses what was not."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from torture.disk import Disk
from torture.rounds import Torture


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    one = Disk(tmp_path / "mounted", tmp_path / "image")
    if not one.is_own:
        pytest.skip("needs root and loop devices")
    yield one
    one.close()


def test_a_cut_keeps_what_was_flushed_and_nothing_else(disk: Disk) -> None:
    for name, is_flushed in (("flushed", True), ("named-only", True), ("neither", False)):
        descriptor = os.open(disk.path / name, os.O_CREAT | os.O_WRONLY)
        if name == "named-only":
            # Its name goes to the journal with the directory; what is written afterwards does not.
            os.fsync(descriptor)
        os.write(descriptor, b"content")
        if is_flushed and name != "named-only":
            os.fsync(descriptor)
        os.close(descriptor)
        if name != "neither":
            directory = os.open(disk.path, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
    disk.remember()
    (disk.path / "flushed").unlink()
    os.sync()
    disk.go_back()
    assert (disk.path / "flushed").read_bytes() == b"content"
    assert (disk.path / "named-only").read_bytes() == b""
    assert not (disk.path / "neither").exists()


@pytest.mark.timeout(300)
def test_power_cuts_lose_nothing_acknowledged(open_directory: Path) -> None:
    torture = Torture(open_directory, 11)
    if not torture.world.spool_disk.is_own:
        torture.close()
        pytest.skip("needs root and loop devices")
    torture.possible = ("power cut",)
    try:
        failed = torture.run(0, 6)
    finally:
        torture.close()
    assert not failed, torture.last_line()
    assert torture.faults["power cut"] >= 6
