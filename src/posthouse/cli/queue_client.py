"""Questions of a command to the queue or another process, over a blocking socket: no loop is started for one question.

The frames are those of `runtime.ipc`: length, sequence number, kind, number of descriptors, then msgpack.
"""

import socket
import struct
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from posthouse.core.reply import PermFail, TempFail
from posthouse.runtime.schema import Failure, Record, Request

R = TypeVar("R", bound=Record)

_HEADER: Final = struct.Struct(">IIBB")
_REQUEST: Final = 1
TIMEOUT_S: Final = 60.0


class NotRunning(Exception):
    """Nobody answers at the socket: the system is stopped, or this user may not connect."""

    def __init__(self, path: str, error: OSError) -> None:
        super().__init__(f"{path}: {error.strerror}")
        self.is_forbidden = isinstance(error, PermissionError)


def command_socket(run_directory: str, endpoint: str, server: str = "queue", worker: int = 0) -> str:
    """Where commands reach a process: "show" of the queue for everybody, "admin" for root."""
    return f"{run_directory}/{server}.{worker}/{endpoint}.cli"


class QueueClient:
    """One connection; use as a context manager."""

    def __init__(self, path: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(TIMEOUT_S)
        self._buffer = b""
        self._sequence = 0
        try:
            self._sock.connect(path)
        except OSError as error:
            self._sock.close()
            raise NotRunning(path, error) from error

    def __enter__(self) -> "QueueClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def call(self, request: Request, expect: type[R], descriptors: Sequence[int] = ()) -> R:
        """Raises TempFail, PermFail, or ConnectionError if the process went away."""
        body = msgspec.msgpack.encode(request)
        self._sequence += 1
        frame = _HEADER.pack(len(body), self._sequence, _REQUEST, len(descriptors)) + body
        if descriptors:
            sent = socket.send_fds(self._sock, [frame], list(descriptors))
            frame = frame[sent:]
        self._sock.sendall(frame)
        length = _HEADER.unpack(self._read(_HEADER.size))[0]
        kinds: Any = expect | Failure  # a union made at run time has no static type
        reply: R | Failure = msgspec.msgpack.decode(self._read(length), type=kinds)
        if isinstance(reply, Failure):
            raise (TempFail if reply.reply.code < 500 else PermFail)(reply.reply)
        return reply

    def _read(self, octets: int) -> bytes:
        while len(self._buffer) < octets:
            data = self._sock.recv(256 * 1024)
            if not data:
                raise ConnectionError("the process closed the connection")
            self._buffer += data
        data, self._buffer = self._buffer[:octets], self._buffer[octets:]
        return data
