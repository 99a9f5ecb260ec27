"""Counters per client and service, for connection and rate limits: what Postfix's anvil(8) does.

Pure: time comes in. A rate is the number of events since the client's current time unit began (anvil's own
meaning: the unit starts with the first event after the last one ended, it does not slide).
"""

from collections import OrderedDict
from dataclasses import dataclass, field

CONNECT = "connect"


@dataclass(slots=True)
class _Rate:
    began_s: float
    count: int = 0


@dataclass(slots=True)
class _Client:
    connections: int = 0
    rates: dict[str, _Rate] = field(default_factory=dict)


@dataclass(slots=True)
class Peak:
    """The highest value since the last status report."""

    value: int
    who: str
    at_s: float


class ClientCounters:
    """`limit` bounds memory: beyond it, the client unseen for longest that has no connection open is forgotten."""

    def __init__(self, unit_s: float, limit: int) -> None:
        self.unit_s = unit_s
        self.limit = limit
        self._clients: OrderedDict[tuple[str, str], _Client] = OrderedDict()
        self.peaks: dict[str, Peak] = {}
        self.peak_size = (0, 0.0)

    def __len__(self) -> int:
        return len(self._clients)

    def connect(self, service: str, client: str, now_s: float) -> tuple[int, int]:
        """(connections now open, connections in this unit), this one included."""
        found = self._client(service, client, now_s)
        found.connections += 1
        rate = self._count(found, CONNECT, now_s)
        self._peak("connection count", found.connections, service, client, now_s)
        self._peak("connection rate", rate, service, client, now_s)
        return found.connections, rate

    def disconnect(self, service: str, client: str) -> None:
        found = self._clients.get((service, client))
        if found is not None and found.connections:
            found.connections -= 1

    def event(self, service: str, client: str, event: str, now_s: float) -> tuple[int, int]:
        """(connections now open, events of this kind in this unit), this one included."""
        found = self._client(service, client, now_s)
        rate = self._count(found, event, now_s)
        self._peak(f"{event} rate", rate, service, client, now_s)
        return found.connections, rate

    def expire(self, now_s: float) -> None:
        """Forget clients without connections whose units have all ended."""
        for key, found in list(self._clients.items()):
            if found.connections == 0 and all(now_s - one.began_s >= self.unit_s for one in found.rates.values()):
                del self._clients[key]

    def _client(self, service: str, client: str, now_s: float) -> _Client:
        key = (service, client)
        found = self._clients.get(key)
        if found is None:
            if len(self._clients) >= self.limit:
                self._forget_one()
            found = self._clients[key] = _Client()
            if len(self._clients) > self.peak_size[0]:
                self.peak_size = (len(self._clients), now_s)
        else:
            self._clients.move_to_end(key)
        return found

    def _forget_one(self) -> None:
        for key, found in self._clients.items():
            if found.connections == 0:
                del self._clients[key]
                return
        self._clients.popitem(last=False)

    def _count(self, found: _Client, event: str, now_s: float) -> int:
        rate = found.rates.get(event)
        if rate is None or now_s - rate.began_s >= self.unit_s:
            rate = found.rates[event] = _Rate(now_s)
        rate.count += 1
        return rate.count

    def _peak(self, what: str, value: int, service: str, client: str, now_s: float) -> None:
        peak = self.peaks.get(what)
        if peak is None or value > peak.value:
            self.peaks[what] = Peak(value, f"{service}:{client}", now_s)
