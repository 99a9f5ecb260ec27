"""What an operation costs when there is ten and a hundred times as much of everything: linear or better."""

import time
from collections.abc import Callable
from typing import ParamSpec

from bench import imap_client, posthouse, smtp_load
from bench.imap_lines import Tickets, user
from bench.line import Figure, Line, Scale, Target
from bench.server import USERS, Server, give_away
from bench.smtp_load import Load

P = ParamSpec("P")
_SCALES = (1, 10, 100)
_LIMIT = 1.5
"""How much more an item may cost at the hundredfold: noise, and caches of the processor that are full."""


def _seconds(act: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> float:
    begin = time.perf_counter()
    act(*arguments, **named)
    return time.perf_counter() - begin


def _curve(costs: list[float]) -> dict[str, float]:
    """Costs of an item in microseconds at × 1, × 10, × 100."""
    return {
        "small": costs[0] * 1e6,
        "medium": costs[1] * 1e6,
        "large": costs[2] * 1e6,
        "factor": costs[2] / costs[0],
    }


def _mailbox(server: Server, scale: Scale) -> dict[str, float]:
    """FETCH FLAGS and SELECT of mailboxes with 1,000, 10,000, 100,000 small messages: per message."""
    base = scale.count(1000)
    costs = []
    for position, factor in enumerate(_SCALES):
        maildir = server.maildirs[position]
        count = base * factor
        for number in range(count):
            name = f"{1_700_000_000 + number}.M{number}P1.bench,S=40:2,S"
            (maildir / "cur" / name).write_bytes(b"Subject: %08d\n\nSmall and many.\n\n" % number)
        info = maildir.stat()
        give_away(maildir, info.st_uid, info.st_gid)
        connection = imap_client.Connection(server.ports["imap"])
        connection.login(user(position))
        first = _seconds(connection.command, 'SELECT "INBOX"')
        fetch = min(_seconds(connection.command, "FETCH 1:* (UID FLAGS)") for _ in range(3))
        costs.append((first + fetch) / count)
        connection.command("LOGOUT")
    return _curve(costs)


def _queue(server: Server, scale: Scale) -> dict[str, float]:
    """Accept → Maildir while 300, 3,000, 30,000 deferred messages lie in the queue: per message."""
    base, costs, lying = scale.count(300, 10), [], 0
    for factor in _SCALES:
        more = base * factor - lying
        load = Load(more, 10, recipient="user@nowhere.test")
        smtp_load.accept(server, load)
        lying += more
        smtp_load.wait_until_quiet(server)
        count = scale.count(2000, 50)
        found = smtp_load.run_beside_queue(server, Load(count, 10))
        costs.append(1 / found["delivered"])
    return _curve(costs)


def _users(server: Server, scale: Scale) -> dict[str, float]:
    """LOGIN+LOGOUT with 100, 1,000, 10,000 accounts, each login another one's: per login."""
    costs, known = [], USERS
    count = scale.count(500, 20)
    for factor in _SCALES:
        wanted = max(USERS, scale.count(USERS * factor))
        posthouse.add_users(server, range(known, wanted))
        known = wanted
        names = [f"u{number * 7919 % known:02d}@example.test" for number in range(count)]
        tickets = Tickets(count)
        crowd = [
            imap_client.logins(names[at * count // 10 :] + names[: at * count // 10], tickets.take) for at in range(10)
        ]
        costs.append(_seconds(imap_client.crowd, server.ports["imap"], crowd) / count)
    return _curve(costs)


def _figures(unit: str) -> tuple[Figure, ...]:
    return (
        Figure("small", f"per {unit}, × 1", "µs", is_cost=True),
        Figure("medium", f"per {unit}, × 10", "µs", is_cost=True),
        Figure("large", f"per {unit}, × 100", "µs", is_cost=True),
        Figure("factor", "× 100 beside × 1", "", is_cost=True, target=Target(limit=_LIMIT)),
    )


LINES = (
    Line(
        "growth-mailbox",
        "SELECT and FETCH FLAGS, 1,000 → 100,000 messages",
        "imap-growth",
        _mailbox,
        _figures("message"),
    ),
    Line(
        "growth-queue",
        "accept → Maildir beside 300 → 30,000 deferred messages",
        "smtp-growth",
        _queue,
        _figures("message"),
    ),
    Line("growth-users", "LOGIN+LOGOUT, 100 → 10,000 accounts", "imap-growth", _users, _figures("login")),
)
