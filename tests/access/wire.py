"""A client's end of a session: what it says goes in as octets, what it hears comes out as lines.

The session is driven by a real event loop; only the socket is left out, so that a test decides where the octets are
cut and when the client reads.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

from posthouse.access.conversation import Conversation, Pace
from posthouse.access.imap.options import ImapOptions
from posthouse.access.imap.session import ImapSession
from posthouse.access.opening import Opening
from posthouse.access.pop3.options import Pop3Options
from posthouse.access.pop3.session import Pop3Session
from posthouse.protocol.imap.parser import ReaderLimits
from posthouse.store.interface import Store

FAST = Pace(slice_s=0.001)


class Channel(asyncio.Transport):
    """What asyncio gives a protocol, kept in memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.output = bytearray()
        self.protocol: Conversation | None = None
        self.closed = False
        self.reading = True
        self.high_water = 0
        """Octets the client lets pile up before writing pauses; 0 is no limit."""

    def write(self, data: Any) -> None:
        assert not self.closed
        self.output += data
        if self.high_water and len(self.output) > self.high_water and self.protocol is not None:
            self.protocol.pause_writing()

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            assert self.protocol is not None
            self.loop.call_soon(self.protocol.connection_lost, None)

    abort = close


PATIENCE_S = 30.0
MANY_TURNS = 20_000
"""Turns of the loop after which the session is not computing but waiting for something outside."""


class Wire:
    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[..., Conversation]) -> None:
        self.loop = loop
        self.errors: list[BaseException] = []
        self.closed = False
        self.channel = Channel(loop)
        self.session: Any = make(on_closed=self._on_closed, on_error=lambda error, _text: self.errors.append(error))
        self.channel.protocol = self.session
        self.loop.call_soon(self.session.connection_made, self.channel)
        self.settle()

    def _on_closed(self, _session: Conversation) -> None:
        assert not self.closed, "told twice"
        self.closed = True

    def settle(self, at_most: int | None = None) -> None:
        """Let the loop run until the session has nothing to do (it may wait for a disk), or for `at_most` turns."""

        async def quiet() -> None:
            give_up = self.loop.time() + PATIENCE_S
            turns = 0
            while self.loop.time() < give_up and turns != at_most:
                turns += 1
                await asyncio.sleep(0 if turns < MANY_TURNS else 0.001)
                if not self.session.busy and not self.session._scheduled:
                    return

        self.loop.run_until_complete(quiet())
        self.loop.run_until_complete(asyncio.sleep(0))

    def send(self, octets: bytes) -> bytes:
        """Octets as they are; what came back since the last time."""
        if not self.channel.closed:
            self.loop.call_soon(self.session.data_received, octets)
        self.settle()
        return self.take()

    def take(self) -> bytes:
        heard = bytes(self.channel.output)
        self.channel.output.clear()
        return heard

    def hear(self) -> list[str]:
        self.settle()
        return lines(self.take())

    def hang_up(self) -> None:
        self.channel.close()
        self.settle()


class ImapWire(Wire):
    def __init__(self, loop: asyncio.AbstractEventLoop, store: Store, options: ImapOptions | None = None) -> None:
        self.store = store
        chosen = options or ImapOptions(pace=FAST, limits=ReaderLimits(message=1 << 20))
        super().__init__(loop, lambda **hooks: ImapSession(store, Opening("u@example.com", tag="t"), chosen, **hooks))
        self.greeting = self.hear()

    def say(self, command: str | bytes) -> list[str]:
        """One command; the lines of its answer, the last one with its tag cut off."""
        octets = command if isinstance(command, bytes) else command.encode("latin-1")
        heard = lines(self.send(b"x " + octets + b"\r\n"))
        assert not self.errors, self.errors
        assert heard
        assert heard[-1].startswith("x "), heard
        return [*heard[:-1], heard[-1][2:]]


class Pop3Wire(Wire):
    def __init__(self, loop: asyncio.AbstractEventLoop, store: Store, options: Pop3Options | None = None) -> None:
        chosen = options or Pop3Options(pace=FAST)
        super().__init__(loop, lambda **hooks: Pop3Session(store, Opening("u@example.com", tag="t"), chosen, **hooks))
        self.greeting = self.hear()

    def say(self, command: str) -> list[str]:
        heard = lines(self.send(command.encode("latin-1") + b"\r\n"))
        assert not self.errors, self.errors
        return heard


_LITERAL = re.compile(rb"\{(\d+)\}$")


def lines(octets: bytes) -> list[str]:
    """Responses as text, each with the literals in it; every octet must belong to one."""
    found: list[str] = []
    position = 0
    while position < len(octets):
        start = position
        while True:
            end = octets.index(b"\r\n", position)
            literal = _LITERAL.search(octets[position:end])
            position = end + 2
            if literal is None or octets.startswith(b"+", start):
                break
            position += int(literal[1])
        found.append(octets[start : position - 2].decode("latin-1"))
    return found
