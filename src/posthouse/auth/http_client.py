"""Questions to an HTTP server that the configuration names: token servers, the policy server.

One server per client; connections are kept. Everything has an end: the time of a whole call, the octets of an answer,
the calls that are open. Redirects are an answer like any other: nothing is ever asked elsewhere.
"""

import asyncio
import base64
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

import h11
import msgspec

MAXIMAL_ANSWER_OCTETS: Final = 256 * 1024
"""What token servers say about a token is a few kilobytes."""
MAXIMAL_HEAD_OCTETS: Final = 32 * 1024
KEPT_CONNECTIONS: Final = 8
"""Idle ones, so that the next calls need no handshake."""
MAXIMAL_CALLS: Final = 100
"""At the same time; a slow server must not use up our descriptors. Others wait, in the time they have."""
READ_OCTETS: Final = 65536


class HttpError(Exception):
    """The server could not be asked, or its answer is none. The text is for the log."""


class BadUrl(ValueError):
    """The text says what is wrong."""


class HttpAnswer(msgspec.Struct, frozen=True):
    status: int
    body: bytes


class Url(msgspec.Struct, frozen=True):
    scheme: str
    host: str
    port: int
    target: str
    """Path and query."""
    credentials: str
    """Of a user:password@ in it, for Basic."""

    @classmethod
    def parse(cls, text: str) -> "Url":
        """Raises BadUrl."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise BadUrl(f"{text}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or not text.isascii() or " " in text:
            raise BadUrl(f"{text}: http://host/path or https://host/path is expected")
        if parts.fragment:
            raise BadUrl(f"{text}: a fragment (#) has no place here")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if text.endswith("?") and not parts.query:
            target += "?"
        return cls(
            parts.scheme,
            parts.hostname,
            port or (443 if parts.scheme == "https" else 80),
            target,
            basic(unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else "",
        )

    def shown(self) -> str:
        """For the log: without user and password, and without what was asked."""
        return f"{self.scheme}://{self.host}:{self.port}{self.target.partition('?')[0]}"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAXIMAL_HEAD_OCTETS)
        self.has_heard = False
        """Has the server said anything on the call that is open?"""


class HttpClient:
    """`context` is needed for https."""

    def __init__(self, url: Url, *, timeout_s: float, context: ssl.SSLContext | None = None) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._context = context if url.scheme == "https" else None
        self._idle: list[_Connection] = []
        self._calls = asyncio.Semaphore(MAXIMAL_CALLS)
        self._is_closed = False

    async def call(
        self, method: str, more: str = "", *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> HttpAnswer:
        """`more` goes on where the URL ends. Raises HttpError."""
        given = {"Host": self._host(), "Accept": "application/json", "User-Agent": "Posthouse", **(headers or {})}
        if self.url.credentials:
            given.setdefault("Authorization", self.url.credentials)
        if body or method == "POST":
            given["Content-Length"] = str(len(body))
        try:
            request = h11.Request(method=method, target=self.url.target + more, headers=list(given.items()))
            async with asyncio.timeout(self._timeout_s), self._calls:
                return await self._call(request, body)
        except TimeoutError as error:
            raise HttpError(f"{self.url.shown()}: no answer within {self._timeout_s:g} seconds") from error
        except (OSError, h11.ProtocolError, ValueError) as error:
            raise HttpError(f"{self.url.shown()}: {getattr(error, 'strerror', None) or error}") from error

    def close(self) -> None:
        self._is_closed = True
        for one in self._idle:
            one.writer.transport.abort()
        self._idle.clear()

    def _host(self) -> str:
        host = f"[{self.url.host}]" if ":" in self.url.host else self.url.host
        return f"{host}:{self.url.port}"

    async def _call(self, request: h11.Request, body: bytes) -> HttpAnswer:
        while self._idle:
            kept = self._idle.pop()
            try:
                return await self._on(kept, request, body)
            except (OSError, h11.ProtocolError):
                # Closed while nobody looked: unless it has begun to answer, it has not taken the question.
                if kept.has_heard:
                    raise
        reader, writer = await asyncio.open_connection(
            self.url.host, self.url.port, ssl=self._context, limit=READ_OCTETS
        )
        return await self._on(_Connection(reader, writer), request, body)

    async def _on(self, connection: _Connection, request: h11.Request, body: bytes) -> HttpAnswer:
        connection.has_heard = False
        try:
            protocol = connection.protocol
            connection.writer.write(protocol.send(request) or b"")
            connection.writer.write((protocol.send(h11.Data(body)) or b"") + (protocol.send(h11.EndOfMessage()) or b""))
            await connection.writer.drain()
            status, parts, octets = 0, list[bytes](), 0
            while True:
                event = protocol.next_event()
                if event is h11.NEED_DATA:
                    data = await connection.reader.read(READ_OCTETS)
                    connection.has_heard = connection.has_heard or bool(data)
                    protocol.receive_data(data)
                elif isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    parts.append(bytes(event.data))
                    octets += len(event.data)
                    if octets > MAXIMAL_ANSWER_OCTETS:
                        raise ValueError(f"the answer is longer than {MAXIMAL_ANSWER_OCTETS} octets")
                elif isinstance(event, h11.EndOfMessage):
                    break
                elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                    raise ConnectionResetError("the server closed the connection without an answer")
        except BaseException:
            connection.writer.transport.abort()
            raise
        self._keep(connection)
        return HttpAnswer(status, b"".join(parts))

    def _keep(self, connection: _Connection) -> None:
        try:
            connection.protocol.start_next_cycle()
        except h11.ProtocolError:
            connection.writer.transport.abort()
            return
        if self._is_closed or len(self._idle) >= KEPT_CONNECTIONS or connection.reader.at_eof():
            connection.writer.transport.abort()
        else:
            self._idle.append(connection)
