"""What administrators see and do: the listing, hold, release, delete, requeue, flush, and one message as a whole.

The listing is made of what is in memory and what is in the index, in the order of queue ids (which is the order of
arrival). Changes are records; they are answered after their flush.
"""

import asyncio
import functools
from collections.abc import Callable, Iterable
from typing import Final

from posthouse.core.envelope import Envelope, Recipient
from posthouse.core.identifiers import QueueId
from posthouse.core.logline import LogLine
from posthouse.core.reply import MailError, PermFail, Reply, TempFail
from posthouse.queue.cleanup import Cleanup, Expanded
from posthouse.queue.content import ContentFiles
from posthouse.queue.index import DEFERRED, HELD, INCOMING, Index
from posthouse.queue.journal import storage_reply
from posthouse.queue.ledger import Ledger
from posthouse.queue.loglines import SuperAction
from posthouse.queue.manager import Manager
from posthouse.queue.message import Message, QueuedRecipient
from posthouse.queue.record import AnyRecord, Delete, Hold, Release, Requeue
from posthouse.runtime.ipc import Connection, Responder, SchemaError
from posthouse.runtime.schema import (
    Changed,
    ChangeMessages,
    Done,
    Flush,
    FlushMessage,
    ListQueue,
    QueuedMessage,
    QueueEntry,
    QueuePage,
    QueueRecipient,
    ReadMessage,
    Record,
)

NO_SUCH_MESSAGE: Final = PermFail(Reply.of(550, "5.1.0", "no such message in the queue"))
MAX_PAGE: Final = 1000
MAX_PAGE_OCTETS: Final = 1024 * 1024
CHUNK: Final = 1000
READ_OCTETS: Final = 1024 * 1024
_QUEUES: Final = {"active": (), "incoming": (INCOMING,), "deferred": (DEFERRED,), "hold": (HELD,)}
_ACTIONS: Final = ("delete", "hold", "release", "requeue")


class Administration:
    def __init__(
        self,
        ledger: Ledger,
        files: ContentFiles,
        manager: Manager,
        cleanup: Cleanup,
        emit: Callable[[LogLine], None],
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._manager = manager
        self._cleanup = cleanup
        self._emit = emit

    def handle(self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None) -> None:
        """Both command endpoints; what each may ask is the schema's business."""
        assert not descriptors
        if respond is None:
            raise SchemaError(f"unexpected {type(record).__name__}")
        match record:
            case ListQueue():
                connection.respond_with(respond, self.page(record))
            case Flush():
                self._manager.expedite(record.site, lambda: respond(Done()))
            case FlushMessage():
                connection.respond_with(respond, self._flush_message(record.queue_id))
            case ChangeMessages():
                connection.respond_with(respond, self._change(record))
            case ReadMessage():
                connection.respond_with(respond, self._read(record))
            case _:
                raise SchemaError(f"unexpected {type(record).__name__}")

    # ── seeing ──

    def _queue_name(self, message: Message) -> str:
        return "hold" if message.hold else "active" if message.queue_id in self._manager.active else message.queue_name

    def entry(self, queue_name: str, message: Message) -> QueueEntry:
        active = self._manager.active.get(message.queue_id)
        reasons = {index: deferral.reason for index, deferral in active.deferrals.items()} if active else {}
        return QueueEntry(
            queue_name=queue_name,
            queue_id=message.queue_id,
            arrival_time=message.arrival.at_s,
            message_size=message.size,
            sender=str(message.sender) if message.sender else "",
            recipients=tuple(
                QueueRecipient(str(one.address), reasons.get(index, one.reason))
                for index, one in message.recipients.items()
            ),
        )

    async def page(self, request: ListQueue) -> QueuePage:
        limit = max(1, min(request.limit, MAX_PAGE))
        rows = await self._ledger.index.run(lambda index: index.page(request.after, limit))
        in_memory = self._ledger.state.messages
        found: dict[QueueId, tuple[str, Message]] = {
            message.queue_id: (queue_name, message)
            for queue_name, message in rows
            if message.queue_id not in in_memory and not self._ledger.state.is_gone(message.queue_id)
        }
        last = rows[-1][1].queue_id if len(rows) == limit else ""
        for queue_id, message in in_memory.items():
            if queue_id > request.after and (not last or queue_id <= last):
                found[queue_id] = (self._queue_name(message), message)
        entries: list[QueueEntry] = []
        octets = 0
        for queue_id in sorted(found):
            if len(entries) >= limit or octets > MAX_PAGE_OCTETS:
                return QueuePage(tuple(entries), entries[-1].queue_id)
            entry = self.entry(*found[queue_id])
            octets += 100 + sum(len(one.address) + len(one.delay_reason) + 16 for one in entry.recipients)
            entries.append(entry)
        return QueuePage(tuple(entries), last)

    async def _find(self, queue_id: QueueId) -> Message:
        message = self._ledger.state.messages.get(queue_id)
        if message is None and not self._ledger.state.is_gone(queue_id):
            message = await self._ledger.index.run(lambda index: index.get(queue_id))
        if message is None:
            raise NO_SUCH_MESSAGE
        return message

    async def _read(self, request: ReadMessage) -> QueuedMessage:
        message = await self._find(request.queue_id)
        envelope = Envelope(
            message.sender,
            tuple(Recipient(one.address, one.original, one.notify) for one in message.recipients.values()),
            message.body,
            message.smtputf8,
            message.ret,
            message.envid,
        )
        content = b""
        if request.offset < message.size:
            try:
                content = await self._files.read(message, request.offset + READ_OCTETS)
            except OSError as error:
                raise TempFail(storage_reply(error)) from error
        return QueuedMessage(
            self.entry(self._queue_name(message), message), envelope, message.arrival, content[request.offset :]
        )

    # ── doing ──

    async def _flush_message(self, queue_id: QueueId) -> Done:
        message = await self._find(queue_id)
        if message.queue_id not in self._manager.active:
            if message.queue_id not in self._ledger.state.messages:
                await self._load([queue_id])
                message = await self._find(queue_id)
            self._manager.activate(message)
        return Done()

    async def _load(self, queue_ids: list[QueueId]) -> None:
        """Rows become messages in memory, where records are applied to them."""
        state = self._ledger.state
        wanted = [queue_id for queue_id in queue_ids if queue_id not in state.messages]
        if not wanted:
            return
        for message in await self._ledger.index.run(lambda index: index.load(wanted)):
            if message.queue_id not in state.messages and not state.is_gone(message.queue_id):
                state.adopt(message)
                state.touch(message.queue_id)  # written back as waiting if nothing else happens

    async def _change(self, request: ChangeMessages) -> Changed:
        if request.action not in _ACTIONS:
            raise PermFail(Reply.of(550, "5.5.4", f"unknown action {request.action}"))
        if request.queue_ids:
            return Changed(await self._change_some(request.action, list(request.queue_ids), request.queue_names))
        names = request.queue_names or tuple(_QUEUES)
        if unknown := [name for name in names if name not in _QUEUES]:
            raise PermFail(Reply.of(550, "5.5.4", f"unknown queue {unknown[0]}"))
        in_memory = [
            queue_id for queue_id, message in self._ledger.state.messages.items() if self._queue_name(message) in names
        ]
        count = 0
        for start in range(0, len(in_memory), CHUNK):
            count += await self._change_some(request.action, in_memory[start : start + CHUNK], request.queue_names)
        numbers = [number for name in names for number in _QUEUES[name]]
        after = QueueId("")
        while numbers:
            ids = await self._ledger.index.run(
                functools.partial(Index.ids, after=after, queue_numbers=numbers, limit=CHUNK)
            )
            if not ids:
                break
            after = ids[-1]
            rest = [queue_id for queue_id in ids if queue_id not in in_memory]
            count += await self._change_some(request.action, rest, request.queue_names)
        return Changed(count)

    async def _change_some(self, action: str, queue_ids: list[QueueId], queue_names: Iterable[str]) -> int:
        await self._load(queue_ids)
        messages = self._ledger.state.messages
        names = tuple(queue_names)
        chosen = [
            queue_id
            for queue_id in queue_ids
            if (message := messages.get(queue_id)) is not None and (not names or self._queue_name(message) in names)
        ]
        match action:
            case "hold":
                chosen = [queue_id for queue_id in chosen if not messages[queue_id].hold]
            case "release":
                chosen = [queue_id for queue_id in chosen if messages[queue_id].hold]
            case _:
                pass
        if not chosen:
            return 0
        try:
            await self._apply(action, chosen)
        except OSError as error:
            raise TempFail(storage_reply(error)) from error
        return len(chosen)

    async def _apply(self, action: str, chosen: list[QueueId]) -> None:
        ids = tuple(chosen)
        records: tuple[AnyRecord, ...]
        if action == "requeue":
            for queue_id in ids:
                await self._requeue(queue_id)
            return
        if action == "delete":
            self._manager.silent_removals.update(ids)
            records = (Delete(ids),)
        elif action == "hold":
            records = (Hold(ids),)
        else:
            records = (Release(ids, self._ledger.clock.now()),)
        try:
            await self._ledger.write(records, is_fact=True)  # deleting is what helps a full file system
        except OSError:
            self._manager.silent_removals.difference_update(ids)
            raise
        words = {"delete": "removed", "hold": "placed on hold", "release": "released from hold"}[action]
        for queue_id in ids:
            self._emit(SuperAction(queue_id, words))
            if action == "hold":
                self._manager.withdraw(queue_id)
            elif action == "release" and (message := self._ledger.state.messages.get(queue_id)) is not None:
                self._manager.activate(message)

    async def _requeue(self, queue_id: QueueId) -> None:
        """Look everything up anew; what is under way ends first, so that nobody gets a second copy."""
        active = self._manager.active.get(queue_id)
        if active is not None:
            active.on_end = functools.partial(self._requeue_later, queue_id)
            self._manager.withdraw(queue_id)
            return
        message = self._ledger.state.messages.get(queue_id)
        if message is None:
            return
        old = list(message.recipients.values())
        recipients: list[QueuedRecipient] = []
        for one in old:
            envelope = Envelope(message.sender, (Recipient(one.address, one.original, one.notify),))
            for new in await self._expanded(envelope):
                new.action = one.action + 1
                new.mailbox, new.owner, new.alias, new.level = one.mailbox, one.owner, one.alias, one.level
                recipients.append(new)
        await self._ledger.write((Requeue(queue_id, tuple(recipients), self._ledger.clock.now()),), is_fact=True)
        self._emit(SuperAction(queue_id, "requeued"))
        if (message := self._ledger.state.messages.get(queue_id)) is not None:
            self._manager.activate(message)

    def _requeue_later(self, queue_id: QueueId) -> None:
        self._manager.spawn(self._requeue(queue_id))

    async def _expanded(self, envelope: Envelope) -> list[QueuedRecipient]:
        done: asyncio.Future[Expanded | MailError] = asyncio.get_running_loop().create_future()
        self._cleanup.recipients(envelope, done.set_result)
        result = await done
        if isinstance(result, MailError):
            raise result
        return result
