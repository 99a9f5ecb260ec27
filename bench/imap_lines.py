"""One mailbox of 10,000 messages through IMAP; APPEND, logins and LMTP on all users."""

import time
from collections.abc import Callable
from pathlib import Path

from bench import corpus, imap_client, smtp_load
from bench.line import Figure, Line, Scale, Target, both
from bench.process_tree import cpu_seconds
from bench.server import USERS, Server, give_away
from bench.smtp_load import Load

MESSAGES = 10_000
_FIELDS = "BODY.PEEK[HEADER.FIELDS (From To Subject Date)]"
_COPIES = 1000


def user(number: int) -> str:
    return f"u{number % USERS:02d}@example.test"


def _timed(act: Callable[[], object], server: Server) -> dict[str, float]:
    cpu = cpu_seconds(server.pid)
    begin = time.perf_counter()
    act()
    took = time.perf_counter() - begin
    return {"time": took * 1000, "cpu": (cpu_seconds(server.pid) - cpu) * 1000}


def _figures(target: Target) -> tuple[Figure, ...]:
    return (
        Figure("time", "time", "ms", is_cost=True, target=target),
        Figure("cpu", "CPU", "ms", is_cost=True),
    )


_NO_WORSE = both(0.5, aim=1)


def _big_mailbox(server: Server, scale: Scale) -> imap_client.Connection:
    """User 0's INBOX, filled when it is first asked for and indexed by one session before anything is timed."""
    maildir = server.maildirs[0]
    if not (maildir / "filled").exists():
        corpus.fill_maildir(maildir, scale.count(MESSAGES))
        _give_as(maildir)
        (maildir / "filled").touch()
    connection = imap_client.Connection(server.ports["imap"])
    connection.login(user(0))
    return connection


def _give_as(maildir: Path) -> None:
    """To whom the directory belongs."""
    info = maildir.stat()
    give_away(maildir, info.st_uid, info.st_gid)


def _selected(name: str, title: str, words: str, target: Target, repeat: int = 3) -> Line:
    """The best of `repeat` in one session, after one that is not counted: warm."""

    def run(server: Server, scale: Scale) -> dict[str, float]:
        connection = _big_mailbox(server, scale)
        connection.command('SELECT "INBOX"')
        runs = [_timed(lambda: connection.command(words), server) for _ in range(repeat + 1)][1:]
        connection.command("LOGOUT")
        return min(runs, key=lambda one: one["time"])

    return Line(name, title, "imap", run, _figures(target))


_new_mailboxes: dict[str, int] = {}
"""By server: how many mailboxes nobody had seen were used up."""


def _new_mailbox(server: Server, scale: Scale) -> imap_client.Connection:
    """The INBOX of another user each time, full and never looked at by the server."""
    number = _new_mailboxes[str(server.root)] = _new_mailboxes.get(str(server.root), 0) + 1
    maildir = server.maildirs[number]
    corpus.fill_maildir(maildir, scale.count(MESSAGES))
    _give_as(maildir)
    connection = imap_client.Connection(server.ports["imap"])
    connection.login(f"{maildir.parent.name}@example.test")
    return connection


def _cold(server: Server, scale: Scale) -> dict[str, float]:
    """The first FETCH ENVELOPE that this mailbox ever sees."""
    connection = _new_mailbox(server, scale)
    connection.command('SELECT "INBOX"')
    result = _timed(lambda: connection.command("FETCH 1:* (ENVELOPE)"), server)
    connection.command("LOGOUT")
    return result


def _first_select(server: Server, scale: Scale) -> dict[str, float]:
    connection = _new_mailbox(server, scale)
    result = _timed(lambda: connection.command('SELECT "INBOX"'), server)
    connection.command("LOGOUT")
    return result


def _select(server: Server, scale: Scale) -> dict[str, float]:
    connection = _big_mailbox(server, scale)
    connection.command('SELECT "INBOX"')
    connection.command("UNSELECT")
    result = _timed(lambda: connection.command('SELECT "INBOX"'), server)
    connection.command("LOGOUT")
    return result


def _store(server: Server, scale: Scale) -> dict[str, float]:
    connection = _big_mailbox(server, scale)
    connection.command('SELECT "INBOX"')
    result = _timed(lambda: connection.command("STORE 1:* +FLAGS (\\Flagged)"), server)
    connection.command("STORE 1:* -FLAGS (\\Flagged)")
    connection.command("LOGOUT")
    return result


def _copy(server: Server, scale: Scale) -> dict[str, float]:
    connection = _big_mailbox(server, scale)
    connection.command('CREATE "copies"')
    connection.command('SELECT "INBOX"')
    last = scale.count(_COPIES)
    result = _timed(lambda: connection.command(f'COPY 1:{last} "copies"'), server)
    connection.command("LOGOUT")
    return result


class Tickets:
    """Shared by all dialogues of a crowd: `count` turns in total."""

    def __init__(self, count: int) -> None:
        self.left = count

    def take(self) -> bool:
        self.left -= 1
        return self.left >= 0


def _rate(server: Server, count: int, dialogues: list[imap_client.Dialogue], port: int) -> dict[str, float]:
    timed = _timed(lambda: imap_client.crowd(port, dialogues), server)
    return {"rate": count / timed["time"] * 1000, "cpu": timed["cpu"] / count}


def _append(connections: int, full: int) -> Callable[[Server, Scale], dict[str, float]]:
    message = b"From: a@ex.example\r\nTo: b@example.test\r\nSubject: bench\r\n\r\n" + b"0123456789abcdef" * 60 + b"\r\n"

    def run(server: Server, scale: Scale) -> dict[str, float]:
        count = scale.count(full, connections)
        tickets = Tickets(count)
        # Users who have nothing yet: the mailboxes at the end are used by nothing else.
        crowd = [imap_client.appends(user(USERS - 1 - number), message, tickets.take) for number in range(connections)]
        return _rate(server, count, crowd, server.ports["imap"])

    return run


def _login(server: Server, scale: Scale) -> dict[str, float]:
    connections = 10
    users = [user(number) for number in range(50, 90)]
    warm = Tickets(len(users))
    imap_client.crowd(server.ports["imap"], [imap_client.logins(users, warm.take)])
    count = scale.count(1500, connections)
    tickets = Tickets(count)
    crowd = [imap_client.logins(users[number:] + users[:number], tickets.take) for number in range(connections)]
    return _rate(server, count, crowd, server.ports["imap"])


def _lmtp(server: Server, scale: Scale) -> dict[str, float]:
    """Recipients u10 … u49 in turn would need a generator of our own; smtp-source takes one recipient a run."""
    count = scale.count(2000, 10)
    load = Load(count, 10, recipient=user(20), is_numbered=False, protocol="lmtp")
    found = smtp_load.run_to_maildirs(server, load)
    return {"rate": found["delivered"], "cpu": found["cpu"]}


def _rates(target: Target) -> tuple[Figure, ...]:
    return (
        Figure("rate", "per second", "/s", target=target),
        Figure("cpu", "CPU each", "ms", is_cost=True),
    )


_LOGIN = Target({"stock": 10, "tuned": 2}, aim=3000)

LINES = (
    Line(
        "imap-select-first",
        "first SELECT, 10,000 messages in cur/, no index",
        "imap",
        _first_select,
        _figures(_NO_WORSE),
    ),
    Line("imap-select", "SELECT again", "imap", _select, _figures(_NO_WORSE)),
    Line("imap-envelope-cold", "first FETCH 1:* ENVELOPE of a mailbox", "imap", _cold, _figures(both(1))),
    _selected("imap-flags", "FETCH 1:* (UID FLAGS)", "FETCH 1:* (UID FLAGS)", both(1, aim=2)),
    _selected("imap-envelope", "FETCH 1:* ENVELOPE, warm", "FETCH 1:* (ENVELOPE)", both(2, aim=5)),
    _selected("imap-headers", "FETCH 1:* header list, warm", f"FETCH 1:* (UID FLAGS {_FIELDS})", both(2, aim=5)),
    _selected("imap-structure", "FETCH 1:* BODYSTRUCTURE, warm", "FETCH 1:* (BODYSTRUCTURE)", both(1, aim=2)),
    _selected("imap-body", "FETCH 1:* BODY.PEEK[], warm", "FETCH 1:* (BODY.PEEK[])", _NO_WORSE, repeat=1),
    Line("imap-store", "STORE 1:* +FLAGS (\\Flagged)", "imap", _store, _figures(_NO_WORSE)),
    Line("imap-copy", f"COPY 1:{_COPIES}", "imap", _copy, _figures(_NO_WORSE)),
    Line("append-1", "APPEND 1 KB, 1 connection", "imap", _append(1, 400), _rates(both(2, aim=5))),
    Line(
        "append-10", "APPEND 1 KB, 10 connections, each its own user", "imap", _append(10, 2000), _rates(both(2, aim=5))
    ),
    Line("lmtp", "LMTP → Maildir, 1 KB, 10 connections", "imap", _lmtp, _rates(both(3, aim=5))),
    Line("login", "LOGIN+LOGOUT, 10 connections, scheme PLAIN, auth cache 10M", "imap", _login, _rates(_LOGIN)),
    Line(
        "login-argon2",
        "LOGIN+LOGOUT, 10 connections, scheme ARGON2ID, auth cache 10M",
        "imap-argon2",
        _login,
        _rates(_LOGIN),
    ),
)
