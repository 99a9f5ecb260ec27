"""Processes talk in frames over Unix stream sockets; both sides may ask, many questions may be open at once.

Frame: length (u32), sequence number (u32), kind (u8), number of descriptors (u8), all big-endian, then msgpack of one
record. Frames written in one turn of the event loop leave in one system call. Descriptors travel as SCM_RIGHTS with the
first octet of their frame; the kernel keeps them in order. A peer that breaks the rules is cut off: its connection is
closed, every open question fails with `PeerLost`, and the log says why.

Not here: who may connect (modes of the socket directories), which records exist (`runtime.schema`).
"""

import array
import asyncio
import contextlib
import functools
import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol, TypeVar, overload

import msgspec

from posthouse.core.reply import LOCAL_ERROR, MailError, PermFail, TempFail
from posthouse.runtime.schema import Endpoint, Failure, Note, Record, Request

R = TypeVar("R", bound=Record)

_HEADER: Final = struct.Struct(">IIBB")
_NOTE: Final = 0
_REQUEST: Final = 1
_REPLY: Final = 2
_FAREWELL: Final = 3
"""Server to client, without a body: ask no more questions here, connect anew (my successor answers)."""

MAX_FRAME_OCTETS: Final = 2 * 1024 * 1024
"""Larger content goes as a file or in pieces; a frame beyond this is a broken peer."""
MAX_DESCRIPTORS: Final = 16
"""Per recvmsg; the kernel's own limit is 253."""
_READ_OCTETS: Final = 256 * 1024
OUTPUT_HIGH_OCTETS: Final = 8 * 1024 * 1024
"""`drain()` waits above this. A peer that does not read holds up the one who writes to it, nobody else."""


class PeerLost(TempFail):
    """The other process went away (or was cut off) before it answered."""

    def __init__(self, why: str) -> None:
        super().__init__(LOCAL_ERROR)
        self.why = why

    def __str__(self) -> str:
        return self.why


class SchemaError(Exception):
    """The peer sent something that is no frame, no record, or not allowed on this endpoint."""


Responder = Callable[[Record], None]


class Handler(Protocol):
    """Called for every request and note of a connection, in order, in the event loop. A request is answered by calling
    `respond` exactly once, now or later; a note has `respond` None. Descriptors are the handler's to close.
    An exception: MailError becomes `Failure`, any other is logged by the connection and answered 451 4.3.0."""

    def __call__(
        self, connection: "Connection", record: Record, descriptors: list[int], respond: Responder | None
    ) -> None: ...


def unexpected(connection: "Connection", record: Record, descriptors: list[int], respond: Responder | None) -> None:  # noqa: ARG001
    """The handler of a side that expects no requests."""
    raise SchemaError(f"unexpected {type(record).__name__}")


def _union(types: Iterable[type[Record]]) -> Any:  # a runtime-built Union has no static type
    result: Any = None
    for one in types:
        result = one if result is None else result | one
    return result


class Codec:
    """The decoders for one side of an endpoint; built once, before the processes are forked that use them."""

    def __init__(self, incoming: tuple[type[Record], ...], outgoing: tuple[type[Record], ...]) -> None:
        self.incoming = msgspec.msgpack.Decoder(_union(incoming)) if incoming else None
        replies = {reply for kind in outgoing if issubclass(kind, Request) for reply in kind.replies} | {Failure}
        self.replies = msgspec.msgpack.Decoder(_union(sorted(replies, key=lambda one: one.__name__)))
        self.outgoing = frozenset(outgoing)

    @classmethod
    @functools.cache
    def for_server(cls, endpoint: Endpoint) -> "Codec":
        return cls(endpoint.accepts, endpoint.issues)

    @classmethod
    @functools.cache
    def for_client(cls, endpoint: Endpoint) -> "Codec":
        return cls(endpoint.issues, endpoint.accepts)


def prepare_codecs(endpoints: Iterable[Endpoint]) -> None:
    """Before the processes are forked that will speak there."""
    for endpoint in endpoints:
        Codec.for_server(endpoint)
        Codec.for_client(endpoint)


_encoder: Final = msgspec.msgpack.Encoder()


def encode_note(note: Note) -> bytes:
    """One note as a frame, for writers without an event loop (master's and a dying child's log lines)."""
    body = _encoder.encode(note)
    return _HEADER.pack(len(body), 0, _NOTE, 0) + body


class Connection:
    """One end of a conversation. Owns the socket; `close()` is idempotent; `closed` is a future that is done when it is
    over (its result is the reason, for the log)."""

    def __init__(
        self,
        sock: socket.socket,
        codec: Codec,
        handler: Handler = unexpected,
        *,
        descriptors: bool = False,
        on_error: Callable[[str, BaseException | None], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._codec = codec
        self._handler = handler
        self._carries_descriptors = descriptors
        self._on_error = on_error
        self._input = bytearray()
        self._received: deque[int] = deque()
        self._output: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._output_octets = 0
        self._flush_scheduled = False
        self._writer_active = False
        self._drained: asyncio.Event | None = None
        self._sequence = 0
        self._open: dict[int, asyncio.Future[Any]] = {}
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self.is_retiring = False
        """The other side is being replaced: open questions are still answered, new ones go to a new connection."""
        self.peer: Any = None
        """Free for the server to hang its session state on."""
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._on_readable)

    # ── asking ──

    def call(self, request: Request, descriptors: tuple[int, ...] = ()) -> "asyncio.Future[Any]":
        """Send a request; the future gives the reply record or raises TempFail, PermFail or PeerLost. Descriptors are
        duplicated by the kernel when sent and stay the caller's; they must stay open until the future is done."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.closed.done():
            future.set_exception(PeerLost(self.closed.result()))
            return future
        self._sequence = sequence = self._sequence % 0xFFFFFFFF + 1
        self._open[sequence] = future
        self._send(sequence, _REQUEST, request, descriptors)
        return future

    def notify(self, note: Note) -> None:
        """Send a note; lost without a word if the peer is gone."""
        if not self.closed.done():
            self._send(0, _NOTE, note, ())

    def retire(self) -> None:
        """Server: ask the client to connect anew. It closes this connection when its last question is answered."""
        if not self.closed.done():
            self._enqueue(_HEADER.pack(0, 0, _FAREWELL, 0), ())

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was written."""
        while self._output_octets > OUTPUT_HIGH_OCTETS and not self.closed.done():
            self._drained = self._drained or asyncio.Event()
            self._drained.clear()
            await self._drained.wait()

    def close(self, why: str = "closed") -> None:
        if self.closed.done():
            return
        if self._output:
            self._flush()
        if self.closed.done():
            return
        self._loop.remove_reader(self._sock.fileno())
        if self._writer_active:
            self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self.closed.set_result(why)
        while self._received:
            with contextlib.suppress(OSError):
                os.close(self._received.popleft())
        self._output.clear()
        if self._drained:
            self._drained.set()
        for future in self._open.values():
            if not future.done():
                future.set_exception(PeerLost(why))
                # The asker may be gone already; then nobody needs the exception.
                future.exception()
        self._open.clear()

    # ── writing ──

    def _send(self, sequence: int, kind: int, record: Record, descriptors: tuple[int, ...]) -> None:
        body = _encoder.encode(record)
        if len(body) > MAX_FRAME_OCTETS:
            raise SchemaError(f"{type(record).__name__} of {len(body)} octets does not fit a frame")
        frame = _HEADER.pack(len(body), sequence, kind, len(descriptors)) + body
        self._enqueue(frame, descriptors)

    def _enqueue(self, frame: bytes, descriptors: tuple[int, ...]) -> None:
        self._output.append((frame, descriptors))
        self._output_octets += len(frame)
        if not self._flush_scheduled and not self._writer_active:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self.closed.done():
            return
        try:
            while self._output:
                if not self._write_some():
                    break
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._output.clear()
            self.close(f"write: {error.strerror}")
            return
        if self._output and not self._writer_active:
            self._writer_active = True
            self._loop.add_writer(self._sock.fileno(), self._flush)
        elif not self._output and self._writer_active:
            self._writer_active = False
            self._loop.remove_writer(self._sock.fileno())
        if self._drained and self._output_octets <= OUTPUT_HIGH_OCTETS:
            self._drained.set()

    def _write_some(self) -> bool:
        """One system call: everything up to the next frame with descriptors. False if the socket took only a part."""
        frame, descriptors = self._output[0]
        if descriptors:
            sent = socket.send_fds(self._sock, [frame], list(descriptors))
            self._output.popleft()
            if sent < len(frame):
                self._output.appendleft((frame[sent:], ()))
            self._output_octets -= sent
            return sent == len(frame)
        pieces: list[bytes] = []
        total = 0
        for piece, with_descriptors in self._output:
            if with_descriptors or total > _READ_OCTETS * 4:
                break
            pieces.append(piece)
            total += len(piece)
        sent = self._sock.send(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        self._output_octets -= sent
        left = sent
        while left:
            head = self._output.popleft()[0]
            if len(head) > left:
                self._output.appendleft((head[left:], ()))
                break
            left -= len(head)
        return sent == total

    # ── reading ──

    def _on_readable(self) -> None:
        try:
            if self._carries_descriptors:
                data, ancillary, flags, _ = self._sock.recvmsg(
                    _READ_OCTETS, socket.CMSG_SPACE(MAX_DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC
                )
                for level, kind, payload in ancillary:
                    if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                        numbers = array.array("i")
                        numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                        self._received.extend(numbers)
                if flags & socket.MSG_CTRUNC:
                    raise SchemaError("descriptors were cut off")
            else:
                data = self._sock.recv(_READ_OCTETS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(f"read: {error.strerror}")
            return
        except SchemaError as error:
            self._cut_off(error)
            return
        if not data:
            self.close("the peer closed the connection")
            return
        try:
            self._take(data)
        except (SchemaError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            # ValueError: text that is not UTF-8 (msgspec does not make an error of its own of it).
            self._cut_off(error)

    def _take(self, data: bytes) -> None:
        buffer = self._input
        if buffer:
            buffer += data
            view = memoryview(bytes(buffer))
            buffer.clear()
        else:
            view = memoryview(data)
        at = 0
        end = len(view)
        while end - at >= _HEADER.size:
            length, sequence, kind, count = _HEADER.unpack_from(view, at)
            if length > MAX_FRAME_OCTETS or kind > _FAREWELL or count > MAX_DESCRIPTORS:
                raise SchemaError(f"bad frame header (length {length}, kind {kind}, descriptors {count})")
            if end - at - _HEADER.size < length:
                break
            start = at + _HEADER.size
            at = start + length
            self._dispatch(sequence, kind, count, view[start:at])
            if self.closed.done():
                return
        if at < end:
            buffer += view[at:]

    def _dispatch(self, sequence: int, kind: int, count: int, body: memoryview) -> None:
        if count > len(self._received):
            raise SchemaError(f"{count} descriptors announced, {len(self._received)} received")
        if kind == _REPLY:
            if count:
                raise SchemaError("a reply carries no descriptors")
            future = self._open.get(sequence)
            if future is None:
                raise SchemaError("a reply to nothing")
            # Until it is understood, the question stays open: a peer that is cut off for its reply fails it, too.
            reply = self._codec.replies.decode(body)
            error = None
            if isinstance(reply, Failure):
                error = (TempFail if reply.reply.code < 500 else PermFail)(reply.reply)
            del self._open[sequence]
            if future.done():  # the asker gave up
                pass
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(reply)
            if self.is_retiring:
                self._close_if_retired()
            return
        if kind == _FAREWELL:
            self.is_retiring = True
            self._close_if_retired()
            return
        if self._codec.incoming is None:
            raise SchemaError("a request where none is expected")
        record = self._codec.incoming.decode(body)
        if isinstance(record, Request) != (kind == _REQUEST):
            raise SchemaError(f"{type(record).__name__} sent as the wrong kind")
        descriptors = [self._received.popleft() for _ in range(count)]
        respond = self._responder(sequence) if kind == _REQUEST else None
        try:
            self._handler(self, record, descriptors, respond)
        except MailError as error:
            if respond:
                respond(Failure(error.reply))
        except SchemaError:
            raise
        except Exception as error:  # the edge: a bug here costs the asker a retry, never the process
            self._report(f"handling {type(record).__name__}", error)
            if respond:
                respond(Failure(LOCAL_ERROR))

    def _close_if_retired(self) -> None:
        if not self._open:
            self.close("the other side is being replaced")

    def _responder(self, sequence: int) -> Responder:
        def respond(reply: Record) -> None:
            if not self.closed.done():
                self._send(sequence, _REPLY, reply, ())

        return respond

    def respond_with(self, respond: Responder | None, work: Awaitable[Record]) -> None:
        """For handlers that need to wait: answer with the result of `work`, or with the failure it raises."""

        async def run() -> None:
            try:
                reply = await work
            except MailError as error:
                reply = Failure(error.reply)
            except Exception as error:  # the edge, as in _dispatch
                self._report("answering a request", error)
                reply = Failure(LOCAL_ERROR)
            if respond:
                respond(reply)

        task = self._loop.create_task(run())
        _running.add(task)
        task.add_done_callback(_running.discard)

    def _cut_off(self, error: Exception) -> None:
        self._report(f"cutting off a peer that breaks the schema: {error}", None)
        self.close(f"schema: {error}")

    def _report(self, what: str, error: BaseException | None) -> None:
        if self._on_error:
            self._on_error(what, error)


_running: Final[set[asyncio.Task[None]]] = set()
"""Keeps tasks alive until they are done (asyncio holds them weakly)."""


class Peer:
    """A client's standing connection to another process: connects on first use and again after a loss.

    `call` never blocks the caller for longer than the peer takes; while there is no connection it waits up to
    `connect_timeout_s`, then raises PeerLost (a temporary failure).
    """

    def __init__(
        self,
        path: str,
        endpoint: Endpoint,
        handler: Handler = unexpected,
        *,
        on_connect: Callable[[Connection], Awaitable[None]] | None = None,
        on_error: Callable[[str, BaseException | None], None] | None = None,
        connect_timeout_s: float = 10.0,
    ) -> None:
        self.path = path
        self.endpoint = endpoint
        self._codec = Codec.for_client(endpoint)
        self._handler = handler
        self._on_connect = on_connect
        self._on_error = on_error
        self._connect_timeout_s = connect_timeout_s
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._stopped = False

    @property
    def connection(self) -> Connection | None:
        """The live connection, or None; never connects."""
        if self._connection is not None and (self._connection.closed.done() or self._connection.is_retiring):
            self._connection = None
        return self._connection

    async def connect(self) -> Connection:
        """The connection, made if needed. Raises PeerLost after connect_timeout_s."""
        if (connection := self.connection) is not None:
            return connection
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connect_done)
        return await asyncio.shield(self._connecting)

    def _connect_done(self, task: "asyncio.Task[Connection]") -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._connect_timeout_s
        pause = 0.01
        while True:
            if self._stopped:
                raise PeerLost("stopping")
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                sock.setblocking(False)
                sock.connect(self.path)
            except OSError as error:
                sock.close()
                if loop.time() > give_up:
                    raise PeerLost(f"connect {self.path}: {error.strerror}") from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.5)
                continue
            connection = Connection(
                sock, self._codec, self._handler, descriptors=self.endpoint.descriptors, on_error=self._on_error
            )
            if self._on_connect:
                await self._on_connect(connection)
            self._connection = connection
            return connection

    @overload
    async def call(self, request: Request, *, expect: type[R]) -> R: ...
    @overload
    async def call(self, request: Request) -> Record: ...
    async def call(
        self, request: Request, *, expect: type[Record] | None = None, descriptors: tuple[int, ...] = ()
    ) -> Record:
        """Ask and wait for the reply. With `expect`, a reply of another class is a bug and raises TypeError."""
        connection = self.connection or await self.connect()
        reply: Record = await connection.call(request, descriptors)
        if expect is not None and not isinstance(reply, expect):
            raise TypeError(f"{type(request).__name__} answered with {type(reply).__name__}")
        return reply

    def notify(self, note: Note) -> None:
        """Send a note if connected; else start connecting and drop it."""
        if (connection := self.connection) is not None:
            connection.notify(note)

    def close(self) -> None:
        self._stopped = True
        if self._connection is not None:
            self._connection.close()


class Server:
    """Accepts connections of one endpoint on a listening socket made by master."""

    def __init__(
        self,
        listener: socket.socket,
        endpoint: Endpoint,
        handler: Handler,
        *,
        on_connection: Callable[[Connection], None] | None = None,
        on_error: Callable[[str, BaseException | None], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._endpoint = endpoint
        self._codec = Codec.for_server(endpoint)
        self._handler = handler
        self._on_connection = on_connection
        self._on_error = on_error
        self.connections: set[Connection] = set()
        listener.setblocking(False)
        self._loop.add_reader(listener.fileno(), self._on_acceptable)

    def _on_acceptable(self) -> None:
        for _ in range(64):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if self._on_error:
                    self._on_error(f"accept on {self._endpoint.server}/{self._endpoint.name}", error)
                return
            connection = Connection(
                sock,
                self._codec,
                self._handler,
                descriptors=self._endpoint.descriptors,
                on_error=self._on_error,
            )
            self.connections.add(connection)
            connection.closed.add_done_callback(functools.partial(self._forget, connection))
            if self._on_connection:
                self._on_connection(connection)

    def _forget(self, connection: Connection, _: object) -> None:
        self.connections.discard(connection)

    async def drain(self) -> None:
        """Stop accepting and send every client to the successor, who listens on the same socket; open questions are
        answered. Returns when no client is left (the caller limits the time)."""
        self._loop.remove_reader(self._listener.fileno())
        for connection in list(self.connections):
            connection.retire()
        while self.connections:
            await asyncio.wait([connection.closed for connection in self.connections])

    def close(self) -> None:
        """Stop accepting and end every conversation."""
        self._loop.remove_reader(self._listener.fileno())
        for connection in list(self.connections):
            connection.close("the service stops")
