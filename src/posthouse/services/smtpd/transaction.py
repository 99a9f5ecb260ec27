"""One mail transaction: the envelope as it grows, and the way of its content into the queue."""

from collections import deque
from collections.abc import Callable
from typing import Final

from posthouse.core.address import Address
from posthouse.core.envelope import Recipient
from posthouse.core.identifiers import QueueId, QueueIdSource
from posthouse.core.reply import LOCAL_ERROR, MailError, Reply
from posthouse.protocol.smtp.parameters import MailParameters
from posthouse.runtime.ipc import Connection
from posthouse.runtime.schema import AbortContent, AppendContent, ContentHandle, Done, OpenContent
from posthouse.services.smtpd.colleagues import Answer, Question

MAXIMAL_SEALED: Final = 100
"""Recipients whose answers travel with the message, 200 octets each; about more of them the queue asks by itself."""
MAXIMAL_UNWRITTEN: Final = 2
"""Pieces on their way to the queue's disk; the client waits above it."""


class Stream:
    """A large message on its way into a file of the queue, piece by piece. `on_room` is called when more may come.

    The file belongs to `connection` and is gone when that is gone."""

    __slots__ = ("_on_room", "_open", "_then", "_waiting", "connection", "failure", "handle", "size")

    def __init__(self, connection: Connection, on_room: Callable[[], None]) -> None:
        self.connection = connection
        self._on_room = on_room
        self._waiting: deque[bytes] = deque()
        self._open = 0
        self._then: Callable[[], None] | None = None
        self.handle = 0
        self.size = 0
        self.failure: Reply | None = None
        Question(connection.call(OpenContent()), self._opened)

    @property
    def is_full(self) -> bool:
        return self.failure is None and self._open + len(self._waiting) >= MAXIMAL_UNWRITTEN

    def append(self, piece: bytes) -> None:
        if self.failure is not None or not piece:
            return
        self.size += len(piece)
        self._waiting.append(piece)
        self._send()

    def finish(self, then: Callable[[], None]) -> None:
        """Calls `then` when everything is written, or when that has failed."""
        self._then = then
        self._check()

    def abort(self) -> None:
        self.failure = self.failure or LOCAL_ERROR
        self._waiting.clear()
        self._then = None
        if self.handle:
            self.connection.notify(AbortContent(self.handle))
            self.handle = 0

    def _send(self) -> None:
        while self._waiting and self.handle and self._open < MAXIMAL_UNWRITTEN:
            self._open += 1
            request = AppendContent(self.handle, self._waiting.popleft())
            Question(self.connection.call(request), self._written)

    def _opened(self, answer: Answer) -> None:
        if isinstance(answer, ContentHandle):
            self.handle = answer.handle
            if self.failure is not None:  # given up meanwhile
                self.abort()
                return
            self._send()
        else:
            self._failed(answer)
        self._check()

    def _written(self, answer: Answer) -> None:
        self._open -= 1
        if not isinstance(answer, Done):
            self._failed(answer)
        self._send()
        self._check()

    def _failed(self, answer: Answer) -> None:
        if self.failure is None:
            self.failure = answer.reply if isinstance(answer, MailError) else LOCAL_ERROR
        self._waiting.clear()

    def _check(self) -> None:
        is_done = self.failure is not None or (self.handle and not self._open and not self._waiting)
        if self._then is not None and is_done:
            then, self._then = self._then, None
            then()
        elif not self.is_full:
            self._on_room()


class Transaction:
    """From MAIL to the last reply. `queue_id` comes with the first recipient, from the lease `ids`."""

    __slots__ = (
        "_is_strict",
        "failure",
        "first_recipient",
        "ids",
        "message_id",
        "parameters",
        "queue_id",
        "recipients",
        "sealed",
        "sender",
        "started_s",
        "stream",
    )

    def __init__(
        self, sender: Address | None, parameters: MailParameters, started_s: float, *, is_strict: bool
    ) -> None:
        self.sender = sender
        self.parameters = parameters
        self.started_s = started_s
        self._is_strict = is_strict
        self.recipients: list[Recipient] = []
        self.sealed: list[bytes] = []
        """What the tables process said about them, for the queue."""
        self.queue_id = QueueId("")
        self.ids: QueueIdSource | None = None
        self.first_recipient: Address | None = None
        """As the client wrote it, for Received:."""
        self.stream: Stream | None = None
        self.failure: Reply | None = None
        """What the message will be answered with when all of it has gone by."""
        self.message_id = ""

    @property
    def needs_smtputf8(self) -> bool:
        """Declared by the client, or (without strict_smtputf8) by an address that needs it further on."""
        if self.parameters.smtputf8 or self._is_strict:
            return self.parameters.smtputf8
        if self.sender is not None and not self.sender.is_ascii:
            return True
        return any(not one.address.is_ascii for one in self.recipients)

    def abandon(self) -> None:
        if self.stream is not None:
            self.stream.abort()
            self.stream = None
