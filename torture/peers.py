"""The other side: a server that counts what is relayed to it, and a name server that can be broken."""

import contextlib
import enum
import re
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import dns.message
import dns.rcode
import dns.rrset

SINK_HOST: Final = "127.0.0.2"
"""Not our own address: mail for a host that is ourselves would be a loop."""
DOMAIN: Final = "relay.test"
MARK: Final = re.compile(rb"^X-Mark: (\S+)\r?$", re.MULTILINE | re.IGNORECASE)
SUM: Final = re.compile(rb"^X-Sum: ([0-9a-f]+)\r?$", re.MULTILINE | re.IGNORECASE)
PATIENCE_S: Final = 30.0


@dataclass
class Copy:
    """One transaction that the sink got whole. `answered`: it said 250 (and the line was sent)."""

    mark: str
    at_s: float
    answered: bool


@dataclass
class SinkState:
    copies: list[Copy] = field(default_factory=list)
    bounces: list[bytes] = field(default_factory=list)
    """Messages without a sender: nothing here may bounce."""
    rude: float = 0.0
    """Share of final dots that are answered by closing the connection."""
    busy: bool = False
    """Greets with 421."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class _SinkHandler(socketserver.StreamRequestHandler):
    server: "Sink"

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.settimeout(PATIENCE_S)
            self._talk()

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")
        self.wfile.flush()

    def _talk(self) -> None:
        state = self.server.state
        if state.busy:
            self._say("421 4.3.2 too busy")
            return
        self._say("220 sink ESMTP")
        sender = b""
        while line := self.rfile.readline(4096):
            verb = line[:4].upper()
            if verb == b"QUIT":
                self._say("221 2.0.0 Bye")
                return
            if verb == b"EHLO":
                self._say("250-sink\r\n250-PIPELINING\r\n250 8BITMIME")
            elif verb == b"MAIL":
                sender = line[10:].split(b">")[0].strip(b"<")
                self._say("250 2.1.0 Ok")
            elif verb == b"DATA":
                self._say("354 go on")
                if not self._content(sender):
                    return
            else:
                self._say("250 2.0.0 Ok")

    def _content(self, sender: bytes) -> bool:
        lines = []
        while True:
            line = self.rfile.readline(1 << 20)
            if not line:
                return False
            if line == b".\r\n":
                break
            lines.append(line)
        content = b"".join(lines)
        state = self.server.state
        found = MARK.search(content.partition(b"\r\n\r\n")[0])
        with state.lock:
            is_rude = state.rude > 0 and self.server.next_share() < state.rude
            if not sender:
                state.bounces.append(content)
            elif found is not None:
                state.copies.append(Copy(found[1].decode(), time.monotonic(), not is_rude))
        if is_rude:
            return False
        self._say("250 2.0.0 Ok")
        return True


class Sink(socketserver.ThreadingTCPServer):
    """Counts; every answer can be withheld."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__((SINK_HOST, 0), _SinkHandler)
        self.state = SinkState()
        self._shares = 0
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def next_share(self) -> float:
        """0.0, 0.1 … 0.9, in turn: a share of rude answers without chance."""
        self._shares = (self._shares + 3) % 10
        return self._shares / 10

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Mood(enum.Enum):
    WELL = "well"
    SILENT = "silent"
    SERVFAIL = "servfail"
    GARBAGE = "garbage"


class NameServer:
    """Says where relay.test is, or misbehaves."""

    def __init__(self) -> None:
        self.mood = Mood.WELL
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, client = self._socket.recvfrom(4096)
                for answer in self._answers(data):
                    self._socket.sendto(answer, client)

    def _answers(self, data: bytes) -> Iterator[bytes]:
        if self.mood is Mood.SILENT:
            return
        if self.mood is Mood.GARBAGE:
            yield data[:2] + b"\xff" * 40
            return
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        question = query.question[0]
        text = question.to_text().split()
        if self.mood is Mood.SERVFAIL:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif text[0] == f"{DOMAIN}." and text[2] == "MX":
            response.answer.append(dns.rrset.from_text(question.name, 1, "IN", "MX", f"10 mx.{DOMAIN}."))
        elif text[0] == f"mx.{DOMAIN}." and text[2] == "A":
            response.answer.append(dns.rrset.from_text(question.name, 1, "IN", "A", SINK_HOST))
        yield response.to_wire()
