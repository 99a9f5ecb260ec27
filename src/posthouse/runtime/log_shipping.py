"""How log lines leave a process: collected in a LogBuffer, sent to control.

`LogShipper` is for processes with an event loop: one frame for all lines of a moment, sent by every process at the same
moment, so that control wakes up once for all of them and can put them in order. Warnings, and whatever stands before
them, go at once: their process may be about to die. Nothing is lost while control is being restarted.
`LogPipe` is for master, and for a child that dies before it has a loop: plain non-blocking writes.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from posthouse.core.logline import Level, LogLine
from posthouse.runtime.ipc import Connection, Peer, encode_note
from posthouse.runtime.logging import LogBuffer

SHIP_INTERVAL_S: Final = 0.02
"""How long a line may wait; a process that is killed takes no more than this with it."""
SHIP_LINES: Final = 500
"""So many lines do not wait for the others."""
_RETRY_S: Final = 0.2
_FAREWELL_S: Final = 1.0
"""How long a process that ends tries to get rid of its last lines."""


class LogShipper:
    """`emit` may be called from any thread and before the loop runs; it never blocks and never raises."""

    def __init__(self, buffer: LogBuffer) -> None:
        self._buffer = buffer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._peer: Peer | None = None
        self._scheduled = False
        self._urgent = False

    def emit(self, line: LogLine) -> None:
        level = self._buffer.emit(line)
        if self._loop is None or self._urgent:
            return
        if level <= Level.WARNING or len(self._buffer) >= SHIP_LINES:
            self._urgent = self._scheduled = True
            if threading.get_ident() == self._thread:
                self._loop.call_soon(self._ship)
            else:
                self._from_thread(self._ship)
        elif not self._scheduled:
            self._scheduled = True
            if threading.get_ident() == self._thread:
                self._ship_later()
            else:
                self._from_thread(self._ship_later)

    def _from_thread(self, work: Callable[[], None]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: the last lines go by `finish`
            self._loop.call_soon_threadsafe(work)

    def _ship_later(self) -> None:
        assert self._loop is not None
        # The clock is the machine's: multiples of the interval are the same moments in every process.
        self._loop.call_later(SHIP_INTERVAL_S - time.monotonic() % SHIP_INTERVAL_S, self._ship)

    def start(self, peer: Peer) -> None:
        """In the loop's thread, once it exists."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._peer = peer
        self._scheduled = True
        self._ship()

    def _ship(self) -> None:
        self._scheduled = self._urgent = False
        if not len(self._buffer) or self._peer is None or self._loop is None:
            return
        connection = self._peer.connection
        if connection is None:
            self._scheduled = True
            self._loop.create_task(self._connect())  # the peer holds the connecting task
            return
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        while len(self._buffer):
            connection.notify(self._buffer.take())

    async def _connect(self) -> None:
        assert self._peer is not None
        assert self._loop is not None
        try:
            await self._peer.connect()
        except Exception:  # whatever it is, the lines wait in the buffer
            self._loop.call_later(_RETRY_S, self._ship)
            return
        self._ship()

    async def finish(self) -> None:
        """The last lines, before the process ends."""
        if self._peer is None:
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_FAREWELL_S):
                connection = await self._peer.connect()
                self._send(connection)
                connection.close()
        self._peer.close()


class LogPipe:
    """Lines over one non-blocking socket without an event loop. `flush` sends what the kernel takes."""

    def __init__(self, path: str, buffer: LogBuffer) -> None:
        self._path = path
        self._buffer = buffer
        self._sock: socket.socket | None = None
        self._frame = b""
        self._sent = 0

    def emit(self, line: LogLine) -> None:
        self._buffer.emit(line)
        self.flush()

    @property
    def is_empty(self) -> bool:
        return not len(self._buffer) and not self._frame

    def flush(self) -> None:
        while not self.is_empty:
            if self._sock is None and not self._connect():
                return
            assert self._sock is not None
            if not self._frame:
                self._frame = encode_note(self._buffer.take(100))
            try:
                self._sent += self._sock.send(self._frame[self._sent :])
            except BlockingIOError:
                return
            except OSError:
                # control died with a frame half sent: its successor gets the whole frame.
                self.close()
                return
            if self._sent == len(self._frame):
                self._frame, self._sent = b"", 0

    def finish(self, limit_s: float = _FAREWELL_S, sleep: Callable[[float], None] = time.sleep) -> None:
        give_up = time.monotonic() + limit_s
        while not self.is_empty and time.monotonic() < give_up:
            self.flush()
            if not self.is_empty:
                sleep(0.01)
        self.close()

    def _connect(self) -> bool:
        self._sent = 0
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            return False
        self._sock = sock
        return True

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
