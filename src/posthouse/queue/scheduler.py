"""Who is served next: nqmgr's behaviour as pure code. Time comes in as an argument, deliveries go out by callbacks.

A *transport* runs at most so many deliveries at once. Within it every *destination* has a window: how many deliveries
to it may run in parallel. The window grows with successes and shrinks when the destination fails as a whole; one that
fails for a whole round of its window is dead for a while, and mail for it is given up (deferred) at once.

A free place in a window goes to the messages that wait for this destination in turn; a free place in the transport goes
in turn to the messages that have got a window. So a large list and a single message to the same place share it evenly,
and no event costs more than constant time, however much is waiting.

Feedback follows Postfix's qmgr (hysteresis 1, pseudo-cohorts of failures).
"""

import heapq
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final

from posthouse.queue.fairness import FairQueue

Feedback = tuple[float, str]
"""(base, "" or "concurrency" or "sqrt_concurrency")"""
_HYSTERESIS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the parameters say about one transport. 0 means no limit for every limit; `open_limit` counts deliveries
    that are written but not yet flushed too."""

    processes: int = 100
    concurrency: int = 20
    initial: int = 5
    positive: Feedback = (1.0, "")
    negative: Feedback = (1.0, "")
    failed_cohorts: int = 1
    recipients: int = 50
    rate_delay_s: float = 0.0
    transport_rate_delay_s: float = 0.0
    dead_time_s: float = 300.0
    open_limit: int = 0


@dataclass(slots=True, eq=False)
class Job:
    """One delivery: some recipients of one message to one destination. `message` is what fairness is about."""

    transport: str
    destination: str
    message: Hashable
    payload: Any = None
    is_open: bool = False
    is_written: bool = False


@dataclass(slots=True, eq=False)
class _Destination:
    name: str
    window: float
    busy: int = 0
    success: float = 0.0
    failure: float = 0.0
    fail_cohorts: float = 0.0
    dead: tuple[str, str] | None = None
    suspended: bool = False
    waiting: FairQueue[Job] = field(default_factory=FairQueue)


@dataclass(slots=True, eq=False)
class _Transport:
    name: str
    limits: Limits
    running: int = 0
    open: int = 0
    paused: bool = False
    suspended: bool = False
    ready: FairQueue[Job] = field(default_factory=FairQueue)
    destinations: dict[str, _Destination] = field(default_factory=dict)


def _feedback(value: Feedback, window: float) -> float:
    base, divisor = value
    if divisor == "concurrency":
        return base / window
    if divisor == "sqrt_concurrency":
        return base / math.sqrt(window)
    return base


class Scheduler:
    """`start(job)` begins a delivery; `give_up(job, dsn, reason)` says that the destination is dead. Neither is called
    for a job again, and both may call back into the scheduler."""

    def __init__(
        self,
        limits: Callable[[str], Limits],
        start: Callable[[Job], None],
        give_up: Callable[[Job, str, str], None],
    ) -> None:
        self._limits = limits
        self._start_job = start
        self._give_up = give_up
        self._transports: dict[str, _Transport] = {}
        self._timers: list[tuple[float, int, _Transport, _Destination | None]] = []
        self._timer_number = 0
        self.open_jobs = 0

    # ── events ──

    def add(self, job: Job, now_s: float) -> None:
        transport = self._transport(job.transport)
        destination = self._destination(transport, job.destination)
        if destination.dead is not None:
            self._give_up(job, *destination.dead)
            return
        if (
            destination.busy < destination.window
            and not destination.waiting
            and not transport.ready
            and self._has_room(transport)
            and not destination.suspended
        ):
            destination.busy += 1
            self._begin(transport, job, now_s)
            return
        destination.waiting.push(job.message, job)
        self._offer(transport, destination)
        self._start(transport, now_s)

    def written(self, job: Job, now_s: float) -> None:
        """The agent has written this delivery and waits for the disk: its place is free for the next one."""
        if not job.is_open or job.is_written:
            return
        job.is_written = True
        transport = self._transport(job.transport)
        destination = self._destination(transport, job.destination)
        transport.running -= 1
        destination.busy -= 1
        self._offer(transport, destination)
        self._start(transport, now_s)

    def finished(self, job: Job, now_s: float, *, failed: tuple[str, str] | None = None) -> None:
        """The delivery is over. `failed`: (dsn, reason) when the destination as a whole did not work."""
        if not job.is_open:
            return
        transport = self._transport(job.transport)
        destination = self._destination(transport, job.destination)
        limits = transport.limits
        # The delivery itself still counts as busy here, as in Postfix.
        if failed is None:
            self._succeeded(limits, destination)
        elif destination.dead is None:
            self._failed(limits, destination, failed)
            if destination.dead is not None:
                self._timer(now_s + limits.dead_time_s, transport, destination)
        self._close(transport, destination, job)
        if limits.rate_delay_s and destination.dead is None:
            destination.suspended = True
            self._timer(now_s + limits.rate_delay_s, transport, destination)
        if destination.dead is not None:
            dsn, reason = destination.dead
            for waiting in destination.waiting.take_all():
                self._give_up(waiting, dsn, reason)
        else:
            self._offer(transport, destination)
        self._start(transport, now_s)
        self._forget_if_idle(transport, destination)

    def returned(self, job: Job, now_s: float) -> None:
        """The delivery did not take place (the agent went away): its places are free, nothing is learned from it."""
        if not job.is_open:
            return
        transport = self._transport(job.transport)
        destination = self._destination(transport, job.destination)
        self._close(transport, destination, job)
        self._offer(transport, destination)
        self._start(transport, now_s)
        self._forget_if_idle(transport, destination)

    def withdraw(self, transport_name: str, destination_name: str, message: Hashable, now_s: float) -> list[Job]:
        """Take back what has not begun of a message (it was held or deleted)."""
        transport = self._transports.get(transport_name)
        destination = transport.destinations.get(destination_name) if transport else None
        if transport is None or destination is None:
            return []
        jobs = destination.waiting.take(message)
        for job in transport.ready.take(message):
            if job.destination == destination_name:
                destination.busy -= 1
                jobs.append(job)
            else:
                transport.ready.push(message, job)
        self._offer(transport, destination)
        self._start(transport, now_s)
        self._forget_if_idle(transport, destination)
        return jobs

    def pause(self, transport_name: str) -> None:
        """No agent is there: begin nothing."""
        self._transport(transport_name).paused = True

    def resume(self, transport_name: str, now_s: float) -> None:
        transport = self._transport(transport_name)
        transport.paused = False
        self._start(transport, now_s)

    def abandon(self, transport_name: str, dsn: str, reason: str) -> None:
        """Give up everything that waits for a transport."""
        transport = self._transport(transport_name)
        jobs = transport.ready.take_all()
        for job in jobs:
            transport.destinations[job.destination].busy -= 1
        for destination in list(transport.destinations.values()):
            jobs += destination.waiting.take_all()
            self._forget_if_idle(transport, destination)
        for job in jobs:
            self._give_up(job, dsn, reason)

    def revive(self) -> None:
        """A flush: forget which destinations are dead."""
        for transport in self._transports.values():
            for destination in list(transport.destinations.values()):
                if destination.dead is not None:
                    self._alive_again(transport.limits, destination)
                    self._forget_if_idle(transport, destination)

    def set_limits(self, limits: Callable[[str], Limits]) -> None:
        """The parameters have changed; windows adapt with the next feedback."""
        self._limits = limits
        for transport in self._transports.values():
            transport.limits = self._limits(transport.name)

    # ── time ──

    def next_wakeup_s(self) -> float | None:
        return self._timers[0][0] if self._timers else None

    def wake(self, now_s: float) -> None:
        while self._timers and self._timers[0][0] <= now_s:
            _, _, transport, destination = heapq.heappop(self._timers)
            if destination is None:
                transport.suspended = False
            elif transport.destinations.get(destination.name) is destination:
                destination.suspended = False
                if destination.dead is not None:
                    self._alive_again(transport.limits, destination)
                self._offer(transport, destination)
                self._forget_if_idle(transport, destination)
            self._start(transport, now_s)

    def _timer(self, at_s: float, transport: _Transport, destination: _Destination | None) -> None:
        self._timer_number += 1
        heapq.heappush(self._timers, (at_s, self._timer_number, transport, destination))

    # ── places ──

    def _transport(self, name: str) -> _Transport:
        transport = self._transports.get(name)
        if transport is None:
            transport = self._transports[name] = _Transport(name, self._limits(name))
        return transport

    def _destination(self, transport: _Transport, name: str) -> _Destination:
        destination = transport.destinations.get(name)
        if destination is None:
            limits = transport.limits
            initial = limits.initial if not limits.concurrency else min(limits.initial, limits.concurrency)
            window = 1 if limits.rate_delay_s else max(1, initial)
            destination = transport.destinations[name] = _Destination(name, window)
        return destination

    def _forget_if_idle(self, transport: _Transport, destination: _Destination) -> None:
        if (
            not destination.busy
            and not destination.waiting
            and destination.dead is None
            and not destination.suspended
            and transport.destinations.get(destination.name) is destination
        ):
            del transport.destinations[destination.name]

    @staticmethod
    def _has_room(transport: _Transport) -> bool:
        limits = transport.limits
        return (
            not transport.paused
            and not transport.suspended
            and (not limits.processes or transport.running < limits.processes)
            and (not limits.open_limit or transport.open < limits.open_limit)
        )

    def _offer(self, transport: _Transport, destination: _Destination) -> None:
        """Free places in the window go to the messages that wait, in turn."""
        while (
            destination.waiting
            and destination.busy < destination.window
            and destination.dead is None
            and not destination.suspended
        ):
            job = destination.waiting.pop()
            destination.busy += 1
            transport.ready.push(job.message, job)

    def _start(self, transport: _Transport, now_s: float) -> None:
        while transport.ready and self._has_room(transport):
            self._begin(transport, transport.ready.pop(), now_s)

    def _begin(self, transport: _Transport, job: Job, now_s: float) -> None:
        transport.running += 1
        transport.open += 1
        self.open_jobs += 1
        job.is_open = True
        job.is_written = False
        if transport.limits.transport_rate_delay_s:
            transport.suspended = True
            self._timer(now_s + transport.limits.transport_rate_delay_s, transport, None)
        self._start_job(job)

    def _close(self, transport: _Transport, destination: _Destination, job: Job) -> None:
        transport.open -= 1
        self.open_jobs -= 1
        if not job.is_written:
            transport.running -= 1
            destination.busy -= 1
        job.is_open = False

    # ── feedback (Postfix, qmgr_queue.c) ──

    @staticmethod
    def _succeeded(limits: Limits, destination: _Destination) -> None:
        destination.fail_cohorts = 0.0
        if destination.dead is not None:
            # Back from the almost grave: the best concurrency is anyone's guess.
            destination.dead = None
            destination.window = max(1, destination.busy or limits.initial)
            destination.success = destination.failure = 0.0
            return
        if limits.rate_delay_s or (limits.concurrency and destination.window >= limits.concurrency):
            return
        if destination.window < destination.busy + limits.initial:
            step = _feedback(limits.positive, destination.window)
            destination.success += step
            while step and destination.success + step / 2 >= _HYSTERESIS:
                destination.window += _HYSTERESIS
                destination.success -= _HYSTERESIS
                destination.failure = 0.0
            if limits.concurrency:
                destination.window = min(destination.window, limits.concurrency)

    @staticmethod
    def _failed(limits: Limits, destination: _Destination, why: tuple[str, str]) -> None:
        destination.fail_cohorts += 1.0 / destination.window
        if limits.failed_cohorts and destination.fail_cohorts >= limits.failed_cohorts:
            destination.dead = why
            return
        step = _feedback(limits.negative, destination.window)
        destination.failure -= step
        while step and destination.failure - step / 2 < 0:
            destination.window -= _HYSTERESIS
            destination.success = 0.0
            destination.failure += _HYSTERESIS
        destination.window = max(1, destination.window)

    @staticmethod
    def _alive_again(limits: Limits, destination: _Destination) -> None:
        destination.dead = None
        destination.fail_cohorts = 0.0
        destination.window = max(1, destination.busy or limits.initial)
        destination.success = destination.failure = 0.0
