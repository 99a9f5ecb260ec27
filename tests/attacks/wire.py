"""What attackers hold in their hands: sockets to a running system, and a peer that records octets."""

import socket
import ssl
import threading
from typing import Self

PATIENCE_S = 10.0
PAUSE_S = 0.3
"""Silence of this length means that nothing more comes."""


class Wire:
    """One connection. Octets go out as they are given; answers come as octets."""

    def __init__(self, endpoint: tuple[str, int], *, source: str = "127.0.0.1") -> None:
        self.sock: socket.socket = socket.create_connection(endpoint, PATIENCE_S, (source, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, octets: bytes) -> Self:
        self.sock.settimeout(PATIENCE_S)
        self.sock.sendall(octets)
        return self

    def line(self) -> bytes:
        """One line with its end; what is there if the peer closes."""
        self.sock.settimeout(PATIENCE_S)
        found = b""
        while not found.endswith(b"\n"):
            one = self.sock.recv(1)
            if not one:
                break
            found += one
        return found

    def reply(self) -> bytes:
        """One SMTP reply, all its lines; empty if the peer closes first."""
        found = line = self.line()
        while line[3:4] == b"-":
            line = self.line()
            found += line
        return found

    def tagged(self, tag: bytes) -> bytes:
        """IMAP: everything up to the line that begins with the tag, or until the peer closes."""
        found = b""
        while True:
            line = self.line()
            found += line
            if not line or line.startswith(tag + b" "):
                return found

    def rest(self, pause_s: float = PAUSE_S) -> bytes:
        """What comes before a pause, or before the end."""
        self.sock.settimeout(pause_s)
        found = b""
        try:
            while part := self.sock.recv(65536):
                found += part
        except (TimeoutError, ConnectionResetError):
            pass
        return found

    def is_closed(self) -> bool:
        self.sock.settimeout(PATIENCE_S)
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    def encrypt(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock.settimeout(PATIENCE_S)
        self.sock = context.wrap_socket(self.sock)

    def ehlo(self) -> bytes:
        """After the greeting."""
        self.reply()
        return self.send(b"EHLO attacker.example\r\n").reply()


class Recorder:
    """An SMTP server that accepts everything and keeps the octets of each connection."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.streams: list[bytearray] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            stream = bytearray()
            self.streams.append(stream)
            threading.Thread(target=self._serve, args=(sock, stream), daemon=True).start()

    @staticmethod
    def _serve(sock: socket.socket, stream: bytearray) -> None:
        with sock:
            sock.settimeout(30)
            sock.sendall(b"220 recorder ESMTP\r\n")
            is_content, seen = False, 0
            while True:
                try:
                    part = sock.recv(65536)
                except OSError:
                    return
                if not part:
                    return
                stream += part
                while True:
                    if is_content:
                        end = stream.find(b"\r\n.\r\n", max(0, seen - 2))
                        if end < 0:
                            break
                        is_content, seen = False, end + 5
                        sock.sendall(b"250 2.0.0 kept\r\n")
                        continue
                    end = stream.find(b"\r\n", seen)
                    if end < 0:
                        break
                    verb = bytes(stream[seen:end]).split(b" ")[0].upper()
                    seen = end + 2
                    is_content = verb == b"DATA"
                    answer = b"354 go on\r\n" if is_content else b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n"
                    sock.sendall(answer)

    def contents(self) -> list[bytes]:
        """Of each message: what came behind DATA up to and with the end that the standard knows."""
        found = []
        for stream in self.streams:
            rest = bytes(stream)
            while (start := rest.find(b"DATA\r\n")) >= 0 and (end := rest.find(b"\r\n.\r\n", start)) >= 0:
                found.append(rest[start + 6 : end + 5])
                rest = rest[end + 5 :]
        return found

    def close(self) -> None:
        self._listener.close()
