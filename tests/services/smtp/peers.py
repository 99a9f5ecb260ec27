"""Servers to deliver to: smtp-sink, and one in this process that says what a test wants."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest

PATIENCE_S = 20.0


def program(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing; tests/debian-packages.txt must name its package")
        pytest.skip(f"{name} is not installed")
    return path


def free_port(family: socket.AddressFamily = socket.AF_INET, host: str = "127.0.0.1") -> int:
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"{process.args!r} does not listen")
        time.sleep(0.02)


@contextlib.contextmanager
def sink(*options: str, backlog: int = 100) -> Iterator[int]:
    """Postfix's smtp-sink as long as the block lasts; gives its port."""
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([program("smtp-sink"), *user, *options, f"127.0.0.1:{port}", str(backlog)])
    try:
        wait_for_port(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


Script = Callable[[str, "Scripted"], str | None]


class Scripted(asyncio.Protocol):
    """A line-wise SMTP server. `script` gets each command and gives the answer (without CRLF at the end, "\\n" between
    lines); None closes the connection. Content ends up in `server.messages`."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.buffer = b""
        self.in_data = False
        self.held = False
        """Commands wait until a TLS handshake is over."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.server.connections += 1
        self.server.open.append(self)
        self._answer(self.server.script("", self))

    def _answer(self, text: str | None) -> None:
        if text is None:
            self.transport.close()
        elif text:
            self.transport.write(text.replace("\n", "\r\n").encode() + b"\r\n")

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while not self.held:
            if self.in_data:
                if self.buffer.startswith(b".\r\n"):
                    self.buffer = self.buffer[3:]
                else:
                    end = self.buffer.find(b"\r\n.\r\n")
                    if end < 0:
                        return
                    self.server.messages.append(self.buffer[: end + 2])
                    self.buffer = self.buffer[end + 5 :]
                self.in_data = False
                self._answer(self.server.script(".", self))
                continue
            line, ending, rest = self.buffer.partition(b"\r\n")
            if not ending:
                return
            self.buffer = rest
            text = line.decode()
            self.server.commands.append(text)
            answer = self.server.script(text, self)
            self.in_data = answer is not None and answer.startswith("354")
            self._answer(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.open.remove(self)


class Server:
    def __init__(self, script: Script) -> None:
        self.script = script
        self.connections = 0
        self.commands: list[str] = []
        self.messages: list[bytes] = []
        self.open: list[Scripted] = []

    async def listen(self, host: str = "127.0.0.1", port: int = 0) -> int:
        self._server = await asyncio.get_running_loop().create_server(lambda: Scripted(self), host, port)
        found: int = self._server.sockets[0].getsockname()[1]
        self.port = found
        return found

    async def close(self) -> None:
        self._server.close()
        for one in tuple(self.open):
            one.transport.abort()
        await asyncio.sleep(0)


def usual(command: str, _: Scripted, **answers: str | None) -> str | None:
    """What a decent server answers; `answers` by verb ("greeting", "EHLO", "MAIL", "dot" …) override it."""
    verb = (
        command.split(" ", maxsplit=1)[0].split(":", maxsplit=1)[0].upper()
        if command not in ("", ".")
        else {"": "greeting", ".": "dot"}[command]
    )
    if verb in answers:
        return answers[verb]
    return {
        "greeting": "220 mx.test ESMTP",
        "EHLO": "250-mx.test\n250-PIPELINING\n250 8BITMIME",
        "LHLO": "250-mx.test\n250 PIPELINING",
        "DATA": "354 go ahead",
        "dot": "250 2.0.0 Ok: queued as TEST",
        "QUIT": "221 2.0.0 Bye",
    }.get(verb, "250 2.1.0 Ok")


def server(**answers: str | None) -> Server:
    return Server(lambda command, connection: usual(command, connection, **answers))
