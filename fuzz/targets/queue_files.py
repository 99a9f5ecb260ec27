"""What the queue reads from disk: segments of the journal after a crash, records, and files in the maildrop.

What holds: of a damaged segment every frame that is read is one that was written, in its order, and the rest is named
as damage; no octets of a record make anything but a record or `Damaged`; an envelope is read back as it was written.
"""

import os
import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Final

import msgspec

from fuzz.target import Target
from posthouse.core.identifiers import QueueId
from posthouse.queue.fileops import FileOps
from posthouse.queue.maildrop import MAGIC, BadDrop, format_drop, parse_drop
from posthouse.queue.record import (
    FRAME_HEADER,
    AnyRecord,
    Clean,
    Damaged,
    Defer,
    Deferral,
    Delete,
    Done,
    LeaseGiven,
    decode_frame,
)
from posthouse.queue.segment import HEADER_OCTETS, BadHeader, Damage, Frame, SegmentReader, SegmentWriter, read_content

_encoder: Final = msgspec.msgpack.Encoder()
_POSITION: Final = struct.Struct(">QII")
_PARENT: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
_RECORDS: Final[tuple[tuple[AnyRecord, ...], ...]] = (
    (Done(QueueId("4A"), (0, 1)),),
    (Defer(QueueId("4B"), 5.0, (Deferral(0, "4.2.0", "full"),)), LeaseGiven(7)),
    (Delete((QueueId("4C"),)),),
    (Clean(),),
)


def check(data: bytes) -> None:
    _record(data)
    _drop(MAGIC + data)
    _drop(data)
    if len(data) > 8:
        directory = tempfile.mkdtemp(prefix="posthouse-fuzz-", dir=_PARENT)
        try:
            _segment(directory, data)
        finally:
            shutil.rmtree(directory)


def _record(body: bytes) -> None:
    """Octets with a checksum that is right: nothing but the decoder stands between them and the queue's state."""
    checksum = zlib.crc32(body, zlib.crc32(_POSITION.pack(HEADER_OCTETS, 0, len(body)), 5))
    frame = FRAME_HEADER.pack(b"markmark", 0, len(body), checksum) + body
    try:
        records, content_at, length = decode_frame(memoryview(frame), b"markmark", 5, HEADER_OCTETS)
    except Damaged:
        return
    assert (content_at, length) == (len(frame), len(frame))
    assert msgspec.msgpack.decode(_encoder.encode(records), type=tuple[AnyRecord, ...]) == records or b"\xcb" in body


def _drop(data: bytes) -> None:
    try:
        drop = parse_drop(data)
    except BadDrop:
        return
    assert drop.recipients
    again = parse_drop(format_drop(drop))
    assert again == drop


def _segment(directory: str, data: bytes) -> None:
    writer = SegmentWriter(FileOps(), directory, 3, 0)
    buffers: list[bytes] = []
    written: dict[int, tuple[tuple[AnyRecord, ...], bytes, int]] = {}
    for number in range(data[0] % 6 + 1):
        records, content = _RECORDS[(data[1] + number) % len(_RECORDS)], data[7 + number :][: data[2] % 40]
        if number == 2:
            content = b"".join(buffers)[:200]  # a copy of frames must not pose as frames
        offset, content_at = writer.frame(records, content, buffers)
        written[offset] = (records, content, content_at)
    writer.write(buffers, HEADER_OCTETS)
    end = writer.end
    writer.close()
    path = Path(writer.path)
    octets = bytearray(path.read_bytes())
    harmed = _harm(octets, data[3:])
    path.write_bytes(octets)
    try:
        reader = SegmentReader(str(path))
    except BadHeader:
        assert harmed
        return
    for known_end in (0, end):
        last = HEADER_OCTETS
        seen = 0
        for item in reader.frames(known_end):
            if isinstance(item, Damage):
                assert last <= item.start < item.end <= len(octets)
                last = item.end
                continue
            assert isinstance(item, Frame)
            records, content, content_at = written[item.offset]
            assert item.offset >= last
            assert item.records == records
            assert item.content_offset == content_at
            last = item.end
            seen += 1
            with path.open("rb") as file:
                assert read_content(file.fileno(), content_at, len(content)) == content
        assert harmed or seen == len(written)
        assert reader.end <= len(octets)
        reader.torn_tail()
    assert path.read_bytes() == octets


def _harm(octets: bytearray, script: bytes) -> bool:
    """Pairs of a place and an octet; a place beyond the end cuts there."""
    before = bytes(octets)
    for at in range(0, min(len(script) - 2, 12), 3):
        place, value = int.from_bytes(script[at : at + 2], "big"), script[at + 2]
        if place < 0x4000:
            continue  # no harm
        if place >= 0xF000:
            del octets[HEADER_OCTETS + place % (len(octets) - HEADER_OCTETS + 1) :]
        elif place >= 0xE000:
            octets += bytes([value]) * (place % 100)
        elif len(octets) > HEADER_OCTETS:
            spot = place % (len(octets) - HEADER_OCTETS) + HEADER_OCTETS if place & 0x1000 else place % len(octets)
            octets[spot] = value
    return octets != before


TARGET = Target(
    check,
    seeds=(
        b"from s@example.org\nto a@example.net\nnotify SUCCESS,DELAY\nret HDRS\nenvid x\nsmtputf8\nfullname A B\n\nSubject: x\n\nbody\n",
        b"\5\0\x09\0\0\0content",
        b"\5\1\x20\x50\x07\x00\xf1\x23\x00content of some length",
        b"\3\2\0\xe0\x40\xffabcdefgh",
        *(_encoder.encode(records) for records in _RECORDS),
        _encoder.encode([[1, ["4A", None, {0: [["u", "d"]]}, 1, [], 0.0, 5], 0, 5]]),
    ),
    words=(
        b"from ", b"to ", b"notify NEVER", b"ret FULL", b"envid ", b"smtputf8", b"fullname ", b"\n", b"\n\n",
        b"posthouse-maildrop 1\n", b"\x91", b"\x92\x01", b"\xc0", b"\xa0", b"\xcb\x7f\xf8\0\0\0\0\0\0",
        b"\xdd\xff\xff\xff\xff", b"\xf0\0\0", b"\x50\0\0", b"\xe0\x20\0", b"\0", b"\xff", b"\xc3\xa4",
    ),
    max_octets=2000,
)  # fmt: skip
