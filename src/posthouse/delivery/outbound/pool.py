"""All connections of one process: the idle ones by destination, and everybody's time limits.

A connection is kept for a moment after a delivery if its destination has traffic (connection_cache_on_demand): another
job is open, or the last one ended just now. A single message to a host says QUIT at once.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from posthouse.core.clock import Clock
from posthouse.delivery.outbound.session import Session

SWEEP_S: Final = 0.5
"""How often time limits are looked at; none of them is shorter than a second."""

Key = tuple[str, str, str]
"""Transport, nexthop, and the sender where the login depends on it."""


@dataclass(slots=True)
class Traffic:
    """Of one destination: open jobs, when the last one ended, connections that wait for the next."""

    open: int = 0
    ended: float = float("-inf")
    idle: deque[Session] = field(default_factory=deque)


class Pool:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._traffic: dict[Key, Traffic] = {}
        self._sessions: set[Session] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def __len__(self) -> int:
        return len(self._sessions)

    def job_begins(self, key: Key) -> None:
        traffic = self._traffic.get(key)
        if traffic is None:
            traffic = self._traffic[key] = Traffic()
        traffic.open += 1

    def job_ends(self, key: Key) -> None:
        traffic = self._traffic[key]
        traffic.open -= 1
        traffic.ended = self._clock.monotonic()

    def take(self, key: Key) -> Session | None:
        """An idle connection, the one that was used last: the others may rest and end."""
        idle = self._traffic[key].idle
        while idle:
            session = idle.pop()
            if session.idle:
                return session
            session.close()
        return None

    def watch(self, session: Session) -> None:
        """From now on the session's time limits are kept."""
        self._sessions.add(session)
        if self._timer is None and not self._stopped:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def give_back(self, key: Key, session: Session) -> None:
        """After a delivery: keep it for the next, or say goodbye."""
        settings = session.settings
        now = self._clock.monotonic()
        traffic = self._traffic[key]
        if (
            session.idle
            and not self._stopped
            and now - session.opened < settings.reuse_time_s
            and not 0 < settings.reuse_count <= session.uses
            and (
                (settings.cache_on_demand and (traffic.open > 1 or now - traffic.ended < settings.cache_time_s))
                or session.destination.text.lower() in settings.cache_destinations
                or session.destination.host.lower() in settings.cache_destinations
            )
        ):
            session.expires = now + settings.cache_time_s
            traffic.idle.append(session)
        else:
            session.quit()

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        for key, traffic in list(self._traffic.items()):
            while traffic.idle and (traffic.idle[0].expires <= now or not traffic.idle[0].idle):
                traffic.idle.popleft().quit()
            if not traffic.open and not traffic.idle and now - traffic.ended > SWEEP_S + 60:
                del self._traffic[key]
        for session in list(self._sessions):
            session.check_time(now)
            if session.closed:
                self._sessions.discard(session)
        self._timer = None
        if (self._sessions or self._traffic) and not self._stopped:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def close_idle(self) -> None:
        """Say goodbye on every connection that waits, and keep none from now on."""
        self._stopped = True
        for traffic in self._traffic.values():
            while traffic.idle:
                traffic.idle.popleft().quit()

    def close(self) -> None:
        self.close_idle()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for session in self._sessions:
            session.abort()
        self._sessions.clear()
