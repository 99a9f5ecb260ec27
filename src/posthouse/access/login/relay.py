"""A TLS session after login: octets go between the client's TLS connection and the mailbox process, unseen.

The mailbox process holds the other end of a socket pair. Each direction stops reading when the other side does not take
what is there, so that at most `buffer_limit` octets wait per direction.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

_READ_OCTETS: Final = 8 * 1024
"""One TLS record. OpenSSL keeps a buffer of the largest one for as long as the session lives, a third larger."""


class Relay:
    """Owns `inner` from the start. `on_end` is called once, when the mailbox's side is closed; the client's transport
    is then closing (what the mailbox wrote last still goes out)."""

    def __init__(
        self,
        transport: asyncio.Transport,
        inner: socket.socket,
        buffer_limit: int,
        on_end: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._inner = inner
        self._buffer_limit = buffer_limit
        self._on_end = on_end
        self._to_mailbox = bytearray()
        self._is_reading_inner = False
        self._is_writing_inner = False
        self._is_reading_client = True
        self._is_over = False
        inner.setblocking(False)

    def begin(self) -> None:
        self._transport.set_write_buffer_limits(high=self._buffer_limit)
        self._read_inner()
        self._transport.resume_reading()

    # ── client to mailbox ──

    def client_data(self, data: bytes) -> None:
        if self._is_over:
            return
        if not self._to_mailbox:
            sent = self._send(data)
            if sent == len(data) or self._is_over:
                return
            data = data[sent:]
        self._to_mailbox += data
        if not self._is_writing_inner:
            self._is_writing_inner = True
            self._loop.add_writer(self._inner.fileno(), self._on_writable)
        if self._is_reading_client and len(self._to_mailbox) >= self._buffer_limit:
            self._is_reading_client = False
            self._transport.pause_reading()

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return self._inner.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            # The session is over. Its last words may still be in the socket.
            self._on_readable()
            self.end()
            return 0

    def _on_writable(self) -> None:
        sent = self._send(self._to_mailbox)
        if self._is_over:
            return
        del self._to_mailbox[:sent]
        if not self._to_mailbox:
            self._is_writing_inner = False
            self._loop.remove_writer(self._inner.fileno())
        if not self._is_reading_client and len(self._to_mailbox) < self._buffer_limit // 2:
            self._is_reading_client = True
            self._transport.resume_reading()

    # ── mailbox to client ──

    def _read_inner(self) -> None:
        if not self._is_over and not self._is_reading_inner:
            self._is_reading_inner = True
            self._loop.add_reader(self._inner.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        try:
            data = self._inner.recv(_READ_OCTETS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._transport.write(data)
        else:
            self.end()

    def client_is_slow(self) -> None:
        """pause_writing of the client's transport."""
        if self._is_reading_inner:
            self._is_reading_inner = False
            self._loop.remove_reader(self._inner.fileno())

    def client_is_ready(self) -> None:
        self._read_inner()

    # ── the end ──

    def end(self) -> None:
        """Either side is gone."""
        if self._is_over:
            return
        self._is_over = True
        if self._is_reading_inner:
            self._loop.remove_reader(self._inner.fileno())
        if self._is_writing_inner:
            self._loop.remove_writer(self._inner.fileno())
        self._inner.close()
        self._transport.close()
        self._on_end()
