"""The intake endpoint: receivers hand over messages and are answered when these are on stable storage.

Small messages come in one record and share the journal's flush. Large ones are streamed into a file first; each piece
is answered when it is written, which is the back-pressure. Nothing here trusts the other side: handles and queue ids
belong to their connection, and everything it began is thrown away when it goes.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from posthouse.core.clock import Clock
from posthouse.core.envelope import Arrival, Envelope
from posthouse.core.identifiers import QueueId, lease_of, suffix_of_lease
from posthouse.core.logline import LogLine
from posthouse.core.reply import NO_SPACE, MailError, PermFail, Reply, TempFail
from posthouse.queue.cleanup import Cleanup, Expanded
from posthouse.queue.content import ContentFiles, LargeContent
from posthouse.queue.crashpoints import QueueStep
from posthouse.queue.journal import storage_reply
from posthouse.queue.ledger import Ledger
from posthouse.queue.loglines import Cleaned
from posthouse.queue.lookups import Lookups
from posthouse.queue.manager import Manager
from posthouse.queue.message import Message
from posthouse.queue.passthrough import Passthrough
from posthouse.queue.record import Enter
from posthouse.runtime.crashpoints import reach
from posthouse.runtime.ipc import Connection, Responder, SchemaError
from posthouse.runtime.schema import (
    AbortContent,
    AppendContent,
    ContentHandle,
    Done,
    Failure,
    Flush,
    Lease,
    LeaseQueueIds,
    OpenContent,
    Record,
    Submit,
    Transact,
)

TOO_LARGE: Final = Reply.of(552, "5.3.4", "Message size exceeds fixed limit")
TOO_MANY: Final = Reply.of(452, "4.3.1", "Too many large messages at the same time; try again later")
STOPPING: Final = Reply.of(451, "4.3.2", "The queue is stopping; try again later")
NOBODY: Final = Reply.of(554, "5.1.0", "No recipients are left after alias expansion")
HEADER_ALLOWANCE: Final = 64 * 1024
"""Received: and other fields are put in front after the client's message was measured."""


class Session:
    """One connected receiver."""

    def __init__(self) -> None:
        self.leases: set[str] = set()
        self.contents: dict[int, LargeContent] = {}
        self.next_handle = 1


@dataclass(slots=True)
class ReceptionSettings:
    message_size_limit: int
    memory_limit: int
    open_content_limit: int


class Reception:
    """`handle` is the intake endpoint's handler; `enter` is also used by pickup."""

    def __init__(
        self,
        ledger: Ledger,
        files: ContentFiles,
        lookups: Lookups,
        cleanup: Cleanup,
        manager: Manager,
        passthrough: Passthrough,
        settings: ReceptionSettings,
        *,
        emit: Callable[[LogLine], None],
        has_space: Callable[[], bool],
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._cleanup = cleanup
        self._manager = manager
        self._lookups = lookups
        self._passthrough = passthrough
        self.settings = settings
        self._emit = emit
        self._has_space = has_space
        self._clock: Clock = ledger.clock
        self._open_contents = 0
        self.stopping = False

    def connected(self, connection: Connection) -> None:
        session = connection.peer = Session()
        connection.closed.add_done_callback(lambda _: self._left(session))

    def _left(self, session: Session) -> None:
        for content in session.contents.values():
            self._abort(content)
        session.contents.clear()

    def handle(self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None) -> None:
        session: Session = connection.peer
        assert not descriptors
        if respond is None:
            if isinstance(record, AbortContent) and (content := session.contents.pop(record.handle, None)):
                self._abort(content)
            return
        match record:
            case Submit():
                self._submit(session, record, respond)
            case LeaseQueueIds():
                self._ledger.lease(functools.partial(self._leased, session, respond))
            case OpenContent():
                self._open(session, respond)
            case AppendContent():
                self._append(session, record, respond)
            case Transact():
                self._transact(connection, session, record, respond)
            case Flush():
                self._manager.expedite(record.site, lambda: respond(Done()))
            case _:
                raise SchemaError(f"unexpected {type(record).__name__}")

    @staticmethod
    def _leased(session: Session, respond: Responder, number: int, error: OSError | None) -> None:
        if error is not None:
            respond(Failure(storage_reply(error)))
            return
        session.leases.add(suffix_of_lease(number))
        respond(Lease(number))

    # ── large content ──

    def _open(self, session: Session, respond: Responder) -> None:
        if self._open_contents >= self.settings.open_content_limit:
            raise TempFail(TOO_MANY)
        self._check_room()
        self._open_contents += 1
        handle = session.next_handle
        session.next_handle += 1

        def begun(error: BaseException | None) -> None:
            if error is None:
                respond(ContentHandle(handle))
            else:
                session.contents.pop(handle, None)
                self._open_contents -= 1
                respond(Failure(storage_reply(error)))

        session.contents[handle] = self._files.begin(begun)

    def _append(self, session: Session, record: AppendContent, respond: Responder) -> None:
        content = session.contents.get(record.handle)
        if content is None:
            raise SchemaError("octets for content that is not open")
        limit = self.settings.message_size_limit
        if limit and content.octets + len(record.data) > limit + HEADER_ALLOWANCE:
            raise PermFail(TOO_LARGE)

        def written(error: BaseException | None) -> None:
            respond(Done() if error is None else Failure(storage_reply(error)))

        self._files.append(content, record.data, written)

    def _abort(self, content: LargeContent) -> None:
        self._open_contents -= 1
        self._files.abort(content)

    def _take(self, session: Session, handle: int) -> LargeContent:
        content = session.contents.pop(handle, None)
        if content is None:
            raise SchemaError("a message with content that is not open")
        self._open_contents -= 1
        return content

    # ── accepting ──

    def _check_room(self) -> None:
        if self.stopping:
            raise TempFail(STOPPING)
        journal = self._ledger.journal
        if journal.is_on_reserve or journal.waiting_octets > self.settings.memory_limit or not self._has_space():
            raise TempFail(NO_SPACE)

    def _check(self, session: Session, queue_id: QueueId, size: int) -> None:
        if lease_of(queue_id) not in session.leases or queue_id in self._ledger.state.messages:
            raise SchemaError(f"the queue id {queue_id} is not this connection's to give")
        limit = self.settings.message_size_limit
        if limit and size > limit + HEADER_ALLOWANCE:
            raise PermFail(TOO_LARGE)
        self._check_room()

    def _submit(self, session: Session, record: Submit, respond: Responder) -> None:
        large = self._take(session, record.handle) if record.handle else None
        try:
            self._check(session, record.queue_id, large.octets if large else len(record.content))
        except MailError:
            if large:
                self._files.abort(large)
            raise
        self._learn(record)
        self.enter(
            record.queue_id,
            record.envelope,
            record.arrival,
            large if large is not None else record.content,
            functools.partial(self._answer, respond),
        )

    def _learn(self, record: Submit | Transact) -> None:
        if record.sealed:
            self._lookups.learn([one.address for one in record.envelope.recipients], record.sealed)

    @staticmethod
    def _answer(respond: Responder, failure: Reply | None) -> None:
        if failure is None:
            respond(Done())
            reach(QueueStep.ACCEPTED)
        else:
            respond(Failure(failure))

    def enter(
        self,
        queue_id: QueueId,
        envelope: Envelope,
        arrival: Arrival,
        content: bytes | LargeContent,
        answer: Callable[[Reply | None], None],
        *,
        source: str = "",
    ) -> None:
        """Cleanup, journal, delivery. `answer(None)` when the message is on stable storage, else why not. With
        `source` (a maildrop file) the caller begins the delivery, after the file is gone."""

        def expanded(result: Expanded | MailError) -> None:
            if isinstance(result, MailError) or not result:
                if isinstance(content, LargeContent):
                    self._files.abort(content)
                answer(result.reply if isinstance(result, MailError) else NOBODY)
                return
            is_large = isinstance(content, LargeContent)
            size = content.octets if isinstance(content, LargeContent) else len(content)
            message = Message(
                queue_id=queue_id,
                sender=envelope.sender,
                recipients=dict(enumerate(result)),
                next_index=len(result),
                arrival=arrival,
                entered_s=self._clock.now(),
                size=size,
                body=envelope.body,
                smtputf8=envelope.smtputf8,
                ret=envelope.ret,
                envid=envelope.envid,
                large=content.name if isinstance(content, LargeContent) else "",
                source=source,
            )
            if isinstance(content, LargeContent):
                self._files.finish(content, functools.partial(self._large_is_safe, message, content, answer))
            else:
                enter = Enter(message, 0, 0 if is_large else size)
                self._ledger.append((enter,), content, functools.partial(self._entered, message, content, answer))

        self._cleanup.recipients(envelope, expanded)

    def _large_is_safe(
        self,
        message: Message,
        content: LargeContent,
        answer: Callable[[Reply | None], None],
        error: BaseException | None,
    ) -> None:
        if error is not None:
            self._files.abort(content)
            answer(storage_reply(error))
            return

        def entered(failure: OSError | None) -> None:
            if failure is not None:
                self._files.abort(content)
            self._entered(message, None, answer, failure)

        self._ledger.append((Enter(message),), b"", entered)

    def _entered(
        self,
        message: Message,
        content: bytes | None,
        answer: Callable[[Reply | None], None],
        error: OSError | None,
    ) -> None:
        if error is not None:
            answer(storage_reply(error))
            return
        answer(None)
        self._emit(Cleaned(message.queue_id, message.arrival.message_id))
        if message.source:
            self._manager.hold_back(message)
        else:
            self._manager.activate(message, content)

    # ── LMTP ──

    def _transact(self, connection: Connection, session: Session, record: Transact, respond: Responder) -> None:
        large = self._take(session, record.handle) if record.handle else None
        try:
            self._check(session, record.queue_id, large.octets if large else len(record.content))
        except MailError:
            if large:
                self._files.abort(large)
            raise
        self._learn(record)
        connection.respond_with(respond, self._passthrough.transact(record, large))
