"""Wrong logins by client: Dovecot's penalties, and who deserves a ban.

A client whose last login failed waits before the next one is looked at: 4, 8, then 15 seconds
(https://doc.dovecot.org/2.3/configuration_manual/authentication/auth_penalty/; the first failure is held back by
auth_failure_delay). The same name with the same password again, as a phone does with a password that was changed,
makes it no longer, and does not count towards a ban either.
"""

import hashlib
import ipaddress
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

FIRST_PENALTY_S: Final = 2.0
MAXIMAL_PENALTY_S: Final = 15.0
MAXIMAL_PENALTY: Final = 4
"""Failures that count: 2 s doubled four times is above the maximum."""
IPV6_PREFIX: Final = 48
"""One customer of a provider has at least that much."""
REMEMBERED_LOGINS: Final = 32
"""Wrong logins of one client that are recognised when they come again."""
NAMED_USERS: Final = 5
"""In a line of the log."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Suspicion(msgspec.Struct, frozen=True):
    """Enough wrong logins that were different. `repeats` were not counted."""

    remote: str
    failures: int
    within_s: float
    users: tuple[str, ...]
    services: tuple[tuple[str, int], ...]
    repeats: int
    reason: str


class Limits(msgspec.Struct, frozen=True):
    """`clients` to remember; `penalty_s` after which a penalty is forgotten (0: none are given); `failures` within
    `window_s` that are suspicious (0: none are)."""

    clients: int
    penalty_s: float
    failures: int
    window_s: float
    exempt: tuple[Network, ...]


class _Client:
    __slots__ = ("events", "failed_s", "penalty", "repeats", "seen")

    def __init__(self) -> None:
        self.penalty = 0
        self.failed_s = 0.0
        self.seen: OrderedDict[bytes, float] = OrderedDict()
        self.events: deque[tuple[float, str, str]] = deque()
        self.repeats = 0


class Failures:
    def __init__(self, limits: Limits, monotonic: Callable[[], float]) -> None:
        self.limits = limits
        self._monotonic = monotonic
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._secret = secrets.token_bytes(32)

    def __len__(self) -> int:
        return len(self._clients)

    def penalty_s(self, remote: str) -> float:
        """How long the next login of this client has to wait."""
        client = self._clients.get(self._key(remote)) if self._clients and self.limits.penalty_s else None
        if client is None or not client.penalty or self._monotonic() - client.failed_s >= self.limits.penalty_s:
            return 0.0
        return min(FIRST_PENALTY_S * 2.0**client.penalty, MAXIMAL_PENALTY_S)

    def succeeded(self, remote: str, user: str) -> None:
        client = self._clients.get(self._key(remote)) if self._clients else None
        if client is not None:
            client.penalty = 0
            # Whoever got his own password right in the end was no intruder.
            client.events = deque(event for event in client.events if event[2] != user)

    def failed(self, remote: str, user: str, password: bytes | None, service: str, reason: str) -> Suspicion | None:
        """`password` None: the mechanism does not show it, so that nothing can be recognised."""
        key = self._key(remote)
        if not key or self._is_exempt(remote):
            return None
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = _Client()
            if len(self._clients) > self.limits.clients:
                self._clients.popitem(last=False)
        else:
            self._clients.move_to_end(key)
        now_s = self._monotonic()
        is_repeat = password is not None and self._was_seen(client, user, password, now_s)
        if now_s - client.failed_s >= self.limits.penalty_s:
            client.penalty = 0
        client.failed_s = now_s
        if is_repeat:
            # No longer penalty, but the one it had.
            client.penalty = max(client.penalty, 1)
            client.repeats += 1
            return None
        client.penalty = min(client.penalty + 1, MAXIMAL_PENALTY)
        return self._suspicion(client, remote, user, service, reason, now_s)

    def _suspicion(
        self, client: _Client, remote: str, user: str, service: str, reason: str, now_s: float
    ) -> Suspicion | None:
        limits, events = self.limits, client.events
        if not limits.failures:
            return None
        while events and now_s - events[0][0] > limits.window_s:
            events.popleft()
        events.append((now_s, service, user))
        if len(events) < limits.failures:
            return None
        services = Counter(event[1] for event in events)
        found = Suspicion(
            remote,
            len(events),
            now_s - events[0][0],
            tuple(dict.fromkeys(event[2] for event in events)),
            tuple(services.most_common()),
            client.repeats,
            reason,
        )
        events.clear()
        client.repeats = 0
        return found

    def _was_seen(self, client: _Client, user: str, password: bytes, now_s: float) -> bool:
        name = user.encode("utf-8", "surrogateescape")
        known = hashlib.blake2b(
            len(name).to_bytes(4, "big") + name + password, key=self._secret, digest_size=16
        ).digest()
        last_s = client.seen.pop(known, None)
        client.seen[known] = now_s
        if len(client.seen) > REMEMBERED_LOGINS:
            client.seen.popitem(last=False)
        return last_s is not None

    def _is_exempt(self, remote: str) -> bool:
        address = ipaddress.ip_address(remote)
        return any(network.version == address.version and address in network for network in self.limits.exempt)

    @staticmethod
    def _key(remote: str) -> str:
        """ "" for a client without an address."""
        if ":" not in remote:
            return remote if _is_address(remote) else ""
        if not _is_address(remote):
            return ""
        address = ipaddress.IPv6Address(remote)
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False))


def _is_address(remote: str) -> bool:
    try:
        ipaddress.ip_address(remote)
    except ValueError:
        return False
    return True


def networks(words: Sequence[str]) -> tuple[Network, ...]:
    """What is no network is left out: whoever declares it says so."""
    found: list[Network] = []
    for word in words:
        try:
            found.append(ipaddress.ip_network(word, strict=False))
        except ValueError:
            continue
    return tuple(found)
