"""Segment files: a header with a random salt, then frames. See `record` for the frame.

A segment is written by one thread and never changed once closed. Names are numbers that only grow, so the order of
names is the order of history. `Position`s order all frames: segment number and offset in one integer.
"""

import os
import re
import secrets
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from posthouse.queue.fileops import FileOps
from posthouse.queue.record import FRAME_HEADER, AnyRecord, Damaged, decode_frame, encode_frame

_MAGIC: Final = b"PHQUEUE1"
_HEADER: Final = struct.Struct(">8sQ16sQI")
"""magic, number, salt, end of the segment before (0: not known), checksum"""
_COPY_AT: Final = 4096
HEADER_OCTETS: Final = 8192
"""Room for two copies of the header in different blocks: without its salt a whole segment would be unreadable."""
_NAME: Final = re.compile(r"([0-9a-f]{12})\.seg\Z")


class BadHeader(Exception):
    """The file is no segment: never finished being made, or damaged."""


def position(number: int, offset: int) -> int:
    """The place of a frame in the history of the whole journal."""
    return number << 32 | offset


def segment_of(lsn: int) -> int:
    return lsn >> 32


def segment_name(number: int) -> str:
    return f"{number:012x}.seg"


def segment_numbers(directory: str) -> list[int]:
    """The segments in a directory, oldest first."""
    return sorted(int(match[1], 16) for name in os.listdir(directory) if (match := _NAME.match(name)))


def _marker_and_seed(salt: bytes) -> tuple[bytes, int]:
    return salt[:8], zlib.crc32(salt)


class SegmentWriter:
    """The segment that grows. `end` is the offset behind the last frame written; the caller flushes."""

    def __init__(self, ops: FileOps, directory: str, number: int, previous_end: int, spare: str = "") -> None:
        """Makes the segment so that its name is durable before the first frame. `spare` is a retired file to reuse."""
        self._ops = ops
        self.number = number
        self.path = f"{directory}/{segment_name(number)}"
        salt = secrets.token_bytes(16)
        self._marker, self._seed = _marker_and_seed(salt)
        self.end = HEADER_OCTETS
        header = _HEADER.pack(_MAGIC, number, salt, previous_end, 0)[:-4]
        header = (header + struct.pack(">I", zlib.crc32(header))).ljust(_COPY_AT, b"\0") * 2
        flags = os.O_RDWR if spare else os.O_RDWR | os.O_CREAT | os.O_EXCL
        self.descriptor = ops.open(spare or self.path, flags)
        try:
            ops.write_all(self.descriptor, (header,), 0)
            ops.fdatasync(self.descriptor)
            if spare:
                ops.rename(spare, self.path)
            ops.sync_directory(directory)
        except OSError:
            ops.close(self.descriptor)
            try:
                ops.unlink(spare or self.path)
            except OSError:
                pass  # a header without frames harms nobody; recovery removes it
            raise

    def frame(self, records: tuple[AnyRecord, ...], content: bytes, into: list[bytes]) -> tuple[int, int]:
        """Lay one frame behind the last; returns (offset of the frame, offset of its content)."""
        offset = self.end
        head, length = encode_frame(records, content, self._marker, self._seed, offset)
        into.append(head)
        if content:
            into.append(content)
        self.end = offset + length
        return offset, offset + len(head)

    def write(self, buffers: list[bytes], offset: int) -> None:
        self._ops.write_all(self.descriptor, buffers, offset)

    def flush(self) -> None:
        self._ops.fdatasync(self.descriptor)

    def close(self) -> None:
        self._ops.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class Frame:
    offset: int
    content_offset: int
    records: tuple[AnyRecord, ...]
    end: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Octets `start` to `end` hold no valid frame although valid ones follow (or must have been there)."""

    start: int
    end: int
    why: str


def _read_header(data: bytes) -> tuple[int, bytes, int]:
    for at in (0, _COPY_AT):
        magic, number, salt, previous_end, checksum = _HEADER.unpack_from(data, at)
        if magic == _MAGIC and zlib.crc32(data[at : at + _HEADER.size - 4]) == checksum:
            return number, salt, previous_end
    raise BadHeader("no segment header")


class SegmentReader:
    """Reads a whole segment once, in order. A damaged stretch in the middle is reported and stepped over."""

    def __init__(self, path: str) -> None:
        self.path = path
        with open(path, "rb") as file:
            self.data = file.read()
        if len(self.data) < HEADER_OCTETS:
            raise BadHeader("too short")
        self.number, salt, self.previous_end = _read_header(self.data)
        self._marker, self._seed = _marker_and_seed(salt)
        self.end = HEADER_OCTETS
        """Offset behind the last valid frame, once `frames` has been read to its end."""

    def frames(self, known_end: int = 0, start: int = HEADER_OCTETS) -> Iterator[Frame | Damage]:
        """Everything from `start`. `known_end`: frames up to there were flushed once (the next segment says so), so
        whatever is missing before it is damage, and what lies behind it does not count; 0: not known, and an
        invalid last stretch is the torn end of an unfinished write."""
        data = self.data
        view = memoryview(data)
        limit = min(known_end, len(data)) if known_end else len(data)
        at = self.end = start
        while at < limit:
            try:
                records, content_at, length = decode_frame(view[at:limit], self._marker, self._seed, at)
            except Damaged as damage:
                found = self._next_frame(view, at, limit)
                if found is None:
                    if known_end:
                        yield Damage(at, limit, str(damage))
                        self.end = limit
                    return
                yield Damage(at, found, str(damage))
                at = found
                continue
            yield Frame(at, at + content_at, records, at + length)
            at += length
            self.end = at

    @staticmethod
    def previous_end_of(header: bytes) -> int:
        """Where the segment before this one ends, from the first HEADER_OCTETS of a file."""
        if len(header) < HEADER_OCTETS:
            raise BadHeader("too short")
        return _read_header(header)[2]

    def torn_tail(self) -> bytes:
        """What is left of a frame that began at `end`: empty if nothing was begun there."""
        if not self.data.startswith(self._marker, self.end):
            return b""
        try:
            _, content_octets, body_octets, _ = FRAME_HEADER.unpack_from(self.data, self.end)
        except struct.error:
            return self.data[self.end :]
        return self.data[self.end : self.end + FRAME_HEADER.size + content_octets + body_octets]

    def _next_frame(self, view: memoryview, after: int, limit: int) -> int | None:
        at = self.data.find(self._marker, after + 1, limit)
        while at >= 0:
            try:
                decode_frame(view[at:limit], self._marker, self._seed, at)
            except Damaged:
                at = self.data.find(self._marker, at + 1, limit)
                continue
            return at
        return None


def read_content(descriptor: int, offset: int, octets: int) -> bytes:
    """The content of one message. Raises OSError on a short read (the file was cut off)."""
    data = os.pread(descriptor, octets, offset)
    while len(data) < octets:
        more = os.pread(descriptor, octets - len(data), offset + len(data))
        if not more:
            raise OSError(f"segment ends {octets - len(data)} octets early")
        data += more
    return data
