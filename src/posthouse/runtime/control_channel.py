"""What master and each of its children tell each other, over a socket pair made before the fork.

Frame: length (u32, big-endian), then msgpack of one message; descriptors travel with the first octet of their frame.
Neither side ever waits for the other: what the kernel does not take at once stays in a buffer. The end of the channel
is the end of the other process.
"""

import contextlib
import os
import socket
import struct
from collections import deque
from typing import Final

import msgspec

from posthouse.config.configuration import Packed

_LENGTH: Final = struct.Struct(">I")
MAX_FRAME_OCTETS: Final = 16 * 1024 * 1024
"""A configuration is far smaller; more is a broken child."""
MAX_DESCRIPTORS: Final = 64
_READ_OCTETS: Final = 64 * 1024


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Base of all messages."""


class Reload(Message, frozen=True):
    """Master: take this configuration in place. `opened` are files that master has opened for this process, because
    it could not (one descriptor per path, in this order)."""

    configuration: Packed
    opened: tuple[str, ...] = ()


class Drain(Message, frozen=True):
    """Master: accept nothing new, let sessions end for this long, then stop."""

    limit_s: float


class Stop(Message, frozen=True):
    """Master: stop in order; after `limit_s` you are killed."""

    limit_s: float


class LogFiles(Message, frozen=True):
    """Master to control: the log files, opened again (one descriptor per path, in this order)."""

    paths: tuple[str, ...]


class Ready(Message, frozen=True):
    """Child: `start()` has returned. `jail` says how far the jail holds, for the log."""

    jail: str


class Failed(Message, frozen=True):
    """Child: it ends because of this."""

    reason: str


class Restart(Message, frozen=True):
    """Child: it stops in order because of this and wants to be started again."""

    reason: str


class OpenLogFiles(Message, frozen=True):
    """control to master: the log files were moved away; open them again."""


class ConnectAuthServer(Message, frozen=True):
    """auth to master: connect to the socket of smtpd_sasl_path, which belongs to others."""


class AuthServer(Message, frozen=True):
    """Master to auth: the connection (one descriptor), or why there is none."""

    error: str = ""


FromMaster = Reload | Drain | Stop | LogFiles | AuthServer
FromChild = Ready | Failed | Restart | OpenLogFiles | ConnectAuthServer
_decoder: Final = msgspec.msgpack.Decoder(FromMaster | FromChild)
_encoder: Final = msgspec.msgpack.Encoder()


class ChannelClosed(Exception):
    """The other side is gone, or sent what is no message."""


class ControlChannel:
    """One end. The owner of the event loop calls `receive` when it is readable and `flush` when it is writable."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._input = bytearray()
        self._descriptors: deque[int] = deque()
        self._output: deque[tuple[bytes, tuple[int, ...]]] = deque()

    @staticmethod
    def pair() -> tuple["ControlChannel", "ControlChannel"]:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return ControlChannel(one), ControlChannel(other)

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def has_output(self) -> bool:
        return bool(self._output)

    def send(self, message: FromMaster | FromChild, descriptors: tuple[int, ...] = ()) -> None:
        """Never blocks; `receive` notices a peer that is gone. Descriptors are duplicated and stay the caller's."""
        body = _encoder.encode(message)
        self._output.append((_LENGTH.pack(len(body)) + body, tuple(os.dup(one) for one in descriptors)))
        self.flush()

    def flush(self) -> None:
        while self._output:
            frame, descriptors = self._output[0]
            try:
                if descriptors:
                    sent = socket.send_fds(self._sock, [frame], list(descriptors))
                else:
                    sent = self._sock.send(frame)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._drop_output()
                return
            for one in descriptors:
                os.close(one)
            if sent < len(frame):
                self._output[0] = (frame[sent:], ())
            else:
                self._output.popleft()

    def receive(self) -> list[FromMaster | FromChild]:
        """All messages that are there; raises ChannelClosed."""
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._sock, _READ_OCTETS, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            raise ChannelClosed(error.strerror) from error
        self._descriptors.extend(descriptors)
        if not data:
            raise ChannelClosed("closed")
        self._input += data
        messages: list[FromMaster | FromChild] = []
        while len(self._input) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._input)
            if length > MAX_FRAME_OCTETS:
                raise ChannelClosed(f"a frame of {length} octets")
            end = _LENGTH.size + length
            if len(self._input) < end:
                break
            try:
                messages.append(_decoder.decode(memoryview(bytes(self._input[_LENGTH.size : end]))))
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # ValueError: text that is not UTF-8
                raise ChannelClosed(f"no message: {error}") from error
            del self._input[:end]
        return messages

    def take_descriptors(self, count: int) -> list[int]:
        return [self._descriptors.popleft() for _ in range(min(count, len(self._descriptors)))]

    def _drop_output(self) -> None:
        for _, descriptors in self._output:
            for one in descriptors:
                with contextlib.suppress(OSError):
                    os.close(one)
        self._output.clear()

    def close(self) -> None:
        self._drop_output()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._sock.close()
