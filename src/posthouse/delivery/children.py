"""The parent's pool of children, by user and rights: one question at a time each, idle ones end after a while."""

import asyncio
import os
import socket
from collections import deque
from typing import Final

import msgspec

from posthouse.delivery.forker import Forker
from posthouse.delivery.protocol import INLINE_OCTETS, PACKET_OCTETS, Answers, Question, Spawn, answers, encoder


class ChildLost(Exception):
    """The child went away before it answered: what it did is unknown."""


class _Child:
    """One process. `ask` raises ChildLost."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[bytes] | None = None
        self.idle_timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock.fileno(), self._on_readable)
        self.is_closed = False

    async def ask(self, packet: bytes, descriptors: list[int]) -> Answers:
        self._answer = self._loop.create_future()
        try:
            if self.is_closed:
                raise ChildLost("it ended")
            # The socket's buffer is empty: one question at a time, and a packet always fits.
            socket.send_fds(self._sock, [packet], descriptors)
            answer: Answers = answers.decode(await self._answer)
            return answer
        except OSError as error:
            raise ChildLost(error.strerror or str(error)) from error
        finally:
            self._answer = None

    def _on_readable(self) -> None:
        try:
            packet = self._sock.recv(PACKET_OCTETS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            packet = b""
        if not packet:
            self.close()
        elif self._answer is not None and not self._answer.done():
            self._answer.set_result(packet)

    def close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        if self.idle_timer:
            self.idle_timer.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ChildLost("it ended"))


class Children:
    def __init__(self, forker: Forker, limit: int, idle_s: float) -> None:
        self._forker = forker
        self._limit = limit
        self._idle_s = idle_s
        self._idle: dict[Spawn, list[_Child]] = {}
        self._count = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def ask(self, who: Spawn, question: Question, descriptors: tuple[int, ...] = ()) -> Answers:
        """Ask a child with these rights. Raises ChildLost; OSError if no child can be made."""
        packet, own = _packed(question)
        child = await self._take(who)
        try:
            answer = await child.ask(packet, [own] if own is not None else list(descriptors))
        except BaseException:
            self._discard(child)
            raise
        finally:
            if own is not None:
                os.close(own)
        self._give_back(who, child)
        return answer

    async def _take(self, who: Spawn) -> _Child:
        while True:
            idle = self._idle.get(who)
            while idle:
                child = idle.pop()
                if child.idle_timer:
                    child.idle_timer.cancel()
                    child.idle_timer = None
                if not child.is_closed:
                    return child
                self._count -= 1
            if self._count >= self._limit:
                self._end_an_idle_one()
            if self._count < self._limit:
                self._count += 1
                try:
                    return _Child(self._forker.spawn(who))
                except OSError:
                    self._count -= 1
                    self._wake()
                    raise
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():
                    self._wake()  # it was our turn, and nobody takes it
                raise

    def _give_back(self, who: Spawn, child: _Child) -> None:
        if child.is_closed or who.may_gain_privileges or self._idle_s <= 0:
            self._discard(child)
            return
        self._idle.setdefault(who, []).append(child)
        child.idle_timer = asyncio.get_running_loop().call_later(self._idle_s, self._expire, who, child)
        self._wake()

    def _expire(self, who: Spawn, child: _Child) -> None:
        idle = self._idle.get(who, [])
        if child in idle:
            idle.remove(child)
            if not idle:
                del self._idle[who]
            self._discard(child)

    def _end_an_idle_one(self) -> None:
        for who, idle in self._idle.items():
            if idle:
                self._expire(who, idle[0])
                return

    def _discard(self, child: _Child) -> None:
        child.close()
        self._count -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def close(self) -> None:
        """Idle children end; those at work end when they have answered."""
        for idle in self._idle.values():
            for child in idle:
                child.close()
        self._count -= sum(map(len, self._idle.values()))
        self._idle.clear()
        self._forker.close()


_MEMORY_NAME: Final = "posthouse-message"


def _packed(question: Question) -> tuple[bytes, int | None]:
    """The packet; a message too large for one goes into memory shared by descriptor."""
    content: bytes = getattr(question, "content", b"")
    if len(content) <= INLINE_OCTETS:
        return encoder.encode(question), None
    descriptor = os.memfd_create(_MEMORY_NAME, os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    return encoder.encode(msgspec.structs.replace(question, content=b"")), descriptor
