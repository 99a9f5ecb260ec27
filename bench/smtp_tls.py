"""A client that sends message after message over STARTTLS: smtp-source speaks no TLS."""

import socket
import ssl

from bench.server import LOOPBACK

_TIMEOUT_S = 60.0


class Session:
    """One connection, encrypted when the constructor returns. Blocking; raises OSError for an unexpected answer."""

    def __init__(self, port: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection((LOOPBACK, port), _TIMEOUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock: socket.socket = plain
        self._expect(b"2")
        self._ask(b"EHLO bench.example\r\n", b"2")
        self._ask(b"STARTTLS\r\n", b"2")
        self._sock = context.wrap_socket(plain)
        self._ask(b"EHLO bench.example\r\n", b"2")

    def send(self, recipient: bytes, body: bytes) -> None:
        """`body` ends with the final dot."""
        self._ask(b"MAIL FROM:<sender@mail.example.test>\r\n", b"2")
        self._ask(b"RCPT TO:<%s>\r\n" % recipient, b"2")
        self._ask(b"DATA\r\n", b"3")
        self._ask(body, b"2")

    def close(self) -> None:
        self._sock.close()

    def _ask(self, line: bytes, status: bytes) -> None:
        self._sock.sendall(line)
        self._expect(status)

    def _expect(self, status: bytes) -> None:
        answer = b""
        while not answer.endswith(b"\r\n") or answer[answer.rfind(b"\r\n", 0, -2) + 2 :][3:4] == b"-":
            part = self._sock.recv(65536)
            if not part:
                raise ConnectionError(f"closed after {answer!r}")
            answer += part
        if not answer.startswith(status):
            raise ConnectionError(f"{status!r} was expected: {answer!r}")
