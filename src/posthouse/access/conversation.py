"""What IMAP and POP3 sessions have in common: octets in and out, long work in slices, an orderly end.

A command is either answered at once or becomes *work*: a generator that yields None where the loop may see to others
and an awaitable where it must wait (for the flush). Work is driven from `data_received` as long as the client takes the
output and the slice lasts, and from the loop afterwards; there is no task except around an awaitable.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, cast

from posthouse.access.opening import Opening

Work = Generator[Awaitable[None] | None, None, None]

JOIN_OCTETS: Final = 65536
"""Output is collected up to this size and written at once; larger pieces are not copied again."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How one session shares the process with the others."""

    slice_s: float = 0.010
    """A long command gives way to other connections after this time."""
    input_limit: int = 262144
    """Octets that may wait behind a running command before reading pauses."""
    idle_limit_s: float = 1800.0
    """RFC 3501 s5.4: an inactivity timer must be at least 30 minutes. RFC 1939 s3 wants 10 for POP3."""


class Conversation(asyncio.Protocol, ABC):
    """One client after authentication. Subclasses read commands in `step` and answer with `write`."""

    def __init__(
        self,
        opening: Opening,
        pace: Pace,
        *,
        on_closed: Callable[[Any], None] | None = None,
        on_error: Callable[[BaseException, str], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.opening = opening
        self.end_reason = ""
        """Why it ended, for the log: "Logged out", "Connection closed", "Inactivity" …"""
        self.in_octets = 0
        self.out_octets = 0
        self.last_input_s = monotonic()
        self._pace = pace
        self._monotonic = monotonic
        self._on_closed = on_closed
        self._on_error = on_error
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._out: list[bytes] = []
        self._out_size = 0
        self._work: Work | None = None
        self._awaited: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        """What the awaitable raised: thrown into the work that waited for it."""
        self._scheduled = False
        self._running = False
        self._writing_paused = False
        self._reading_paused = False
        self._ending = False
        """No command is read any more."""
        self._lost = False

    # ── for subclasses ──────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def begin(self) -> None:
        """The connection stands: greet."""

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Keep what came in."""

    @abstractmethod
    def buffered(self) -> int:
        """Octets that came in and wait."""

    @abstractmethod
    def step(self) -> bool:
        """Take up one command, answer it or call `start`; False if there is none complete."""

    @abstractmethod
    def failed(self, error: Exception) -> None:
        """Work ended with this exception: answer the command."""

    @abstractmethod
    def released(self) -> None:
        """The session is over: let go of the store."""

    @abstractmethod
    def statistics_text(self) -> str:
        """The counters of the log line at the end."""

    @abstractmethod
    def sweep(self) -> None:
        """About every 30 seconds: time limits."""

    @abstractmethod
    def shutdown(self, text: str) -> None:
        """Say goodbye between two commands and close."""

    def write(self, data: bytes) -> None:
        if self._lost:
            return
        size = len(data)
        if size >= JOIN_OCTETS:
            self._push()
            self.out_octets += size
            if self._transport is not None:
                self._transport.write(data)
            return
        self._out.append(data)
        self._out_size += size
        if self._out_size >= JOIN_OCTETS:
            self._push()

    def start(self, work: Work) -> None:
        """Carry out long work; the next command waits until it ends."""
        self._work = work

    def end(self, reason: str) -> None:
        """Close when what was written has gone out."""
        if not self.end_reason:
            self.end_reason = reason
        self._ending = True

    def abort(self, reason: str) -> None:
        """Cut the connection: the client does not even read."""
        self.end(reason)
        if self._transport is not None:
            self._transport.abort()

    @property
    def stuck(self) -> bool:
        """The client does not take its output."""
        return self._writing_paused

    def report(self, error: BaseException, text: str) -> None:
        if self._on_error is not None:
            self._on_error(error, text)

    @property
    def busy(self) -> bool:
        """A command is being carried out."""
        return self._work is not None

    @property
    def lost(self) -> bool:
        return self._lost

    def kick(self) -> None:
        """Go on from the loop, soon."""
        if not self._scheduled and not self._lost and self._loop is not None:
            self._scheduled = True
            self._loop.call_soon(self._later)

    # ── asyncio.Protocol ────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self.begin()
        if self.opening.unread:
            self.feed(self.opening.unread)
        self._run()

    def data_received(self, data: bytes) -> None:
        self.last_input_s = self._monotonic()
        self.in_octets += len(data)
        if self._ending:
            return
        self.feed(data)
        self._run()

    def eof_received(self) -> None:
        return None

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self.kick()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._out.clear()
        self._out_size = 0
        if not self.end_reason:
            self.end_reason = "Connection closed" if exc is None else f"Connection closed: {exc}"
        self._ending = True
        if self._awaited is None:
            self._finish()

    # ── the driver ──────────────────────────────────────────────────────────────────────────────────────────────

    def _later(self) -> None:
        self._scheduled = False
        self._run()

    def _run(self) -> None:
        """Carry out commands until there are none, the slice is over, or the client must read first."""
        if self._running or self._lost or self._awaited is not None:
            self._mind_input()
            return
        self._running = True
        deadline = self._monotonic() + self._pace.slice_s
        try:
            while not self._writing_paused:
                if self._work is not None:
                    if not self._advance(self._work):
                        break
                elif self._ending or not self._step_guarded():
                    break
                if self._monotonic() >= deadline:
                    self.kick()
                    break
            self._push()
        finally:
            self._running = False
        if self._ending and self._work is None and self._transport is not None:
            self._transport.close()
        self._mind_input()

    def _step_guarded(self) -> bool:
        try:
            return self.step()
        except Exception as error:  # a bug must cost the client one command, not the session
            self._fail(error)
            return True

    def _fail(self, error: Exception) -> None:
        try:
            self.failed(error)
        except Exception as second:  # now it costs the session, still not the process
            self.report(second, "while answering a failed command")
            self.end("Internal error")

    def _advance(self, work: Work) -> bool:
        """One step of the work; False if it waits."""
        try:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                awaited = work.throw(failure)
            else:
                awaited = next(work)
        except StopIteration:
            self._work = None
            return True
        except Exception as error:  # as in _step_guarded
            self._work = None
            self._fail(error)
            return True
        if awaited is None:
            return True
        self._awaited = asyncio.ensure_future(awaited)
        self._awaited.add_done_callback(self._wait_over)
        return False

    def _wait_over(self, future: "asyncio.Future[None]") -> None:
        self._awaited = None
        self._failure = asyncio.CancelledError() if future.cancelled() else future.exception()
        if self._lost:
            if isinstance(self._failure, Exception):
                self.report(self._failure, "after the connection was lost")
            self._finish()
            return
        self._run()

    def _mind_input(self) -> None:
        transport = self._transport
        if transport is None or self._lost or transport.is_closing():
            return
        waiting = self._work is not None or self._writing_paused or self._scheduled
        if not self._reading_paused:
            if waiting and self.buffered() > self._pace.input_limit:
                self._reading_paused = True
                transport.pause_reading()
        elif not waiting or self.buffered() <= self._pace.input_limit // 2:
            self._reading_paused = False
            transport.resume_reading()

    def _push(self) -> None:
        if self._out:
            self.out_octets += self._out_size
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            if self._transport is not None:
                self._transport.write(data)

    def _finish(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            try:
                work.close()
            except Exception as error:  # what it still had to put in order failed
                self.report(error, "after the connection was lost")
        self.released()
        on_closed, self._on_closed = self._on_closed, None
        if on_closed is not None:
            on_closed(self)
