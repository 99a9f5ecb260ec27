import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from posthouse.core.reply import LOCAL_ERROR, NO_SPACE
from posthouse.queue.fileops import FileOps
from posthouse.queue.journal import RESERVE_OCTETS, storage_reply
from posthouse.queue.record import Done
from posthouse.queue.segment import segment_numbers
from tests.queue.asynchronous import asynchronous
from tests.queue.samples import Book, enter


class Failing(FileOps):
    """Fails the next calls of one kind with one error."""

    def __init__(self) -> None:
        self.fail: dict[str, list[int]] = {}
        self.flushes = 0

    def _maybe(self, name: str) -> None:
        if self.fail.get(name):
            number = self.fail[name].pop(0)
            if number:
                raise OSError(number, os.strerror(number))

    def fdatasync(self, descriptor: int) -> None:
        self._maybe("fdatasync")
        self.flushes += 1
        super().fdatasync(descriptor)

    def pwritev(self, descriptor: int, buffers: Sequence[bytes], offset: int) -> int:
        self._maybe("pwritev")
        return super().pwritev(descriptor, buffers, offset)

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        self._maybe("open")
        return super().open(path, flags, mode)


@asynchronous
async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    book = Book(tmp_path)
    await book.write(enter("Q1", b"one"), content=b"one")
    await book.write(enter("Q2", b"two"), content=b"two")
    await book.write(Done(book.state.messages["Q1"].queue_id, (0,)))  # type: ignore[index]
    await book.close()
    again = Book(tmp_path)
    assert list(again.state.messages) == ["Q2"]
    await again.close()


@asynchronous
async def test_everything_that_arrives_in_one_turn_shares_one_flush_and_is_answered_in_order(tmp_path: Path) -> None:
    ops = Failing()
    book = Book(tmp_path, ops=ops)
    await book.write(enter("Q0", b"x"), content=b"x")
    before = ops.flushes
    answered: list[int] = []
    done = asyncio.Event()

    def callback(number: int) -> None:
        answered.append(number)
        if number == 99:
            done.set()

    for number in range(100):
        book.journal.append(
            (enter(f"R{number}", b"y"),),
            b"y",
            lambda error, number=number: callback(number),  # type: ignore[misc]
        )
    await done.wait()
    assert answered == list(range(100))
    assert ops.flushes - before == 1
    await book.close()


@asynchronous
async def test_no_callback_comes_before_the_flush(tmp_path: Path) -> None:
    events: list[str] = []

    class Watching(FileOps):
        def fdatasync(self, descriptor: int) -> None:
            super().fdatasync(descriptor)
            events.append("flushed")

    book = Book(tmp_path, ops=Watching())
    await book.write(enter("Q0", b"x"), content=b"x")
    events.clear()
    await book.write(enter("Q1", b"x"), content=b"x")
    events.append("answered")
    assert events == ["flushed", "answered"]
    await book.close()


@asynchronous
async def test_after_a_failed_flush_nothing_of_the_batch_counts_and_a_new_segment_begins(tmp_path: Path) -> None:
    ops = Failing()
    book = Book(tmp_path, ops=ops)
    await book.write(enter("GOOD", b"x"), content=b"x")
    ops.fail["fdatasync"] = [errno.EIO]
    results = await asyncio.gather(
        *(book.write(enter(f"BAD{number}", b"y"), content=b"y") for number in range(3)), return_exceptions=True
    )
    assert all(isinstance(result, OSError) and result.errno == errno.EIO for result in results)
    assert len(book.failures) == 1
    await book.write(enter("AFTER", b"z"), content=b"z")
    assert segment_numbers(book.spool.journal) == [1, 2]
    assert set(book.state.messages) == {"GOOD", "AFTER"}
    await book.close()
    again = Book(tmp_path)
    assert set(again.state.messages) == {"GOOD", "AFTER"}
    assert not again.reports.lines
    await again.close()


@asynchronous
async def test_a_voided_tail_stays_void_even_if_the_disk_kept_it(tmp_path: Path) -> None:
    class NoTruncate(Failing):
        def ftruncate(self, descriptor: int, length: int) -> None:
            raise OSError(errno.EIO, "no")

    ops = NoTruncate()
    book = Book(tmp_path, ops=ops)
    await book.write(enter("GOOD", b"x"), content=b"x")
    ops.fail["fdatasync"] = [errno.EIO]
    with pytest.raises(OSError, match="Input/output"):
        await book.write(enter("VOID", b"y"), content=b"y")
    await book.write(enter("AFTER", b"z"), content=b"z")
    await book.close()
    again = Book(tmp_path)
    assert set(again.state.messages) == {"GOOD", "AFTER"}
    await again.close()


@asynchronous
async def test_a_full_disk_is_told_apart_from_a_broken_one_and_is_forgotten_when_there_is_room(tmp_path: Path) -> None:
    ops = Failing()
    book = Book(tmp_path, ops=ops)
    await book.write(enter("GOOD", b"x"), content=b"x")
    ops.fail["pwritev"] = [errno.ENOSPC]
    with pytest.raises(OSError, match="No space") as full:
        await book.write(enter("FULL", b"y"), content=b"y")
    assert storage_reply(full.value) is NO_SPACE
    ops.fail["open"] = [errno.EROFS]
    with pytest.raises(OSError, match="Read-only") as broken:
        await book.write(enter("BROKEN", b"y"), content=b"y")
    assert storage_reply(broken.value) is LOCAL_ERROR
    await book.write(enter("AFTER", b"z"), content=b"z")
    await book.close()
    again = Book(tmp_path)
    assert set(again.state.messages) == {"GOOD", "AFTER"}
    await again.close()


@asynchronous
async def test_a_short_write_is_finished(tmp_path: Path) -> None:
    class Short(FileOps):
        def pwritev(self, descriptor: int, buffers: Sequence[bytes], offset: int) -> int:
            joined = b"".join(buffers)
            return super().pwritev(descriptor, [joined[: max(1, len(joined) // 2)]], offset)

    book = Book(tmp_path, ops=Short())
    await book.write(enter("Q", b"x" * 5000), content=b"x" * 5000)
    await book.close()
    again = Book(tmp_path)
    assert "Q" in again.state.messages
    await again.close()


@asynchronous
async def test_segments_rotate_and_all_of_them_are_read(tmp_path: Path) -> None:
    book = Book(tmp_path, segment_octets=64 * 1024)
    for number in range(20):
        content = bytes([number]) * 20_000
        await book.write(enter(f"Q{number:02}", content), content=content)
    assert len(segment_numbers(book.spool.journal)) > 3
    await book.close()
    again = Book(tmp_path)
    assert len(again.state.messages) == 20
    for queue_id, message in again.state.messages.items():
        with open(again.spool.segment_path(message.place), "rb") as file:
            file.seek(message.place.offset)
            assert file.read(message.size) == bytes([int(queue_id[1:])]) * 20_000
    await again.close()


class Full(FileOps):
    """A file system without a free block: what has its blocks can be written over, nothing grows or is made."""

    def __init__(self) -> None:
        self.is_full = False

    def pwritev(self, descriptor: int, buffers: Sequence[bytes], offset: int) -> int:
        if self.is_full and offset + sum(map(len, buffers)) > os.fstat(descriptor).st_size:
            raise OSError(errno.ENOSPC, "no room")
        return super().pwritev(descriptor, buffers, offset)


@asynchronous
async def test_on_a_full_file_system_the_reserve_takes_facts_and_nothing_else(tmp_path: Path) -> None:
    ops = Full()
    book = Book(tmp_path, ops=ops)
    await book.write(enter("Q1", b"one"), content=b"one")
    await book.write(enter("Q2", b"two"), content=b"two")
    book.spares.make_reserve(ops)
    ops.is_full = True
    with pytest.raises(OSError, match="no room") as caught:
        await book.write(enter("Q3", b"three"), content=b"three")
    assert storage_reply(caught.value) == NO_SPACE
    # A fact is offered again until it is there; mail that comes with it is not taken.
    refused: list[OSError | None] = []
    book.journal.append((enter("Q4", b"four"),), b"four", refused.append)
    await book.write(Done(book.state.messages["Q1"].queue_id, (0,)), is_fact=True)  # type: ignore[index]
    assert [storage_reply(error) for error in refused if error] == [NO_SPACE]
    assert book.journal.is_on_reserve
    assert list(book.state.messages) == ["Q2"]
    with pytest.raises(OSError, match="no room"):
        await book.write(enter("Q5", b"five"), content=b"five")
    ops.is_full = False
    book.journal.leave_reserve()
    assert not book.journal.is_on_reserve
    await book.write(enter("Q6", b"six"), content=b"six")
    assert len(segment_numbers(book.spool.journal)) == 3
    await book.close()
    again = Book(tmp_path)
    assert list(again.state.messages) == ["Q2", "Q6"]
    await again.close()


@asynchronous
async def test_a_reserve_that_is_used_up_too_fails_as_before(tmp_path: Path) -> None:
    ops = Full()
    book = Book(tmp_path, ops=ops)
    await book.write(enter("Q1", b"one"), content=b"one")
    book.spares.make_reserve(ops)
    ops.is_full = True
    with pytest.raises(OSError, match="no room"):
        await book.write(enter("Q2", b"x"))
    filling = b"x" * (RESERVE_OCTETS - 100_000)
    await book.write(enter("Q3", filling), content=filling, is_fact=True)
    for _ in range(2):
        with pytest.raises(OSError, match="no room"):
            await book.write(enter("Q4", filling), content=filling, is_fact=True)
    await book.close()
    again = Book(tmp_path)
    assert list(again.state.messages) == ["Q1", "Q3"]
    await again.close()
