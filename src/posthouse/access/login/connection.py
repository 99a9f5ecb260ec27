"""One client before login.

Everything happens in callbacks: a connection that logs in and goes costs no task, unless it negotiates TLS. A plain
connection's own socket is passed to the mailbox process; a TLS connection stays here as a `Relay`.
"""

import asyncio
import enum
import functools
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final, cast

from posthouse.access.login.attempts import Attempts
from posthouse.access.login.door import LINGER_S, Door, DoorListener, session_id
from posthouse.access.login.lines import DISCONNECTED, LOGGED_IN
from posthouse.access.login.relay import Relay
from posthouse.core.reply import MailError
from posthouse.protocol.login import (
    Authenticate,
    Cancel,
    Close,
    Continue,
    Ending,
    Event,
    Refusal,
    Send,
    Slipped,
    StartTls,
    name_in_plain,
)
from posthouse.runtime.schema import (
    Admitted,
    AuthChallenge,
    AuthFailure,
    AuthSuccess,
    CancelAuth,
    ContinueAuth,
    Handover,
)
from posthouse.runtime.schema import Authenticate as AuthenticateRequest

TOO_MANY_SESSIONS: Final = "4.7.0"


class Phase(enum.Enum):
    HANDSHAKE = "TLS is being negotiated"
    OPEN = "the client's turn"
    EXCHANGE = "the client's turn, within a SASL exchange"
    ASKING = "auth is asked"
    HANDING = "the mailbox process is asked to take over"
    RELAYING = "logged in over TLS"
    GONE = "over, or no longer ours"


_TALKING: Final = (Phase.OPEN, Phase.EXCHANGE)


class LoginConnection(asyncio.Protocol):
    __slots__ = (
        "__weakref__",
        "_attempts",
        "_core",
        "_door",
        "_exchange",
        "_handshake",
        "_is_blocked",
        "_is_paused",
        "_is_secured",
        "_is_tls",
        "_listener",
        "_local",
        "_opened_s",
        "_phase",
        "_relay",
        "_remote",
        "_session",
        "_ticket",
        "_transport",
        "_user",
        "deadline_s",
    )

    def __init__(self, door: Door, listener: DoorListener) -> None:
        self._door = door
        self._listener = listener
        self._phase = Phase.GONE
        self._is_tls = False
        self._is_blocked = False
        """The client does not read what we write."""
        self._is_paused = False
        self._exchange = 0
        self._user = ""
        self._ticket = b""
        self._relay: Relay | None = None
        self._handshake: asyncio.Task[None] | None = None

    # ── asyncio's callbacks ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's in everything but name.
        self._transport = transport = cast(asyncio.Transport, transport)
        if self._phase is Phase.HANDSHAKE:
            self._is_tls = True
            self._handshake = None
            self._phase = Phase.OPEN
            self._core.channel = self._listener.channel_of(transport.get_extra_info("ssl_object"))
            transport.write(self._core.greeting())
            return
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not peer or not own:
            # Already gone.
            transport.abort()
            return
        self._open(peer, own)
        self._phase = Phase.OPEN
        self._door.admit(self)
        transport.write(self._core.greeting())

    def accept_tls(self, sock: socket.socket) -> None:
        """A connection on which TLS comes first: it counts from now on, `connection_made` comes after the handshake."""
        try:
            self._open(sock.getpeername(), sock.getsockname())
        except OSError:
            sock.close()
            return
        if self._listener.tls is None:
            sock.close()
            self._say_over("No TLS certificate")
            return
        self._phase = Phase.HANDSHAKE
        self._handshake = self._door.run(self._handshake_first(sock, self._listener.tls))
        self._door.admit(self)

    def _open(self, peer: Sequence[Any], own: Sequence[Any]) -> None:
        self._remote, self._local = _address(peer[0]), _address(own[0])
        listener, clock = self._listener, self._door.clock
        # As Dovecot: a connection from this very machine crosses no wire.
        self._is_secured = self._remote == self._local or listener.is_trusted(self._remote)
        self._session = session_id(clock.now(), self._remote, peer[1])
        self._opened_s = clock.monotonic()
        self.deadline_s = self._opened_s + listener.timeout_s
        self._attempts = Attempts()
        self._core = listener.make_core(
            listener.options, is_tls=listener.implicit_tls, is_secured=self._is_secured or listener.implicit_tls
        )

    def data_received(self, data: bytes) -> None:
        if self._relay is not None:
            self._relay.client_data(data)
            return
        if self._phase in _TALKING:
            self._core.receive_data(data)
            self._pump()
        elif self._phase in (Phase.ASKING, Phase.HANDING):
            self._core.receive_data(data)
            if self._core.buffered > self._listener.input_limit:
                self._pause()

    def pause_writing(self) -> None:
        self._is_blocked = True
        if self._relay is not None:
            self._relay.client_is_slow()
        elif self._phase in _TALKING:
            self._pause()

    def resume_writing(self) -> None:
        self._is_blocked = False
        if self._relay is not None:
            self._relay.client_is_ready()
        elif self._phase is Phase.HANDING and not self._is_tls:
            self._hand_over_socket()
        elif self._phase in _TALKING:
            self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._relay is not None:
            self._relay.end()
        elif self._phase is not Phase.GONE:
            self._over("Connection closed" + (f": {exc}" if isinstance(exc, ssl.SSLError) else ""))

    # ── what the core says ──

    def _pump(self) -> None:
        while self._phase in _TALKING and not self._is_blocked:
            event = self._core.next_event()
            if event is None:
                self._resume()
                return
            self._on_event(event)

    def _on_event(self, event: Event) -> None:
        match event:
            case Send(data):
                self._transport.write(data)
            case Authenticate(mechanism, response):
                user = name_in_plain(response) if response and mechanism == "PLAIN" else ""
                self._attempts.begin(mechanism, user)
                self._exchange = self._door.next_exchange()
                self._ask(
                    AuthenticateRequest(
                        self._exchange,
                        mechanism,
                        response,
                        self._listener.protocol,
                        self._remote,
                        self._local,
                        self._is_secured or self._is_tls,
                        self._session,
                        bindings=self._core.channel.bindings,
                        has_certificate=self._core.channel.has_certificate,
                        certified=self._core.channel.certified,
                    )
                )
            case Continue(response):
                self._note_name(response)
                self._ask(ContinueAuth(self._exchange, response))
            case Cancel(data):
                self._cancel_exchange()
                self._attempts.is_aborted = True
                self._transport.write(data)
            case Slipped(slip, mechanism, data, user):
                if self._phase is Phase.EXCHANGE:
                    self._cancel_exchange()
                else:
                    self._attempts.begin(mechanism, user)
                self._attempts.last = slip
                self._transport.write(data)
            case StartTls(data):
                self._transport.write(data)
                self._start_tls()
            case Close(data, reason):
                self._transport.write(data)
                self._over(reason)

    def _note_name(self, response: bytes) -> None:
        if self._attempts.mechanism == "PLAIN":
            self._attempts.user = name_in_plain(response)
        elif self._attempts.mechanism == "LOGIN" and not self._attempts.user:
            self._attempts.user = response[:1024].decode("utf-8", "replace")

    def _cancel_exchange(self) -> None:
        self._door.tell_auth(CancelAuth(self._exchange))
        self._phase = Phase.OPEN

    # ── auth ──

    def _ask(self, request: AuthenticateRequest | ContinueAuth) -> None:
        self._phase = Phase.ASKING
        self._door.ask_auth(request).add_done_callback(self._on_auth_reply)

    def _on_auth_reply(self, reply: "asyncio.Future[Any]") -> None:
        if reply.cancelled():
            return
        error = reply.exception()
        if self._phase is not Phase.ASKING:
            return
        if error is not None:
            if not isinstance(error, MailError):
                self._door.report("asking auth", error)
            self._refuse(Refusal.TEMPORARY)
            return
        match reply.result():
            case AuthSuccess(user, ticket):
                self._attempts.rights += 1
                self._attempts.user = user
                self._user, self._ticket = user, ticket
                self._hand_over()
            case AuthChallenge(data):
                self._phase = Phase.EXCHANGE
                self._transport.write(self._core.challenge(data))
                self._pump()
            case AuthFailure() as failure:
                self._refuse(_refusal(failure))
            case other:
                self._door.report(f"auth answered with {type(other).__name__}", None)
                self._refuse(Refusal.TEMPORARY)

    def _refuse(self, why: Refusal) -> None:
        self._attempts.last = why
        self._phase = Phase.OPEN
        self._transport.write(self._core.refused(why))
        self._pump()

    # ── handing over ──

    def _hand_over(self) -> None:
        self._phase = Phase.HANDING
        self._pause()
        if self._is_tls:
            self._hand_over_relayed()
            return
        # What we have written must be on its way before somebody else writes to the same socket.
        self._transport.set_write_buffer_limits(high=0)
        if self._transport.get_write_buffer_size() == 0:
            self._hand_over_socket()

    def _hand_over_socket(self) -> None:
        sock = self._transport.get_extra_info("socket")
        try:
            # A descriptor of its own: should the transport close before the frame leaves, the number of the old one may
            # already be another client's.
            descriptor = os.dup(sock.fileno())
        except OSError:
            self._handover_failed(Refusal.INTERNAL)
            return
        self._ask_mailbox(descriptor).add_done_callback(functools.partial(self._on_socket_taken, descriptor))

    def _hand_over_relayed(self) -> None:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:
            self._door.report("making a socket pair", error)
            self._handover_failed(Refusal.INTERNAL)
            return
        theirs.setblocking(False)
        self._ask_mailbox(theirs.fileno()).add_done_callback(functools.partial(self._on_relay_taken, ours, theirs))

    def _ask_mailbox(self, descriptor: int) -> "asyncio.Future[Any]":
        request = Handover(
            self._listener.protocol,
            self._ticket,
            self._core.tag,
            self._remote,
            self._local,
            self._is_secured or self._is_tls,
            self._session,
            self._core.unread(),
        )
        self._ticket = b""
        return self._door.ask_mailbox(self._user, request, descriptor)

    def _on_socket_taken(self, descriptor: int, reply: "asyncio.Future[Any]") -> None:
        os.close(descriptor)
        if self._was_taken(reply):
            self._phase = Phase.GONE
            self._door.forget(self)
            # Closes our descriptor without a word to the client: the mailbox process has its own.
            self._transport.abort()

    def _on_relay_taken(self, ours: socket.socket, theirs: socket.socket, reply: "asyncio.Future[Any]") -> None:
        theirs.close()
        if not self._was_taken(reply):
            ours.close()
            return
        self._phase = Phase.RELAYING
        self._relay = Relay(self._transport, ours, self._listener.relay_buffer, lambda: self._door.forget(self))
        self._door.begin_relay(self)
        if early := self._core.unread():
            self._relay.client_data(early)
        self._relay.begin()

    def _was_taken(self, reply: "asyncio.Future[Any]") -> bool:
        if reply.cancelled():
            return False
        error = reply.exception()
        if self._phase is not Phase.HANDING:
            # The client went, or we stop. If mailbox took the session it will notice the same.
            return False
        if error is not None:
            if not isinstance(error, MailError):
                self._door.report("handing a connection over", error)
            is_limit = isinstance(error, MailError) and error.reply.status == TOO_MANY_SESSIONS
            text = error.reply.text if is_limit and isinstance(error, MailError) else ""
            self._handover_failed(Refusal.LIMIT if is_limit else Refusal.INTERNAL, text)
            return False
        result = reply.result()
        self._door.emit(
            LOGGED_IN[self._listener.protocol](
                self._user,
                self._attempts.mechanism,
                self._remote,
                self._local,
                self._security(),
                self._session,
                result.pid if isinstance(result, Admitted) else 0,
            )
        )
        return True

    def _handover_failed(self, why: Refusal, text: str = "") -> None:
        self._attempts.last = why
        self._transport.write(self._core.refused(why, text))
        self._over(text if why is Refusal.LIMIT and text else "Internal login failure")

    # ── TLS ──

    def _start_tls(self) -> None:
        """STARTTLS: nothing more is read before the handshake; the client waits for our answer, which is not yet
        written."""
        assert self._listener.tls is not None
        self._phase = Phase.HANDSHAKE
        self._transport.pause_reading()
        self._handshake = self._door.run(self._handshake_now(self._listener.tls))

    async def _handshake_first(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self,
                sock,
                ssl=context,
                ssl_handshake_timeout=self._listener.handshake_timeout_s,
                ssl_shutdown_timeout=LINGER_S,
            )
        except OSError as error:
            # ssl.SSLError, TimeoutError and ConnectionError are OSErrors.
            self._handshake_failed(error)

    async def _handshake_now(self, context: ssl.SSLContext) -> None:
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self._transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self._listener.handshake_timeout_s,
                ssl_shutdown_timeout=LINGER_S,
            )
        except OSError as error:
            self._handshake_failed(error)
            self._transport.abort()
            return
        if transport is None or self._phase is not Phase.HANDSHAKE:
            self._transport.abort()
            return
        self._transport = transport
        self._is_tls = True
        self._handshake = None
        self._phase = Phase.OPEN
        self._core.tls_started()
        self._core.channel = self._listener.channel_of(transport.get_extra_info("ssl_object"))
        self._pump()

    def _handshake_failed(self, error: OSError) -> None:
        self._handshake = None
        if self._phase is Phase.HANDSHAKE:
            words = getattr(error, "reason", None) or error.strerror or type(error).__name__
            self._say_over(f"Connection closed: SSL_accept() failed: {words}")

    # ── reading, and the end ──

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def _security(self) -> str:
        if self._is_tls:
            return "TLS"
        if self._phase is Phase.HANDSHAKE:
            return "TLS handshaking"
        return "secured" if self._is_secured else ""

    def time_is_up(self) -> None:
        if self._phase is Phase.EXCHANGE:
            self.end(Ending.IDLE_IN_EXCHANGE, "Inactivity during authentication")
        else:
            self.end(Ending.IDLE, "Inactivity")

    def end(self, why: Ending, reason: str) -> None:
        """We end it, before login."""
        if self._phase is Phase.GONE:
            self._door.forget(self)
            return
        if self._phase is not Phase.HANDSHAKE:
            self._transport.write(self._core.ending(why))
        self._over(reason)

    def end_relay(self) -> None:
        if self._relay is not None:
            self._relay.end()

    def _over(self, reason: str) -> None:
        """Log it, and let go of the connection."""
        handshake, self._handshake = self._handshake, None
        self._say_over(reason)
        if handshake is not None:
            # Whatever transport there is goes with it.
            handshake.cancel()
            return
        self._transport.close()
        if self._is_tls or self._transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)

    def _say_over(self, reason: str) -> None:
        detail = self._attempts.detail(
            int(self._door.clock.monotonic() - self._opened_s),
            is_asking=self._phase in (Phase.ASKING, Phase.HANDING),
            in_exchange=self._phase is Phase.EXCHANGE,
        )
        line = DISCONNECTED[self._listener.protocol](
            self._attempts.user,
            self._attempts.mechanism,
            self._remote,
            self._local,
            self._security(),
            self._session,
            reason,
            detail,
        )
        if self._phase is Phase.EXCHANGE:
            self._cancel_exchange()
        self._phase = Phase.GONE
        self._door.forget(self)
        self._door.emit(line)


def _refusal(failure: AuthFailure) -> Refusal:
    if failure.temporary:
        return Refusal.TEMPORARY
    if failure.disabled:
        return Refusal.DISABLED
    return Refusal.MALFORMED if failure.protocol_error else Refusal.WRONG


def _address(text: str) -> str:
    """Without a zone, and IPv4 as IPv4 however the socket shows it."""
    text = text.partition("%")[0]
    return text[7:] if text.startswith("::ffff:") and "." in text else text
