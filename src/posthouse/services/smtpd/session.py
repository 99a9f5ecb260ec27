"""One client's session: the connection, the order of answers, errors, deadlines. What commands do is elsewhere.

Everything happens in the event loop, by callback: `pump` takes events until one cannot be answered at once (an address
to resolve, a message to store) and goes on when its answer is there, so replies keep the order of commands. What the
client sends meanwhile is bounded by pausing the transport. One deadline per session, looked at by the process's sweep.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from posthouse.core.logline import LogLine
from posthouse.core.reply import LOCAL_ERROR, Reply
from posthouse.policy import Facts
from posthouse.protocol.smtp.events import Event
from posthouse.protocol.smtp.replies import UNSYNCHRONIZED
from posthouse.protocol.smtp.server import SmtpServer
from posthouse.protocol.smtp.states import MUST_END_GROUP, State, Verb
from posthouse.runtime.ipc import Peer
from posthouse.runtime.schema import CountDisconnect, Request
from posthouse.services.smtpd.admission import arrive, greet
from posthouse.services.smtpd.clients import Client
from posthouse.services.smtpd.colleagues import Answer, Question
from posthouse.services.smtpd.encryption import handshaken
from posthouse.services.smtpd.listening import Listening
from posthouse.services.smtpd.loglines import Disconnected, Ended, Pipelined, Rejected, SmtpdWarning
from posthouse.services.smtpd.tally import WORDS, Tally
from posthouse.services.smtpd.transaction import Transaction

if TYPE_CHECKING:
    from posthouse.services.smtpd.house import House

Handler = Callable[["Session", Any], None]

MAXIMAL_UNREAD: Final = 64 * 1024
"""Octets sent ahead of our replies, after which we read no more until we have caught up."""
MAXIMAL_UNSENT: Final = 256 * 1024
"""Replies that the client does not take; above it nothing more is answered until it does."""
NO_QUEUE_ID: Final = "NOQUEUE"
NEVER: Final = float("inf")


class Session(asyncio.Protocol):
    """`handlers` maps event classes to what is done about them."""

    __slots__ = (
        "_end_logged",
        "_has_ended_input",
        "_is_closing",
        "_is_denied",
        "_is_held",
        "_is_over",
        "_is_reading",
        "_is_strict",
        "_is_writable",
        "_out",
        "_question",
        "_sock",
        "after",
        "auth_number",
        "claimed_user",
        "client",
        "colleagues",
        "content_octets",
        "core",
        "deadline",
        "emit",
        "facts",
        "handlers",
        "house",
        "is_counted",
        "limits",
        "listening",
        "mechanism",
        "overshoot",
        "peer",
        "sasl_method",
        "tally",
        "tls",
        "transaction",
        "transport",
    )

    def __init__(self, house: "House", listening: Listening, handlers: Mapping[type[Event], Handler]) -> None:
        self.house = house
        self.listening = listening
        self.handlers = handlers
        self.colleagues = house.colleagues
        self.limits = listening.limits
        self.emit: Callable[[LogLine], None] = listening.emit
        self.core = SmtpServer(listening.options)
        self.transport: asyncio.Transport | None = None
        self._sock: socket.socket | None = None
        """Before TLS that comes first."""
        self.peer: Sequence[Any] = ()
        self._is_over = False
        self.client: Client | None = None
        self.facts = Facts("", "")
        self.tls = ""
        """What TLS is in use, in words; "" without."""
        self.transaction: Transaction | None = None
        self.sasl_method = ""
        self.mechanism = ""
        self.claimed_user = ""
        self.auth_number = 0
        self.overshoot = 0
        self.after = "CONNECT"
        """The last command, for the log."""
        self.content_octets = 0
        self.deadline = NEVER
        self._question: Question | None = None
        self._is_held = False
        self._out: list[bytes] = []
        self._is_reading = True
        self._is_writable = True
        self._is_closing = False
        self._is_denied = False
        self._is_strict = listening.forbids_pipelining
        self._has_ended_input = False
        self._end_logged = False
        self.is_counted = False
        self.tally = Tally()

    # ── the connection ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's are no subclasses of asyncio's
        if self.client is not None:
            handshaken(self, transport)
            return
        self.house.entered(self)
        self.peer = transport.get_extra_info("peername")
        arrive(self)

    def accepted(self, sock: socket.socket) -> None:
        """For listeners where TLS comes first: there is no transport before the handshake."""
        self._sock = sock
        self.house.entered(self)
        with contextlib.suppress(OSError):
            self.peer = sock.getpeername()
        arrive(self)

    def farewell(self, words: str, status: str) -> None:
        """The end, told at any moment."""
        self._out.append(self.core.reply(Reply.of(421, status, f"{self.listening.hostname} {words}")))
        self.close()

    def take_socket(self) -> socket.socket | None:
        """For a handshake that comes first."""
        sock, self._sock = self._sock, None
        return sock

    def deny(self) -> None:
        """Whatever the client says now is refused, but QUIT."""
        self._is_denied = self._is_strict = True

    @property
    def is_alive(self) -> bool:
        return not self._is_over and not self._is_closing

    @property
    def shown(self) -> str:
        assert self.client is not None
        if self.listening.shows_port:
            return f"{self.client.shown}:{self.peer[1]}"
        return self.client.shown

    def data_received(self, data: bytes) -> None:
        core = self.core
        core.receive_data(data)
        if self.deadline is not NEVER and core.answering is None:
            if core.state is State.DATA:
                self.content_octets += len(data)
                limits = self.limits
                most = self.house.now() + limits.timeout_s
                more = self.deadline + len(data) / limits.min_data_rate
                self.deadline = min(more, most) if limits.per_request else most
            elif not self.limits.per_request:
                self.deadline = self.house.now() + self.limits.timeout_s
        if self._is_held or core.answering is not None:
            self._bound_input()
        else:
            self.pump()

    def eof_received(self) -> bool:
        """A client may end its side and still wait for our replies (`printf … | nc`)."""
        self._has_ended_input = True
        can_stay_open = self.core.answering is not None and not self.tls
        if not can_stay_open:
            self._log_end("lost connection")
        return can_stay_open

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever the reason, it is lost
        if self._is_over:
            return
        self._is_over = True
        self.transport = None
        if self._question is not None:
            self._question.cancel()
            self._question = None
        self.end_transaction()
        self.house.left(self)
        if self.client is None:
            return
        if not self._is_closing:
            self._log_end("lost connection")
        self.emit(Disconnected(self.shown, self.tally.text()))
        if self.is_counted:
            self.colleagues.control.notify(CountDisconnect(self.listening.name, self.client.address))

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        if self.core.answering is None and not self._is_held:
            self.pump()

    # ── events ──

    def pump(self) -> None:
        """Everything that can be answered now."""
        core = self.core
        handlers = self.handlers
        while not self._is_held and self._is_writable and (event := core.next_event()) is not None:
            if not self._is_strict or self._may_go_on():
                handlers[type(event)](self, event)
            if self._is_closing or core.is_starved:
                break
        self._flush()
        if self._is_closing:
            return
        if self._has_ended_input and core.answering is None and not core.unread:
            self._log_end("lost connection")
            self.close()
            return
        is_streaming = self.transaction is not None and self.transaction.stream is not None
        if is_streaming or not self._is_reading or not core.is_starved:
            self._bound_input()

    def _may_go_on(self) -> bool:
        """For clients that were refused at the door, and where sending ahead ends the session."""
        verb = self.core.answering
        if self._is_denied and verb is not Verb.QUIT:
            words = f"Error: access denied for {self.shown}"
            self.after = verb.value if verb is not None else self.after
            self.answer(Reply.of(503, "5.7.0", words))
            return False
        if self.listening.forbids_pipelining and verb in MUST_END_GROUP and self.core.unread:
            self._sent_ahead(verb)
            self._out.append(self.core.reply(UNSYNCHRONIZED))
            self.close()
            return False
        return True

    def began(self, verb: Verb) -> None:
        """A command was recognized: counted for the disconnect line, and its place in a pipeline is checked."""
        name, self.after, ends_group = WORDS[verb]
        self.tally.began(name)
        if ends_group and self.core.unread:
            self._sent_ahead(verb)

    def succeeded(self, verb: Verb) -> None:
        self.tally.succeeded(WORDS[verb][0])

    def junk(self) -> None:
        """A command that moves no mail; too many of them are errors."""
        tally = self.tally
        tally.junk += 1
        if tally.junk > self.limits.junk_commands:
            tally.errors += 1

    def _sent_ahead(self, verb: Verb) -> None:
        facts = self.facts
        if facts.is_sent_ahead:
            return
        facts.is_sent_ahead = True
        ahead = self.core.peek(100).decode("utf-8", "replace").replace("\r\n", "\\r\\n")
        self.emit(Pipelined(verb.value, self.shown, ahead))

    # ── answers ──

    def answer(self, reply: Reply, wire: bytes | None = None, *, is_error: bool = True) -> None:
        """The answer to the last event; `wire` the same as octets. Slow for a client that makes errors."""
        tally = self.tally
        if reply.code >= 400 and is_error:
            tally.errors += 1
        if tally.errors >= self.limits.hard_errors and self.client is not None:
            self._log_end("too many errors")
            self.farewell("Error: too many errors", "4.7.0")
            return
        if tally.errors >= self.limits.soft_errors and self.limits.error_sleep_s:
            self._is_held = True
            self.deadline = NEVER
            self._flush()
            asyncio.get_running_loop().call_later(self.limits.error_sleep_s, self._answer_late, reply)
            return
        self._out.append(self.core.reply(reply, wire))
        if self.core.state is State.CLOSED:
            self.close()

    def _answer_late(self, reply: Reply) -> None:
        self._is_held = False
        if self._is_over or self._is_closing:
            return
        self._out.append(self.core.reply(reply))
        if self.core.state is State.CLOSED:
            self.close()
        else:
            self.pump()

    def also_answer(self, reply: Reply) -> None:
        """One of several replies to one event (LMTP); the last one is for `answer`."""
        self._out.append(reply.encode())

    def reject(self, reply: Reply, *, is_error: bool = True) -> None:
        """Refuse the command, and say so in the log."""
        transaction = self.transaction
        facts = self.facts
        in_transaction = transaction is not None or self.after == "MAIL"
        recipient = str(facts.recipient) if facts.recipient is not None and self.after in ("RCPT", "VRFY") else None
        self.emit(
            Rejected(
                (transaction.queue_id if transaction is not None else "") or NO_QUEUE_ID,
                self.after,
                self.shown,
                str(reply),
                facts.sender_text if in_transaction else None,
                recipient,
                self.protocol,
                self.core.hello,
            )
        )
        self.answer(reply, is_error=is_error)

    @property
    def protocol(self) -> str:
        if self.listening.is_lmtp:
            return "LMTP"
        return "ESMTP" if self.core.is_extended else "SMTP"

    def _flush(self) -> None:
        out = self._out
        if not out or self.transport is None:
            return
        self.transport.write(out[0] if len(out) == 1 else b"".join(out))
        out.clear()
        if not self._is_closing and self.core.answering is None:
            self.deadline = self.house.now() + self.limits.timeout_s

    def close(self) -> None:
        """After what was answered so far."""
        if self.transport is None:
            self._is_closing = True
            if self._sock is not None:
                self._sock.close()
                self._sock = None
            self.connection_lost(None)
            return
        self._is_closing = True
        self.deadline = NEVER
        self._flush()
        self.deadline = self.house.now() + self.limits.timeout_s
        self.transport.close()

    def _bound_input(self) -> None:
        """Read on only while there is room for what comes."""
        transport = self.transport
        if transport is None or self._is_closing:
            return
        stream = self.transaction.stream if self.transaction is not None else None
        is_room = self.core.unread <= MAXIMAL_UNREAD and not (stream is not None and stream.is_full)
        if is_room == self._is_reading:
            return
        self._is_reading = is_room
        try:
            if is_room:
                transport.resume_reading()
            else:
                transport.pause_reading()
        except RuntimeError:
            pass  # it is closing

    def room_again(self) -> None:
        self._bound_input()

    # ── questions ──

    def ask(self, peer: Peer, request: Request, then: Callable[[Answer], None]) -> None:
        """The answer to the current event has to wait for `then`."""
        self.deadline = self.house.now() + self.limits.internal_timeout_s

        def answered(answer: Answer) -> None:
            self._question = None
            self.deadline = NEVER
            then(answer)

        self._question = self.colleagues.ask(peer, request, answered)

    def wait_for(self, question: Question) -> None:
        """As `ask`, for a question that somebody else has put; who answers it calls `waited`."""
        self.deadline = self.house.now() + self.limits.internal_timeout_s
        self._question = question

    def waiting(self) -> None:
        """The answer comes from somewhere, or the deadline does."""
        self.deadline = self.house.now() + self.limits.internal_timeout_s

    def waited(self) -> None:
        self._question = None
        self.deadline = NEVER

    def pause(self) -> None:
        """Read nothing until TLS has begun."""
        self._is_reading = False
        if self.transport is not None:
            self.transport.pause_reading()

    def secured(self, transport: asyncio.Transport, tls: str) -> None:
        self.transport = transport
        self.tls = tls
        self.facts.is_encrypted = True
        self.core.tls_started()
        self._is_reading = True
        if self.core.state is State.CONNECTING:
            greet(self)
        else:
            self.deadline = self.house.now() + self.limits.timeout_s
            self.pump()

    def lost(self) -> None:
        """The connection ended inside a handshake, where the transport tells nobody."""
        transport = self.transport
        self._end_logged = self._end_logged or self._is_closing
        self.connection_lost(None)
        if transport is not None:
            transport.abort()

    # ── ends ──

    def end_transaction(self) -> None:
        if self.transaction is not None:
            self.transaction.abandon()
            self.transaction = None
        facts = self.facts
        facts.sender = None
        facts.recipient = None
        facts.resolution = None
        facts.recipient_count = 0
        self.overshoot = 0
        self.content_octets = 0

    def expire(self) -> None:
        """The deadline is over: the client's, or that of a colleague."""
        self.deadline = NEVER
        if self._is_closing:
            if self.transport is not None:
                self.transport.abort()
        elif self.client is None:
            return
        elif self.core.answering is not None:
            self._expire_question()
        else:
            self._log_end("timeout")
            self.farewell("Error: timeout exceeded", "4.4.2")

    def _expire_question(self) -> None:
        if self._question is not None:
            self._question.cancel()
            self._question = None
        self.emit(SmtpdWarning(f"no answer from another process in time, after {self.after} from {self.shown}"))
        if self.core.state is State.CONNECTING:
            self.farewell("Error: local problem; try again later", "4.3.0")
            return
        if self.core.is_receiving:
            self.end_transaction()
        self.answer(LOCAL_ERROR)
        self.pump()

    def dismiss(self) -> None:
        """The process stops. What is not answered yet was not accepted."""
        if not self.is_alive:
            return
        if self.client is None or self._sock is not None:
            self.close()
        else:
            self.farewell("Service is being restarted", "4.3.2")

    def _log_end(self, how: str) -> None:
        if self._end_logged or self.client is None:
            return
        self._end_logged = True
        after = self.after
        if after == "DATA" and self.core.state is State.DATA:
            after = f"DATA ({self.content_octets} bytes)"
        self.emit(Ended(how, after, self.shown))
