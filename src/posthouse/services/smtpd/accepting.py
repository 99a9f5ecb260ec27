"""Accepting connections ourselves, for listeners where TLS comes first.

asyncio's servers begin to read before anybody can say that the first octets are TLS; or they shake hands before anybody
has looked at who is there.
"""

import asyncio
import socket
from typing import Final

from posthouse.services.smtpd.house import House
from posthouse.services.smtpd.listening import Listening

_AT_ONCE: Final = 64
_PAUSE_S: Final = 1.0
"""Without descriptors or memory there is nothing to accept with; the client waits in the backlog."""


class Acceptor:
    """Stands where asyncio.Server stands elsewhere."""

    def __init__(self, house: House, listening: Listening, sock: socket.socket) -> None:
        self._house = house
        self._listening = listening
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        sock.setblocking(False)
        self._resume()

    def _resume(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._sock.fileno(), self._on_acceptable)

    def _on_acceptable(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._house.context.report(f"accept for {self._listening.name}", error)
                self._loop.remove_reader(self._sock.fileno())
                self._loop.call_later(_PAUSE_S, self._resume)
                return
            sock.setblocking(False)
            self._house.session(self._listening).accepted(sock)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
