"""A raw IMAP client that only counts octets, so that the client does not become what is measured."""

import select
import socket
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from bench.server import LOOPBACK, PASSWORD

TIMEOUT_S = 120.0
_TAIL = 4096


class Refused(Exception):
    """The server did not answer OK."""


class Connection:
    """One session, blocking."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection((LOOPBACK, port), TIMEOUT_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(1 << 20)
        self._view = memoryview(self._buffer)
        self._number = 0
        self.octets = 0
        self._until(b"* ")

    def login(self, user: str) -> None:
        self.command(f'LOGIN "{user}" "{PASSWORD}"')

    def command(self, words: str) -> bytes:
        """Returns the tagged line. Raises Refused."""
        self._number += 1
        tag = b"Zq%dx " % self._number
        self._sock.sendall(tag + words.encode() + b"\r\n")
        return self._checked(tag, words)

    def append(self, mailbox: str, message: bytes) -> None:
        self._number += 1
        tag = b"Zq%dx " % self._number
        self._sock.sendall(b'%sAPPEND "%s" {%d+}\r\n%s\r\n' % (tag, mailbox.encode(), len(message), message))
        self._checked(tag, "APPEND")

    def idle(self) -> None:
        self._sock.sendall(b"i IDLE\r\n")
        self._until(b"+")

    def close(self) -> None:
        self._sock.close()

    def _checked(self, tag: bytes, words: str) -> bytes:
        line = self._until(tag)
        if not line.startswith(tag + b"OK"):
            raise Refused(f"{words}: {line!r}")
        return line

    def _until(self, prefix: bytes) -> bytes:
        tail = b""
        self.octets = 0
        while True:
            count = self._sock.recv_into(self._buffer)
            if not count:
                raise Refused(f"closed: {tail[-200:]!r}")
            self.octets += count
            tail = (tail + self._view[max(0, count - _TAIL) : count].tobytes())[-_TAIL:]
            if tail.endswith(b"\r\n"):
                line = tail[tail.rfind(b"\r\n", 0, -2) + 2 if b"\r\n" in tail[:-2] else 0 :]
                if line.startswith(prefix):
                    return line


Dialogue = Generator[tuple[bytes, bytes] | None, bytes, None]
"""Yields (what to send, how the last line of the answer begins), or None for a new connection."""


@dataclass
class _Client:
    sock: socket.socket
    dialogue: Dialogue
    prefix: bytes = b""
    received: bytes = b""


def crowd(port: int, dialogues: list[Dialogue], limit_s: float = TIMEOUT_S) -> None:
    """All dialogues at once, from one thread. Raises Refused if a connection is closed early, or TimeoutError."""
    poll = select.epoll()
    clients: dict[int, _Client] = {}

    def connect(dialogue: Dialogue) -> _Client:
        # Not create_connection: looking up the address costs as much as a login.
        sock = socket.socket()
        sock.settimeout(TIMEOUT_S)
        sock.connect((LOOPBACK, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        clients[sock.fileno()] = client = _Client(sock, dialogue)
        poll.register(sock.fileno(), select.EPOLLIN)
        return client

    def disconnect(client: _Client) -> None:
        del clients[client.sock.fileno()]
        poll.unregister(client.sock.fileno())
        client.sock.close()

    def step(client: _Client, answer: bytes | None) -> None:
        try:
            wanted = next(client.dialogue) if answer is None else client.dialogue.send(answer)
            if wanted is None:
                disconnect(client)
                client = connect(client.dialogue)
                wanted = next(client.dialogue)
        except StopIteration:
            disconnect(client)
            return
        assert wanted is not None
        data, client.prefix = wanted
        client.received = b""
        if data:
            client.sock.sendall(data)

    for dialogue in dialogues:
        step(connect(dialogue), None)
    give_up = time.monotonic() + limit_s
    try:
        while clients:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{len(clients)} clients still wait")
            for descriptor, _ in poll.poll(1):
                client = clients[descriptor]
                data = client.sock.recv(1 << 18)
                if not data:
                    raise Refused(f"closed: {client.received[-200:]!r}")
                client.received = (client.received + data)[-65536:]
                if _ends_with(client.received, client.prefix):
                    step(client, client.received)
    finally:
        for client in list(clients.values()):
            client.sock.close()
        poll.close()


def _ends_with(received: bytes, prefix: bytes) -> bool:
    if not received.endswith(b"\r\n"):
        return False
    start = received.rfind(b"\r\n", 0, -2)
    return received[start + 2 if start >= 0 else 0 :].startswith(prefix)


def logins(users: list[str], take: Callable[[], bool]) -> Dialogue:
    """Connect, LOGIN, LOGOUT, again while `take()`."""
    first, at = True, 0
    while take():
        if not first:
            yield None
        first = False
        user = users[at % len(users)].encode()
        at += 1
        yield b"", b"* "
        answer = yield b'l LOGIN "%s" "%s"\r\n' % (user, PASSWORD.encode()), b"l "
        if b"l OK" not in answer:
            raise Refused(repr(answer))
        yield b"x LOGOUT\r\n", b"x "


def appends(user: str, message: bytes, take: Callable[[], bool]) -> Dialogue:
    """One session that appends while `take()`."""
    yield b"", b"* "
    yield b'l LOGIN "%s" "%s"\r\n' % (user.encode(), PASSWORD.encode()), b"l "
    while take():
        answer = yield b'a APPEND "INBOX" {%d+}\r\n%s\r\n' % (len(message), message), b"a "
        if b"a OK" not in answer:
            raise Refused(repr(answer))
    yield b"x LOGOUT\r\n", b"x "
