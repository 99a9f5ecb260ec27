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
from posthouse.policy import Facts, Unanswered
from posthouse.protocol.smtp.events import Event
from posthouse.protocol.smtp.replies import UNSYNCHRONIZED
from posthouse.protocol.smtp.server import SmtpServer
from posthouse.protocol.smtp.states import MUST_END_GROUP, State, Verb
from posthouse.runtime.ipc import Peer
from posthouse.runtime.schema import CountConnect, CountDisconnect, CountEvent, Counts, Request, Resolution, Resolve
from posthouse.services.smtpd.clients import Client
from posthouse.services.smtpd.colleagues import Answer, Question
from posthouse.services.smtpd.encryption import handshake_first, handshaken
from posthouse.services.smtpd.listening import Listening
from posthouse.services.smtpd.loglines import Connected, Disconnected, Ended, Pipelined, Rejected, SmtpdWarning
from posthouse.services.smtpd.transaction import Transaction

if TYPE_CHECKING:
    from posthouse.services.smtpd.house import House

Handler = Callable[["Session", Any], None]
Check = Callable[[Facts], Reply | None]

MAXIMAL_UNREAD: Final = 64 * 1024
"""Octets sent ahead of our replies, after which we read no more until we have caught up."""
MAXIMAL_UNSENT: Final = 256 * 1024
"""Replies that the client does not take; above it nothing more is answered until it does."""
_STATISTICS_ORDER: Final = (
    "helo", "ehlo", "lhlo", "starttls", "auth", "mail", "rcpt", "data", "bdat", "rset", "noop", "vrfy", "etrn", "help",
    "quit", "unknown",
)  # fmt: skip
_WORDS: Final[Mapping[Verb, tuple[str, str, bool]]] = {
    verb: (verb.value.lower(), verb.value, verb in MUST_END_GROUP) for verb in Verb
}
"""As in the disconnect line, as in other lines, and whether a reply must be waited for."""
_statistics_known: Final[dict[tuple[Any, ...], str]] = {}
_MAXIMAL_STATISTICS: Final = 500
NO_QUEUE_ID: Final = "NOQUEUE"
NEVER: Final = float("inf")


class Session(asyncio.Protocol):
    """`handlers` maps event classes to what is done about them."""

    __slots__ = (
        "_accepted",
        "_commands",
        "_counted",
        "_end_logged",
        "_errors",
        "_has_ended_input",
        "_is_closing",
        "_is_denied",
        "_is_held",
        "_is_over",
        "_is_reading",
        "_is_strict",
        "_is_writable",
        "_junk",
        "_out",
        "_peer",
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
        "limits",
        "listening",
        "mechanism",
        "overshoot",
        "sasl_method",
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
        self._peer: Sequence[Any] = ()
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
        self._counted = False
        self._errors = 0
        self._junk = 0
        self._commands: dict[str, int] = {}
        self._accepted: dict[str, int] = {}

    # ── the connection ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's are no subclasses of asyncio's
        if self.client is not None:
            handshaken(self, transport)
            return
        self.house.entered(self)
        self._peer = transport.get_extra_info("peername")
        self._arrived()

    def accepted(self, sock: socket.socket) -> None:
        """For listeners where TLS comes first: there is no transport before the handshake."""
        self._sock = sock
        self.house.entered(self)
        with contextlib.suppress(OSError):
            self._peer = sock.getpeername()
        self._arrived()

    def _arrived(self) -> None:
        if not self._peer:  # gone already
            self.close()
            return
        address = str(self._peer[0]).partition("%")[0]
        if address.startswith("::ffff:"):
            address = address.removeprefix("::ffff:")
        if self.house.is_full:
            self._farewell(f"{self.listening.hostname} Error: too many connections")
            return
        client = self.house.clients_of(self.listening).known(address)
        if client is not None:
            self._identified(client)
            return
        self.deadline = NEVER
        self.house.run(self._identify(address))

    async def _identify(self, address: str) -> None:
        client = await self.house.clients_of(self.listening).find(address)
        if not self._is_over and not self._is_closing:
            self._identified(client)

    def _identified(self, client: Client) -> None:
        self.client = client
        facts = self.facts
        facts.client_name = client.name
        facts.client_address = client.address
        facts.reverse_name = client.reverse_name
        facts.is_in_mynetworks = client.is_in_mynetworks
        facts.is_own_address = client.is_own_address
        self.core.normalizes = client.normalizes
        self.emit(Connected(self.shown))
        limits = self.limits
        if client.is_exempt or not (limits.connections or limits.connection_rate):
            self._admitted()
            return
        self._counted = True
        self.ask(self.colleagues.control, CountConnect(self.listening.name, client.address), self._counts_known)

    def _counts_known(self, answer: Answer) -> None:
        # Without an answer there is no limit: mail matters more than counting (as in Postfix).
        if isinstance(answer, Counts):
            limits, name = self.limits, self.listening.name
            host = self.listening.hostname
            if limits.connections and answer.connections > limits.connections:
                words = f"Connection concurrency limit exceeded: {answer.connections} from {self.shown}"
                self.emit(SmtpdWarning(f"{words} for service {name}"))
                self._farewell(f"{host} Error: too many connections from {self.facts.client_address}", "4.7.0")
                return
            if limits.connection_rate and answer.rate > limits.connection_rate:
                words = f"Connection rate limit exceeded: {answer.rate} from {self.shown}"
                self.emit(SmtpdWarning(f"{words} for service {name}"))
                self._farewell(f"{host} Error: too many connections from {self.facts.client_address}", "4.7.0")
                return
        self._admitted()

    def _admitted(self) -> None:
        if self._sock is not None:
            sock, self._sock = self._sock, None
            self.house.run(handshake_first(self, sock))
        else:
            self._begin()

    def _begin(self) -> None:
        self.decide(self.listening.policy.at_connect, self._greet)

    def _greet(self, refusal: Reply | None) -> None:
        if refusal is None:
            self.answer(self.listening.greeting)
        else:
            self._is_denied = self._is_strict = True
            self.reject(refusal)
        self.pump()

    def _farewell(self, words: str, status: str = "4.3.2") -> None:
        """The end, told at any moment."""
        self._out.append(self.core.reply(Reply.of(421, status, words)))
        self.close()

    @property
    def shown(self) -> str:
        assert self.client is not None
        if self.listening.shows_port:
            return f"{self.client.shown}:{self._peer[1]}"
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
        self.emit(Disconnected(self.shown, self._statistics()))
        if self._counted:
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
        name, self.after, ends_group = _WORDS[verb]
        commands = self._commands
        commands[name] = commands.get(name, 0) + 1
        if ends_group and self.core.unread:
            self._sent_ahead(verb)

    def succeeded(self, verb: Verb) -> None:
        name = _WORDS[verb][0]
        accepted = self._accepted
        accepted[name] = accepted.get(name, 0) + 1

    def delivered(self) -> None:
        """A message was accepted: earlier errors are forgiven."""
        self._errors = 0
        self._junk = 0

    def junk(self) -> None:
        """A command that moves no mail; too many of them are errors."""
        self._junk += 1
        if self._junk > self.limits.junk_commands:
            self._errors += 1

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
        if reply.code >= 400 and is_error:
            self._errors += 1
        if self._errors >= self.limits.hard_errors and self.client is not None:
            self._log_end("too many errors")
            self._farewell(f"{self.listening.hostname} Error: too many errors", "4.7.0")
            return
        if self._errors >= self.limits.soft_errors and self.limits.error_sleep_s:
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
            self._begin()
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

    def decide(self, check: Check, then: Callable[[Reply | None], None]) -> None:
        """Evaluates restrictions, as often as it takes until all their questions are answered."""
        try:
            refusal = check(self.facts)
        except Unanswered as unanswered:
            request = unanswered.request

            def answered(answer: Answer) -> None:
                self.facts.answers[request] = answer
                if isinstance(request, Resolve) and isinstance(answer, Resolution):
                    self.colleagues.remember(request.recipient, answer)
                    if request.recipient == self.facts.recipient:
                        self.facts.resolution = answer
                self.decide(check, then)
                self.pump()

            self.ask(self.colleagues.tables, request, answered)
            return
        if self.facts.answers:
            self.facts.answers.clear()
        then(refusal)

    def count(self, event: str, limit: int, what: str, words: str, then: Callable[[], None]) -> None:
        """One more of these events by this client; `then` unless that is too many per anvil_rate_time_unit."""
        client = self.client
        assert client is not None
        if not limit or client.is_exempt:
            then()
            return

        def counted(answer: Answer) -> None:
            if isinstance(answer, Counts) and answer.rate > limit:
                service = self.listening.name
                self.emit(
                    SmtpdWarning(f"{what} rate limit exceeded: {answer.rate} from {self.shown} for service {service}")
                )
                self.answer(Reply.of(450, "4.7.1", f"Error: {words} from {client.address}"))
            else:
                then()
            self.pump()

        self.ask(self.colleagues.control, CountEvent(self.listening.name, client.address, event), counted)

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
            self._farewell(f"{self.listening.hostname} Error: timeout exceeded", "4.4.2")

    def _expire_question(self) -> None:
        if self._question is not None:
            self._question.cancel()
            self._question = None
        self.emit(SmtpdWarning(f"no answer from another process in time, after {self.after} from {self.shown}"))
        if self.core.state is State.CONNECTING:
            self._farewell(f"{self.listening.hostname} Error: local problem; try again later", "4.3.0")
            return
        if self.core.is_receiving:
            self.end_transaction()
        self.answer(LOCAL_ERROR)
        self.pump()

    def dismiss(self) -> None:
        """The process stops. What is not answered yet was not accepted."""
        if self._is_over or self._is_closing:
            return
        if self.client is None or self._sock is not None:
            self.close()
        else:
            self._farewell(f"{self.listening.hostname} Service is being restarted")

    def _log_end(self, how: str) -> None:
        if self._end_logged or self.client is None:
            return
        self._end_logged = True
        after = self.after
        if after == "DATA" and self.core.state is State.DATA:
            after = f"DATA ({self.content_octets} bytes)"
        self.emit(Ended(how, after, self.shown))

    def _statistics(self) -> str:
        commands, accepted = self._commands, self._accepted
        # Most sessions are alike.
        key = (*commands.items(), None, *accepted.items())
        found = _statistics_known.get(key)
        if found is None:
            if len(_statistics_known) >= _MAXIMAL_STATISTICS:
                _statistics_known.clear()
            found = _statistics_known[key] = self._format_statistics()
        return found

    def _format_statistics(self) -> str:
        words: list[str] = []
        good = bad = 0
        for name in _STATISTICS_ORDER:
            count = self._commands.get(name)
            if not count:
                continue
            accepted = min(self._accepted.get(name, 0), count)
            good += accepted
            bad += count - accepted
            words.append(f" {name}={count}" if accepted == count else f" {name}={accepted}/{count}")
        words.append(f" commands={good}" if not bad else f" commands={good}/{good + bad}")
        return "".join(words)
