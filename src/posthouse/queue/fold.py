"""The state of the queue: what the records of the journal, applied one after the other, come to.

The same code applies a record after its flush and at recovery. Applying a record twice changes nothing: each message
knows the last one that changed it (`Message.lsn`). What is in memory is what is not in the index yet plus what is under
delivery; everything else is rows of the index, fetched through `load` when an old record names it at recovery.

`checkpoint` gives what the index must learn, and the position up to which the index then knows everything. A message
delivered right away is entered and done between two checkpoints and is never part of one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from posthouse.core.identifiers import QueueId
from posthouse.queue.message import Message, Place, QueuedRecipient
from posthouse.queue.record import (
    AnyRecord,
    Clean,
    Defer,
    Delete,
    Done,
    Enter,
    Hold,
    LeaseGiven,
    Redirect,
    Release,
    Requeue,
)

SegmentKey = tuple[int, int]
"""(area, number)"""


@dataclass(slots=True)
class Checkpoint:
    """`upserts` are states as of now, `deletes` messages that are gone; with both in the index, it knows all records
    before `position`. `complete`: nothing was left for another step."""

    upserts: list[Message]
    deletes: list[QueueId]
    position: int
    lease: int
    complete: bool


@dataclass(slots=True)
class Usage:
    """Live content in one segment."""

    messages: int = 0
    octets: int = 0


@dataclass(slots=True)
class _Fresh:
    """A message the index does not know: where its history begins, and since when it has been here."""

    lsn: int
    since_s: float


class QueueState:
    """Owns every message in memory. Only flushed records are applied."""

    def __init__(self, load: Callable[[QueueId], Message | None] = lambda _: None) -> None:
        self.messages: dict[QueueId, Message] = {}
        self.lease = 0
        self.end = 0
        """Position behind the last applied frame."""
        self.clean = False
        self.usage: dict[SegmentKey, Usage] = {}
        self.large: set[str] = set()
        """Files of their own that live messages in memory refer to."""
        self.on_removed: Callable[[Message], None] = lambda _: None
        self._load = load
        self._fresh: dict[QueueId, _Fresh] = {}
        self._dirty: dict[QueueId, int] = {}
        self._gone: dict[QueueId, int] = {}

    # ── applying ──

    def apply(self, records: Iterable[AnyRecord], lsn: int, end: int, content: Place, now_s: float) -> None:
        """All records of one flushed frame. `content` is the place of the frame's content."""
        for record in records:
            self.clean = False
            match record:
                case Enter():
                    self._enter(record, lsn, content, now_s)
                case Done():
                    if message := self._changing(record.queue_id, lsn):
                        for index in record.indexes:
                            message.recipients.pop(index, None)
                        self._changed(message, lsn)
                case Defer():
                    if message := self._changing(record.queue_id, lsn):
                        self._defer(message, record)
                        self._changed(message, lsn)
                case Redirect():
                    if message := self._changing(record.queue_id, lsn):
                        if message.recipients.pop(record.index, None) is not None:
                            self._add(message, record.recipients)
                        self._changed(message, lsn)
                case Requeue():
                    if message := self._changing(record.queue_id, lsn):
                        message.recipients.clear()
                        self._add(message, record.recipients)
                        message.hold = False
                        message.due = record.due
                        self._changed(message, lsn)
                case Hold():
                    for message in self._changing_all(record.queue_ids, lsn):
                        message.hold = True
                        self._changed(message, lsn)
                case Release():
                    for message in self._changing_all(record.queue_ids, lsn):
                        message.hold = False
                        message.due = record.due
                        self._changed(message, lsn)
                case Delete():
                    for message in self._changing_all(record.queue_ids, lsn):
                        message.recipients.clear()
                        self._changed(message, lsn)
                case LeaseGiven():
                    self.lease = max(self.lease, record.number)
                case Clean():
                    self.clean = True
        self.end = max(self.end, end)

    def _enter(self, record: Enter, lsn: int, content: Place, now_s: float) -> None:
        message = record.message
        known = self._get(message.queue_id)
        if known is not None and known.lsn >= (message.lsn or lsn):
            return  # a queue id met twice is one message
        if known is not None:
            self._forget_place(known)
        # A copy on a deferred segment carries the position of the history it includes.
        message.lsn = message.lsn or lsn
        message.place = Place(content.area, content.number, content.offset + record.at)
        self.messages[message.queue_id] = message
        self._remember_place(message)
        if known is None:
            self._fresh[message.queue_id] = _Fresh(lsn, now_s)
        else:
            self._touch(message.queue_id, lsn)
        if not message.recipients:
            self._remove(message, lsn)

    @staticmethod
    def _defer(message: Message, record: Defer) -> None:
        for deferral in record.deferrals:
            if (recipient := message.recipients.get(deferral.index)) is not None:
                recipient.dsn = deferral.dsn
                recipient.reason = deferral.reason
                recipient.remote_mta = deferral.remote_mta
                recipient.remote_reply = deferral.remote_reply
        message.due = record.due
        message.warned = message.warned or record.warned

    @staticmethod
    def _add(message: Message, recipients: Iterable[QueuedRecipient]) -> None:
        for recipient in recipients:
            message.recipients[message.next_index] = recipient
            message.next_index += 1

    def _get(self, queue_id: QueueId) -> Message | None:
        message = self.messages.get(queue_id)
        if message is None and queue_id not in self._gone and (message := self._load(queue_id)) is not None:
            self.messages[queue_id] = message
            if message.large:
                self.large.add(message.large)
        return message

    def _changing(self, queue_id: QueueId, lsn: int) -> Message | None:
        message = self._get(queue_id)
        return message if message is not None and message.lsn < lsn else None

    def _changing_all(self, queue_ids: Iterable[QueueId], lsn: int) -> Iterable[Message]:
        for queue_id in queue_ids:
            if message := self._changing(queue_id, lsn):
                yield message

    def _changed(self, message: Message, lsn: int) -> None:
        message.lsn = lsn
        if not message.recipients:
            self._remove(message, lsn)
        else:
            self._touch(message.queue_id, lsn)

    def _touch(self, queue_id: QueueId, lsn: int) -> None:
        if queue_id not in self._fresh:
            self._dirty.setdefault(queue_id, lsn)

    def _remove(self, message: Message, lsn: int) -> None:
        queue_id = message.queue_id
        del self.messages[queue_id]
        self._dirty.pop(queue_id, None)
        if self._fresh.pop(queue_id, None) is None:
            self._gone[queue_id] = lsn
        self._forget_place(message)
        self.on_removed(message)

    # ── where content is ──

    def _remember_place(self, message: Message) -> None:
        if message.large:
            self.large.add(message.large)
            return
        usage = self.usage.setdefault((message.place.area, message.place.number), Usage())
        usage.messages += 1
        usage.octets += message.size

    def _forget_place(self, message: Message) -> None:
        if message.large:
            self.large.discard(message.large)
            return
        usage = self.usage.get((message.place.area, message.place.number))
        if usage is not None:
            usage.messages -= 1
            usage.octets -= message.size
            if usage.messages <= 0:
                del self.usage[message.place.area, message.place.number]

    def relocate(self, key: SegmentKey, octets: int, place: Place) -> None:
        """A message's content, counted in segment `key`, is now at `place` (the index knows already)."""
        if (usage := self.usage.get(key)) is not None:
            usage.messages -= 1
            usage.octets -= octets
            if usage.messages <= 0:
                del self.usage[key]
        target = self.usage.setdefault((place.area, place.number), Usage())
        target.messages += 1
        target.octets += octets

    # ── the index ──

    def checkpoint(self, older_than_s: float, is_waiting: Callable[[QueueId], bool], limit: int) -> Checkpoint:
        """What the index must be told now: messages that wait or entered before `older_than_s`, changed rows, removed
        rows; at most about `limit` of each kind. Call `written` when the index has it."""
        upserts: list[Message] = []
        position = self.end
        complete = True
        for queue_id, fresh in self._fresh.items():
            if len(upserts) >= limit:
                position = min(position, fresh.lsn)
                complete = False
                break
            if fresh.since_s <= older_than_s or is_waiting(queue_id):
                upserts.append(self.messages[queue_id])
            else:
                position = min(position, fresh.lsn)  # the rest is younger still, but some of it may wait
        room = len(upserts) + limit
        for queue_id, lsn in self._dirty.items():
            if len(upserts) >= room:
                position = min(position, lsn)
                complete = False
                break
            upserts.append(self.messages[queue_id])
        deletes = list(self._gone)
        return Checkpoint(upserts, deletes, position, self.lease, complete)

    def taken(self, checkpoint: Checkpoint) -> None:
        """The rows of `checkpoint` have been encoded and are on their way: later changes make them dirty again."""
        for message in checkpoint.upserts:
            self._fresh.pop(message.queue_id, None)
            self._dirty.pop(message.queue_id, None)
        for queue_id in checkpoint.deletes:
            self._gone.pop(queue_id, None)

    def not_written(self, checkpoint: Checkpoint, position: int) -> None:
        """The index could not take it: everything is to be told again, from `position` (where the index stands)."""
        for message in checkpoint.upserts:
            if message.queue_id in self.messages:
                self._dirty.setdefault(message.queue_id, position)
        for queue_id in checkpoint.deletes:
            self._gone.setdefault(queue_id, position)
        # The oldest first, so that checkpoint() finds the right position.
        self._dirty = dict(sorted(self._dirty.items(), key=lambda item: item[1]))

    def is_changed(self, queue_id: QueueId) -> bool:
        """Does the index lag behind for this message?"""
        return queue_id in self._fresh or queue_id in self._dirty

    def is_gone(self, queue_id: QueueId) -> bool:
        """Is it done, although the index still has its row?"""
        return queue_id in self._gone

    def end_recovery(self) -> None:
        """From here on records name messages in memory only, and the database belongs to its own thread."""
        self._load = lambda _: None

    def touch(self, queue_id: QueueId) -> None:
        """Have the row written again although no record changed it (it is no longer under delivery)."""
        self._touch(queue_id, self.end)

    def adopt(self, message: Message) -> None:
        """Take a message that came from the index into memory."""
        self.messages[message.queue_id] = message
        if message.large:
            self.large.add(message.large)

    def drop(self, queue_id: QueueId) -> None:
        """Leave a message to the index (it must not be changed since it was written)."""
        message = self.messages.pop(queue_id)
        if message.large:
            self.large.discard(message.large)
