"""The client side of SMTP and LMTP: commands and octets in, octets to send and events out.

Knows the order of the conversation and pipelining (RFC 2920), nothing about hosts, policies or time. The caller asks
for one thing at a time (`hello`, `starttls`, `auth`, `begin`, …), writes what it gets back, feeds what it receives,
and takes events. Within a transaction commands go out as early as the server allows.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from posthouse.protocol.smtp.client_features import Features
from posthouse.protocol.smtp.client_reply import ProtocolError, ReplyReader, ServerReply
from posthouse.protocol.smtp.client_transaction import Outcome, Stage, Transaction

__all__ = ["Client", "ContentWanted", "Event", "Finished", "ProtocolError", "Replied"]


class Replied(msgspec.Struct, frozen=True):
    """The answer to the greeting, EHLO, HELO, LHLO, STARTTLS, AUTH, RSET or QUIT."""

    stage: Stage
    reply: ServerReply


class ContentWanted(msgspec.Struct, frozen=True):
    """The server waits for the message: send it (`client_content`) and say so with `content_sent`."""

    transaction: Transaction


class Finished(msgspec.Struct, frozen=True):
    """Every recipient of the transaction has an outcome. The connection may be used again unless `closing`."""

    transaction: Transaction


Event = Replied | ContentWanted | Finished

_DATA: Final = -1


class Client:
    """One connection. `stage` is what we wait for now (None: nothing), for time limits and for words about a break."""

    def __init__(self, *, lmtp: bool = False, reply_line_limit: int = 100, recipient_batch: int = 100) -> None:
        self._lmtp = lmtp
        self._recipient_batch = recipient_batch
        self._reader = ReplyReader(reply_line_limit)
        self._expected: deque[tuple[Stage, int]] = deque([(Stage.GREETING, 0)])
        self._events: deque[Event] = deque()
        self._output: list[str] = []
        self._transaction: Transaction | None = None
        self._next_recipient = 0
        self._sending_content = False
        self._needs_reset = False
        self._farewell: Outcome | None = None
        self.features = Features()
        self.closing = False
        """The server said 421: it is about to close (RFC 5321 s3.8)."""
        self.replies_seen = 0

    @property
    def stage(self) -> Stage | None:
        if self._expected:
            return self._expected[0][0]
        return Stage.CONTENT if self._sending_content else None

    @property
    def has_unread(self) -> bool:
        """The server said more than it was asked for."""
        return self._reader.has_unread

    # ── single commands ──

    def hello(self, name: str, stage: Stage = Stage.EHLO) -> bytes:
        return self._command(stage, f"{stage.value} {name}")

    def starttls(self) -> bytes:
        return self._command(Stage.STARTTLS, "STARTTLS")

    def auth(self, text: str) -> bytes:
        """ "AUTH PLAIN …" or one line of the exchange."""
        return self._command(Stage.AUTH, text)

    def rset(self) -> bytes:
        return self._command(Stage.RSET, "RSET")

    def quit(self) -> bytes:
        return self._command(Stage.QUIT, "QUIT")

    def _command(self, stage: Stage, line: str) -> bytes:
        if self._expected or self._transaction is not None:
            raise RuntimeError(f"{stage.value} in the middle of {self.stage}")
        self._expected.append((stage, 0))
        return f"{line}\r\n".encode("utf-8", "surrogateescape")

    def learn(self, reply: ServerReply, discard: Iterable[str] = ()) -> Features:
        """Take the answer to EHLO or LHLO as what the server offers; after HELO nothing is."""
        self.features = Features.parse(reply, discard)
        return self.features

    def forget_features(self) -> None:
        """RFC 3207 s4.2: what was offered before TLS counts for nothing after it."""
        self.features = Features()

    # ── transactions ──

    def begin(self, transaction: Transaction) -> bytes:
        """Send a message to its recipients: MAIL and, if the server pipelines, the RCPTs and DATA behind it."""
        if self._expected or self._transaction is not None:
            raise RuntimeError(f"a transaction in the middle of {self.stage}")
        self._transaction = transaction
        self._next_recipient = 0
        if self._needs_reset:
            # The last transaction ended between MAIL and the final dot; the server may still be in it.
            self._needs_reset = False
            self._output.append("RSET\r\n")
            self._expected.append((Stage.RSET, 0))
        if not self._expected or self.features.pipelining:
            self._send_mail(transaction)
        return self._take_output()

    def content_sent(self) -> None:
        """Everything up to and including the final dot is on its way."""
        transaction = self._transaction
        if transaction is None or not self._sending_content:
            raise RuntimeError("content that nobody asked for")
        self._sending_content = False
        if self._lmtp:
            # RFC 2033 s4.2: one reply for each recipient that was accepted, in their order.
            self._expected.extend((Stage.END_OF_DATA, index) for index in transaction.accepted)
        else:
            self._expected.append((Stage.END_OF_DATA, 0))

    def abandon(self) -> Transaction | None:
        """The connection is gone: the open transaction, with None for recipients the server did not decide."""
        transaction, self._transaction = self._transaction, None
        self._expected.clear()
        return transaction

    def _send_mail(self, transaction: Transaction) -> None:
        self._output.append(transaction.mail_command(self.features))
        self._expected.append((Stage.MAIL, 0))
        if self.features.pipelining:
            self._send_recipients(transaction)

    def _send_recipients(self, transaction: Transaction) -> None:
        """The next RCPTs: one without pipelining, else a batch, and DATA behind the last (RFC 2920 s3.1)."""
        pipelining = self.features.pipelining
        until = min(len(transaction.recipients), self._next_recipient + (self._recipient_batch if pipelining else 1))
        for index in range(self._next_recipient, until):
            self._output.append(transaction.rcpt_command(index, self.features))
            self._expected.append((Stage.RCPT, index))
        self._next_recipient = until
        if pipelining and until == len(transaction.recipients):
            self._send_data()

    def _send_data(self) -> None:
        self._output.append("DATA\r\n")
        self._expected.append((Stage.DATA, 0))
        self._next_recipient = _DATA

    def _take_output(self) -> bytes:
        text, self._output = "".join(self._output), []
        return text.encode("utf-8", "surrogateescape")

    # ── input ──

    def receive_data(self, data: bytes) -> bytes:
        """Feed what the server sent; returns what to send in answer (mostly nothing). Raises ProtocolError."""
        self._reader.receive_data(data)
        replies = self._reader.replies
        while replies and self._expected:
            stage, index = self._expected.popleft()
            reply = replies.popleft()
            self.replies_seen += 1
            if reply.code == 421:
                self.closing = True
                self._farewell = Outcome(reply, stage)
            self._on_reply(stage, index, reply)
        return self._take_output() if self._output else b""

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def _on_reply(self, stage: Stage, index: int, reply: ServerReply) -> None:
        transaction = self._transaction
        if transaction is None:
            self._events.append(Replied(stage, reply))
            return
        if stage is Stage.RCPT:
            if reply.positive:
                transaction.accepted.append(index)
            elif transaction.outcomes[index] is None:
                transaction.outcomes[index] = Outcome(_refusal(reply), stage)
        elif stage is Stage.RSET:
            if not self.closing and not self._expected:
                self._send_mail(transaction)
                return
        elif stage is Stage.MAIL:
            transaction.mail_accepted = reply.positive
            if not reply.positive:
                transaction.fail_rest(Outcome(_refusal(reply), stage))
        elif stage is Stage.DATA:
            self._on_data_reply(transaction, reply)
            return
        elif stage is Stage.END_OF_DATA:
            self._on_end_reply(transaction, index, reply)
            return
        if not self._expected:
            self._go_on(transaction)

    def _go_on(self, transaction: Transaction) -> None:
        """Everything sent so far is answered and DATA was not among it."""
        if self.closing and self._farewell is not None:
            transaction.fail_rest(self._farewell)
            self._finish(transaction)
        elif not transaction.mail_accepted:
            self._finish(transaction)
        elif 0 <= self._next_recipient < len(transaction.recipients):
            self._send_recipients(transaction)
        elif transaction.accepted:
            self._send_data()
        else:
            self._needs_reset = True
            self._finish(transaction)

    def _on_data_reply(self, transaction: Transaction, reply: ServerReply) -> None:
        if reply.code // 100 == 3:
            if transaction.accepted and transaction.mail_accepted:
                self._sending_content = True
                self._events.append(ContentWanted(transaction))
            else:
                # RFC 2920 s3.1: the server says go ahead though it took no recipient; it gets an empty message.
                self._output.append(".\r\n")
                self._expected.append((Stage.END_OF_DATA, _DATA))
            return
        self._needs_reset = transaction.mail_accepted
        transaction.fail_rest(Outcome(_refusal(reply), Stage.DATA))
        self._finish(transaction)

    def _on_end_reply(self, transaction: Transaction, index: int, reply: ServerReply) -> None:
        if index != _DATA:
            outcome = Outcome(reply if reply.positive else _refusal(reply), Stage.END_OF_DATA)
            if self._lmtp:
                transaction.outcomes[index] = outcome
            else:
                for accepted in transaction.accepted:
                    transaction.outcomes[accepted] = outcome
        if not self._expected:
            self._finish(transaction)

    def _finish(self, transaction: Transaction) -> None:
        self._transaction = None
        self._events.append(Finished(transaction))


def _refusal(reply: ServerReply) -> ServerReply:
    """A reply that neither accepts nor refuses: nobody knows what it means, so it counts as "try again later"."""
    return reply if reply.code >= 400 else ServerReply(450, reply.lines, reply.text)
