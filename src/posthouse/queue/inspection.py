"""The queue as the files have it, for commands that run while the system is stopped. Changes nothing."""

import os
from pathlib import Path

import apsw

from posthouse.core.envelope import Envelope, Recipient
from posthouse.core.identifiers import QueueId
from posthouse.core.logline import Level
from posthouse.queue.fold import QueueState
from posthouse.queue.index import Index
from posthouse.queue.maildrop import BadDrop, parse_drop
from posthouse.queue.message import Message
from posthouse.queue.recovery import Spool, replay_journal
from posthouse.queue.segment import read_content
from posthouse.runtime.schema import QueuedMessage, QueueEntry, QueueRecipient

PAGE = 1000


def read_messages(queue_directory: str) -> list[Message]:
    """Everything in index and journal, in the order of queue ids. Raises OSError if the caller may not read it."""
    spool = Spool(queue_directory)
    os.listdir(spool.journal)  # a clear error for those who may not
    index: Index | None = None
    if Path(spool.index_path).exists():
        try:
            index = Index(spool.index_path, read_only=True)
        except apsw.Error as error:
            raise OSError(f"{spool.index_path}: {error}") from error
    state = QueueState(index.get if index is not None else lambda _: None)
    found: dict[QueueId, Message] = {}
    if index is not None:
        after = ""
        while page := index.page(after, PAGE):
            found.update((message.queue_id, message) for _, message in page)
            after = page[-1][1].queue_id
    replay_journal(spool, state, index.meta("position") if index is not None else 0, _ignore)
    if index is not None:
        index.close()
    found = {queue_id: message for queue_id, message in found.items() if not state.is_gone(message.queue_id)}
    found.update(state.messages)
    return [found[queue_id] for queue_id in sorted(found)]


def read_message(queue_directory: str, queue_id: QueueId) -> tuple[QueuedMessage, bytes] | None:
    """One message with its content, for postcat. Raises OSError."""
    spool = Spool(queue_directory)
    for message in read_messages(queue_directory):
        if message.queue_id == queue_id:
            break
    else:
        return None
    path = f"{spool.large}/{message.large}" if message.large else spool.segment_path(message.place)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = read_content(descriptor, 0 if message.large else message.place.offset, message.size)
    finally:
        os.close(descriptor)
    envelope = Envelope(
        message.sender,
        tuple(Recipient(one.address, one.original, one.notify) for one in message.recipients.values()),
        message.body,
        message.smtputf8,
        message.ret,
        message.envid,
    )
    return QueuedMessage(_entry(message), envelope, message.arrival, b""), content


def _ignore(level: Level, words: str) -> None:
    """Damage is reported by the queue itself, when it starts."""


def _entry(message: Message) -> QueueEntry:
    return QueueEntry(
        message.queue_name,
        message.queue_id,
        message.arrival.at_s,
        message.size,
        str(message.sender) if message.sender else "",
        tuple(QueueRecipient(str(one.address), one.reason) for one in message.recipients.values()),
    )


def read_queue(queue_directory: str) -> list[QueueEntry]:
    """For postqueue: the messages, and what lies in the maildrop."""
    entries = [_entry(message) for message in read_messages(queue_directory)]
    for path in sorted(Path(queue_directory, "maildrop").iterdir()):
        if path.name.startswith("."):
            continue
        try:
            drop = parse_drop(path.read_bytes())
        except (BadDrop, OSError):
            continue
        recipients = tuple(QueueRecipient(one) for one in drop.recipients)
        entries.append(
            QueueEntry("maildrop", path.name, path.stat().st_mtime, len(drop.content), drop.sender, recipients)
        )
    return entries
