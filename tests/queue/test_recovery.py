"""Torn tails, damaged records, lost indexes: what recovery makes of them."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.queue.record import Clean, Defer, Deferral, Done, Hold
from posthouse.queue.recovery import Spool
from posthouse.queue.segment import HEADER_OCTETS, Frame, SegmentReader, segment_name
from tests.queue.asynchronous import asynchronous
from tests.queue.samples import Book, book_of, enter

CONTENT = b"Subject: x\r\n\r\nbody\r\n"


async def _three(book: Book) -> None:
    for name in ("AAAAA", "BBBBB", "CCCCC"):
        await book.write(enter(name, CONTENT), content=CONTENT)


def _segment(directory: Path, number: int = 1) -> Path:
    return Path(Spool(str(directory)).journal, segment_name(number))


def _frames(path: Path) -> list[Frame]:
    return [item for item in SegmentReader(str(path)).frames() if isinstance(item, Frame)]


@asynchronous
async def _messages(directory: Path, found: list[str], lines: list[str]) -> None:
    book = Book(directory)
    found.extend(book.state.messages)
    lines.extend(book.reports.lines)
    await book.close()


def recovered(directory: Path) -> tuple[set[str], list[str]]:
    found: list[str] = []
    lines: list[str] = []
    _messages(directory, found, lines)
    return set(found), lines


def test_a_journal_torn_at_any_octet_of_its_last_record_loses_that_record_only(tmp_path: Path) -> None:
    book_of(tmp_path / "a", _three)
    frames = _frames(_segment(tmp_path / "a"))
    whole = _segment(tmp_path / "a").read_bytes()
    start, end = frames[-1].offset, frames[-1].end
    for cut in range(start, end):
        copy = tmp_path / "cut"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tmp_path / "a", copy)
        _segment(copy).write_bytes(whole[:cut])
        found, lines = recovered(copy)
        assert found == {"AAAAA", "BBBBB"}, cut
        assert not any(line.startswith("ERROR") for line in lines)


def test_a_tail_of_zeros_or_of_old_octets_is_the_end(tmp_path: Path) -> None:
    book_of(tmp_path / "a", _three)
    path = _segment(tmp_path / "a")
    whole = path.read_bytes()
    for tail in (b"\0" * 5000, whole[HEADER_OCTETS + 1 :], b"PHQUEUE1" * 100):
        path.write_bytes(whole + tail)
        found, lines = recovered(tmp_path / "a")
        assert found == {"AAAAA", "BBBBB", "CCCCC"}
        assert not lines or all("damaged" not in line for line in lines)


def test_a_record_damaged_in_the_middle_is_set_aside_and_named_and_all_others_are_intact(tmp_path: Path) -> None:
    book_of(tmp_path / "a", _three)
    frames = _frames(_segment(tmp_path / "a"))
    whole = _segment(tmp_path / "a").read_bytes()
    victim = frames[1]
    for at in range(victim.offset, victim.end, 7):
        copy = tmp_path / "flip"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tmp_path / "a", copy)
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        _segment(copy).write_bytes(damaged)
        found, lines = recovered(copy)
        assert found == {"AAAAA", "CCCCC"}, at
        assert sum("damaged record" in line for line in lines) == 1
        kept = list((copy / "corrupt").iterdir())
        assert len(kept) == 1
        assert kept[0].read_bytes() == damaged[victim.offset : victim.end]


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10**6), octet=st.integers(1, 255))
def test_one_flipped_octet_anywhere_costs_at_most_one_record(
    tmp_path_factory: pytest.TempPathFactory, at: int, octet: int
) -> None:
    directory = tmp_path_factory.mktemp("flip")
    book_of(directory, _three)
    path = _segment(directory)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= octet
    path.write_bytes(data)
    found, _ = recovered(directory)
    assert len(found) >= 2
    shutil.rmtree(directory)


def test_content_that_looks_like_a_segment_is_content(tmp_path: Path) -> None:
    book_of(tmp_path / "a", _three)
    stolen = _segment(tmp_path / "a").read_bytes()

    async def hostile(book: Book) -> None:
        await book.write(enter("DDDDD", stolen), content=stolen)
        await book.write(enter("EEEEE", CONTENT), content=CONTENT)

    book_of(tmp_path / "b", hostile)
    path = _segment(tmp_path / "b")
    data = bytearray(path.read_bytes())
    data[_frames(path)[0].offset + 10] ^= 0xFF  # the length field of the hostile record: search begins inside it
    path.write_bytes(data)
    found, _ = recovered(tmp_path / "b")
    assert found == {"EEEEE"}


def test_an_old_segment_that_lost_its_end_is_damage_and_is_said_so(tmp_path: Path) -> None:
    book_of(tmp_path / "a", _three)
    book_of(tmp_path / "a", lambda book: book.write(enter("DDDDD", CONTENT), content=CONTENT))
    path = _segment(tmp_path / "a")
    path.write_bytes(path.read_bytes()[:-10])
    found, lines = recovered(tmp_path / "a")
    assert found == {"AAAAA", "BBBBB", "DDDDD"}
    assert any("damaged record" in line for line in lines)


def test_one_damaged_header_does_not_cost_the_segment(tmp_path: Path) -> None:
    book_of(tmp_path / "a", _three)
    path = _segment(tmp_path / "a")
    data = bytearray(path.read_bytes())
    data[:64] = bytes(64)
    path.write_bytes(data)
    assert recovered(tmp_path / "a")[0] == {"AAAAA", "BBBBB", "CCCCC"}


def test_a_file_that_is_no_segment_is_set_aside(tmp_path: Path) -> None:
    book_of(tmp_path / "a", _three)
    _segment(tmp_path / "a", 7).write_bytes(b"rubbish" * 3000)
    _segment(tmp_path / "a", 8).write_bytes(b"")
    found, lines = recovered(tmp_path / "a")
    assert found == {"AAAAA", "BBBBB", "CCCCC"}
    assert any("cannot be read and is set aside" in line for line in lines)
    assert not _segment(tmp_path / "a", 8).exists()


def test_a_damaged_index_is_built_anew_from_the_segments(tmp_path: Path) -> None:
    book_of(tmp_path / "a", _three)
    index = Path(Spool(str(tmp_path / "a")).index_path)
    index.write_bytes(b"this is not a database" * 1000)
    found, lines = recovered(tmp_path / "a")
    assert found == {"AAAAA", "BBBBB", "CCCCC"}
    assert any("queue index is damaged" in line for line in lines)


@asynchronous
async def test_the_state_of_every_message_survives(tmp_path: Path) -> None:
    book = Book(tmp_path)
    await book.write(enter("AAAAA", CONTENT, "one@x.test", "two@x.test", "three@x.test"), content=CONTENT)
    queue_id = next(iter(book.state.messages))
    await book.write(Done(queue_id, (1,)))
    await book.write(Defer(queue_id, 5000.0, (Deferral(0, "4.4.1", "no route"),), warned=True))
    await book.write(Hold((queue_id,)))
    before = book.state.messages[queue_id]
    await book.close()
    again = Book(tmp_path)
    after = again.state.messages[queue_id]
    assert after == before
    assert set(after.recipients) == {0, 2}
    assert after.recipients[0].reason == "no route"
    assert after.hold
    assert after.warned
    assert after.due == 5000.0
    await again.close()


@asynchronous
async def test_leases_never_repeat(tmp_path: Path) -> None:
    seen: list[int] = []
    for _ in range(3):
        book = Book(tmp_path)
        for number in range(book.state.lease + 1, book.state.lease + 4):
            book.journal.append_lease(number, lambda error: None)
            seen.append(number)
        await book.close()
    assert len(set(seen)) == len(seen)


@asynchronous
async def test_a_stop_in_order_is_recognised_and_forgotten_by_the_next_record(tmp_path: Path) -> None:
    book = Book(tmp_path)
    await book.write(enter("AAAAA", CONTENT), content=CONTENT)
    await book.write(Clean())
    await book.close()
    again = Book(tmp_path)
    assert again.recovered.clean
    await again.write(enter("BBBBB", CONTENT), content=CONTENT)
    await again.close()
    third = Book(tmp_path)
    assert not third.recovered.clean
    await third.close()
