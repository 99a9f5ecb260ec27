"""One connection to one server: the protocol core, the socket, time limits, TLS.

Opening is a coroutine (it happens once per connection); deliveries are callbacks (they happen all the time). Time
limits are one number, `deadline`, that the owner compares with the clock now and then: a timer per command would cost
more than the command.
"""

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from posthouse.delivery.outbound.destination import Destination
from posthouse.delivery.outbound.hosts import Host
from posthouse.delivery.outbound.settings import AgentSettings
from posthouse.protocol.smtp.client import Client, ContentWanted, Finished, ProtocolError, Replied
from posthouse.protocol.smtp.client_content import ContentEncoder, whole_message
from posthouse.protocol.smtp.client_reply import ServerReply
from posthouse.protocol.smtp.client_transaction import Stage, Transaction
from posthouse.runtime.tls import describe

PIECE_OCTETS: Final = 256 * 1024
"""Of a large message, read and sent at a time."""
HIGH_WATER_OCTETS: Final = 512 * 1024


class SessionError(Exception):
    """The conversation cannot go on. `hard`: the server said no for good; `greeted`: it had said something before;
    `plain_may_work`: it broke in an opportunistic TLS handshake."""

    def __init__(
        self,
        dsn: str,
        words: str,
        *,
        reply: ServerReply | None = None,
        greeted: bool = True,
        connect: bool = False,
        plain_may_work: bool = False,
    ) -> None:
        super().__init__(words)
        self.dsn = dsn
        self.words = words
        self.reply = reply
        self.greeted = greeted
        self.connect = connect
        self.plain_may_work = plain_may_work

    @property
    def hard(self) -> bool:
        return self.dsn.startswith("5")


Content = bytes | tuple[int, int]
"""The message, or descriptor and size of the file that holds it."""
Done = Callable[["Session", Transaction, SessionError | None], None]


class Session(asyncio.Protocol):
    """Owns the socket. After an error it is closed and good for nothing."""

    def __init__(self, host: Host, destination: Destination, settings: AgentSettings, now: Callable[[], float]) -> None:
        self.host = host
        self.destination = destination
        self.settings = settings
        self.client = Client(
            lmtp=settings.lmtp, reply_line_limit=settings.reply_line_limit, recipient_batch=settings.recipient_batch
        )
        self.deadline = float("inf")
        self.expires = float("inf")
        self.opened = now()
        self.uses = 0
        self.tls = ""
        """Protocol and cipher, once TLS is on."""
        self.closed = False
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[ServerReply] | None = None
        self._done: Done | None = None
        self._transaction: Transaction | None = None
        self._content: Content = b""
        self._offset = 0
        self._encoder: ContentEncoder | None = None
        self._paused = False
        self._replies_before = 0
        self._quitting = False
        self._early: deque[ServerReply] = deque()
        self._failure: SessionError | None = None

    # ── opening ──

    async def connect(self) -> None:
        """Raises SessionError."""
        host = self.host
        timeout = self.settings.connect_timeout_s or None
        family = socket.AF_UNIX if host.path else socket.AF_INET6 if ":" in host.address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if not host.path:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if source := self.settings.bind.get(6 if family == socket.AF_INET6 else 4):
                    sock.bind((source, 0))
            where = host.path or (host.address, host.port)
            async with asyncio.timeout(timeout):
                await self._loop.sock_connect(sock, where)
            transport, _ = await self._loop.create_connection(lambda: self, sock=sock)
            transport.set_write_buffer_limits(HIGH_WATER_OCTETS)
        except (OSError, TimeoutError) as error:
            sock.close()
            if isinstance(error, TimeoutError):
                words = "Connection timed out"
            else:
                words = os.strerror(error.errno) if error.errno else str(error)
            raise SessionError("4.4.1", f"connect to {host.relay}: {words}", greeted=False, connect=True) from error
        except BaseException:
            sock.close()
            raise

    async def greeting(self) -> ServerReply:
        return await self._answer()

    async def ask(self, octets: bytes) -> ServerReply:
        """One command and its answer. Raises SessionError."""
        self._write(octets)
        return await self._answer()

    async def _answer(self) -> ServerReply:
        if self.closed and not self._early:
            raise self._failure or self._lost()
        self._extend()
        if self._early:
            # The greeting may come before anybody waits for it.
            return self._early.popleft()
        self._waiter = self._loop.create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    async def start_tls(self, context: ssl.SSLContext, server_name: str | None) -> None:
        """The handshake; what the server offered before it is forgotten (RFC 3207 s4.2). Raises SessionError."""
        assert self._transport is not None
        if self.client.has_unread:
            # Commands or replies sent ahead of TLS would count as if they came inside it (CVE-2011-0411).
            raise self._broken("4.5.0", f"{self.host.label} sent data between STARTTLS and the TLS handshake")
        self.deadline = self._now() + self.settings.timeouts[Stage.STARTTLS]
        try:
            transport = await self._loop.start_tls(
                self._transport,
                self,
                context,
                server_hostname=server_name,
                ssl_handshake_timeout=self.settings.timeouts[Stage.STARTTLS],
            )
        except (OSError, ssl.SSLError, TimeoutError, EOFError) as error:
            raise self._broken("4.7.5", f"Cannot start TLS: {_tls_words(error)}", plain_may_work=True) from error
        if transport is None:
            raise self._lost()
        self._transport = transport
        self._transport.set_write_buffer_limits(HIGH_WATER_OCTETS)
        self.tls = describe(self._transport.get_extra_info("ssl_object"))
        self.client.forget_features()

    def peer_certificate(self) -> dict[str, object] | None:
        assert self._transport is not None
        found: dict[str, object] | None = self._transport.get_extra_info("ssl_object").getpeercert()
        return found

    # ── delivering ──

    def deliver(self, transaction: Transaction, content: Content, done: Done) -> None:
        """`done` is called once: with all outcomes known, or with the error that ended the conversation before."""
        self._done = done
        self._transaction = transaction
        self._content = content
        self._replies_before = self.client.replies_seen
        self.uses += 1
        self._write(self.client.begin(transaction))
        self._extend()

    @property
    def heard_nothing(self) -> bool:
        """In this transaction: then nothing was delivered, and the connection had probably died while it was idle."""
        return self.client.replies_seen == self._replies_before

    @property
    def idle(self) -> bool:
        return self._done is None and self._waiter is None and not self.closed and not self._quitting

    def _send_content(self) -> None:
        content = self._content
        if isinstance(content, bytes):
            self._write(whole_message(content, self.settings.line_length_limit))
            self._content_sent()
        else:
            self._offset = 0
            self._encoder = ContentEncoder(self.settings.line_length_limit)
            self._pump()

    def _pump(self) -> None:
        """The next pieces of a large message, as long as the socket takes them."""
        encoder = self._encoder
        assert encoder is not None
        assert isinstance(self._content, tuple)
        descriptor, size = self._content
        while not self._paused and not self.closed:
            left = size - self._offset
            if left <= 0:
                self._encoder = None
                self._write(encoder.finish())
                self._content_sent()
                return
            try:
                piece = os.pread(descriptor, min(PIECE_OCTETS, left), self._offset)
            except OSError:
                piece = b""
            if not piece:
                # Half a message must not be ended with a dot.
                self._encoder = None
                self._fail(SessionError("4.3.0", "the content of the message cannot be read"))
                return
            self._offset += len(piece)
            self._write(encoder.feed(piece))
            self._extend()

    def _content_sent(self) -> None:
        if self.closed:
            return
        self.client.content_sent()
        # A server may have refused while the content was on its way.
        self.data_received(b"")

    # ── ending ──

    def quit(self) -> None:
        """The polite end; closes at once, or after the answer if the settings ask for it."""
        if self.closed or self._quitting:
            return
        self._quitting = True
        if self._transport is not None and self.client.stage is None:
            self._write(self.client.quit())
            if not self.settings.skip_quit_response:
                self._extend()
                return
        self.close()

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def check_time(self, now: float) -> None:
        """Called now and then by the owner."""
        if now < self.deadline or self.closed:
            return
        if self._quitting or self.idle:
            self.close()
            return
        stage = self.client.stage or Stage.GREETING
        self._fail(
            SessionError(
                "4.4.2",
                f"conversation with {self.host.label} timed out while {stage.doing}",
                greeted=stage is not Stage.GREETING,
            )
        )

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._quitting:
            self.close()
            return
        client = self.client
        if data and client.stage is None:
            # Nobody asked: mostly "421 timeout" on an idle connection. It cannot be used any more.
            self.close()
            return
        try:
            octets = client.receive_data(data)
        except ProtocolError as error:
            self._fail(SessionError("4.5.0", f"non-SMTP response from {self.host.label}: {error}"))
            return
        if octets:
            self._write(octets)
        finished: Transaction | None = None
        while (event := client.next_event()) is not None:
            if isinstance(event, Finished):
                finished = event.transaction
            elif isinstance(event, ContentWanted):
                self._send_content()
            else:
                self._replied(event)
        if finished is not None:
            self._finish(finished, None)
        elif not self.closed:
            self._extend()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.closed = True
        if self._done is None and (self._waiter is None or self._waiter.done()):
            return
        if self._done is not None and self.client.stage is Stage.CONTENT and self.client.has_unread:
            # The server refused in the middle of the content and closed: its words are better than "lost connection".
            self._encoder = None
            self.client.content_sent()
            try:
                self.client.receive_data(b"")
            except ProtocolError:
                pass
            while (event := self.client.next_event()) is not None:
                if isinstance(event, Finished):
                    self._finish(event.transaction, None)
                    return
        self._fail(self._lost())

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._encoder is not None:
            self._pump()

    # ── inside ──

    def _write(self, octets: bytes) -> None:
        if not self.closed and self._transport is not None:
            self._transport.write(octets)

    def _extend(self) -> None:
        stage = self.client.stage
        self.deadline = self._now() + self.settings.timeouts[stage] if stage is not None else float("inf")

    def _lost(self) -> SessionError:
        stage = self.client.stage or Stage.GREETING
        return SessionError(
            "4.4.2",
            f"lost connection with {self.host.label} while {stage.doing}",
            greeted=stage is not Stage.GREETING,
        )

    def _broken(self, dsn: str, words: str, *, plain_may_work: bool = False) -> SessionError:
        self.abort()
        return SessionError(dsn, words, plain_may_work=plain_may_work)

    def _replied(self, event: Replied) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(event.reply)
        else:
            self._early.append(event.reply)

    def _fail(self, error: SessionError) -> None:
        self._failure = error
        self.abort()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        elif self._done is not None and self._transaction is not None:
            self.client.abandon()
            self._finish(self._transaction, error)

    def _finish(self, transaction: Transaction, error: SessionError | None) -> None:
        done, self._done, self._transaction, self._content = self._done, None, None, b""
        self.deadline = float("inf")
        if self.client.has_unread or self.client.closing:
            self.close()
        if done is not None:
            done(self, transaction, error)


def _tls_words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"server certificate not verified: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "handshake timed out"
    return "handshake failure"
