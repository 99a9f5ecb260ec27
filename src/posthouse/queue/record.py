"""The records of the journal, and the frame that carries them.

A frame is atomic: either all of its records count or none, so effects that belong together (bounce + done, redirect +
done) share one. Layout, big-endian:

    marker 8 | content length u32 | records length u32 | checksum u32 | records (msgpack) | content

The marker and the checksum's start value come from the segment's random salt, and the checksum covers the frame's own
offset: no content and no older frame left in a reused file can pose as a record.
"""

import struct
import zlib
from typing import Final

import msgspec

from posthouse.core.identifiers import QueueId
from posthouse.queue.message import Message, QueuedRecipient


class JournalRecord(msgspec.Struct, frozen=True, array_like=True):
    """Base of all records. Tags are numbers: they are in every frame on disk and never change their meaning."""


class Enter(JournalRecord, frozen=True, tag=1):
    """A message entered the queue (or was copied on to a deferred segment: then `message.lsn` is set). Its content is
    `octets` long and begins at `at` in the content of this frame."""

    message: Message
    at: int = 0
    octets: int = 0


class Done(JournalRecord, frozen=True, tag=2):
    """These recipients are finished. A message whose last recipient is finished leaves the queue."""

    queue_id: QueueId
    indexes: tuple[int, ...]


class Deferral(msgspec.Struct, frozen=True, array_like=True):
    index: int
    dsn: str
    reason: str
    remote_mta: str = ""
    remote_reply: str = ""


class Defer(JournalRecord, frozen=True, tag=3):
    """These recipients failed for now; the message is tried again after `due`. `warned`: the sender has been told."""

    queue_id: QueueId
    due: float
    deferrals: tuple[Deferral, ...]
    warned: bool = False


class Hold(JournalRecord, frozen=True, tag=4):
    queue_ids: tuple[QueueId, ...]


class Release(JournalRecord, frozen=True, tag=5):
    queue_ids: tuple[QueueId, ...]
    due: float


class Delete(JournalRecord, frozen=True, tag=6):
    queue_ids: tuple[QueueId, ...]


class Requeue(JournalRecord, frozen=True, tag=7):
    """The recipients that were left are replaced by these (addresses were looked up anew)."""

    queue_id: QueueId
    recipients: tuple[QueuedRecipient, ...]
    due: float


class Redirect(JournalRecord, frozen=True, tag=8):
    """An alias or .forward: these recipients take the place of recipient `index`, which is done."""

    queue_id: QueueId
    index: int
    recipients: tuple[QueuedRecipient, ...]


class LeaseGiven(JournalRecord, frozen=True, tag=9):
    """Lease numbers up to this one have been given out."""

    number: int


class Clean(JournalRecord, frozen=True, tag=10):
    """The queue stopped in order: no delivery was under way."""


AnyRecord = Enter | Done | Defer | Hold | Release | Delete | Requeue | Redirect | LeaseGiven | Clean

FRAME_HEADER: Final = struct.Struct(">8sIII")
_POSITION: Final = struct.Struct(">QII")
MAX_RECORDS_OCTETS: Final = 64 * 1024 * 1024
"""Fifty thousand recipients with all their facts fit well; a longer length field is damage."""
MAX_CONTENT_OCTETS: Final = 64 * 1024 * 1024

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(tuple[AnyRecord, ...])


class Damaged(Exception):
    """No valid frame here. `length` is what the frame would have taken, 0 if not even that is known."""

    def __init__(self, why: str, length: int = 0) -> None:
        super().__init__(why)
        self.length = length


def encode_frame(
    records: tuple[AnyRecord, ...], content: bytes, marker: bytes, seed: int, offset: int
) -> tuple[bytes, int]:
    """(header and records, octets of the whole frame); the caller writes `content` behind."""
    body = _encoder.encode(records)
    checksum = zlib.crc32(_POSITION.pack(offset, len(content), len(body)), seed)
    checksum = zlib.crc32(content, zlib.crc32(body, checksum))
    head = FRAME_HEADER.pack(marker, len(content), len(body), checksum) + body
    return head, len(head) + len(content)


def decode_frame(view: memoryview, marker: bytes, seed: int, offset: int) -> tuple[tuple[AnyRecord, ...], int, int]:
    """(records, offset of the content within the frame, octets of the whole frame). `view` begins at the frame."""
    if len(view) < FRAME_HEADER.size:
        raise Damaged("no room for a frame")
    found, content_octets, body_octets, checksum = FRAME_HEADER.unpack_from(view)
    if found != marker:
        raise Damaged("no frame begins here")
    content_at = FRAME_HEADER.size + body_octets
    length = content_at + content_octets
    if body_octets > MAX_RECORDS_OCTETS or content_octets > MAX_CONTENT_OCTETS or length > len(view):
        raise Damaged("the frame is not complete")
    expected = zlib.crc32(_POSITION.pack(offset, content_octets, body_octets), seed)
    expected = zlib.crc32(view[FRAME_HEADER.size : length], expected)
    if expected != checksum:
        raise Damaged("wrong checksum", length)
    try:
        return _decoder.decode(view[FRAME_HEADER.size : content_at]), content_at, length
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Damaged(f"records of an unknown form: {error}", length) from error
