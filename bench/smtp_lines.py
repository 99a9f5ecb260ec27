"""Accepting mail and getting rid of it: Maildir, mbox, discard, relay; sizes and connections."""

from bench import smtp_load
from bench.line import Figure, Line, Scale, Target, both
from bench.server import Server
from bench.smtp_load import Load

KB = 1024
MB = 1024 * 1024


def _figures(target: Target, cpu: Target | None = None) -> tuple[Figure, ...]:
    return (
        Figure("delivered", "delivered", "/s", target=target),
        Figure("accepted", "accepted", "/s"),
        Figure("cpu", "CPU per message", "ms", is_cost=True, target=cpu or Target()),
    )


def _maildir(connections: int, size: int, count: int, is_kept: bool, name: str, target: Target, cpu: Target) -> Line:
    def run(server: Server, scale: Scale) -> dict[str, float]:
        load = Load(scale.count(count, connections), connections, size, is_kept)
        return smtp_load.run_to_maildirs(server, load)

    how = "kept" if is_kept else "a new connection for each message"
    text = f"{size // KB} KB" if size < MB else f"{size // MB} MB"
    title = f"accept → Maildir, {text}, {connections} connection{'s' if connections > 1 else ''}, {how}"
    return Line(name, title, "smtp", run, _figures(target, cpu))


def _tls(name: str, size: int, count: int, target: Target) -> Line:
    def run(server: Server, scale: Scale) -> dict[str, float]:
        return smtp_load.run_tls_to_maildirs(server, Load(scale.count(count, 10), 10, size))

    title = f"accept → Maildir over STARTTLS, {size // KB} KB, 10 connections, kept"
    return Line(name, title, "smtp", run, _figures(target))


def _other(name: str, title: str, load: Load, target: Target) -> Line:
    def run(server: Server, scale: Scale) -> dict[str, float]:
        count = scale.count(load.count, load.connections)
        smaller = Load(count, load.connections, load.size, load.is_kept, load.recipient, load.is_numbered)
        return smtp_load.run_to_queue_end(server, smaller)

    return Line(name, title, "smtp", run, _figures(target))


_HEAD = both(3, 2, aim=5)
_CPU = both(3, aim=5)
_NONE = Target()

LINES = (
    *(
        _maildir(
            connections,
            KB,
            count,
            is_kept,
            f"maildir-{'kept' if is_kept else 'fresh'}-{connections}",
            _HEAD if connections in (10, 50) else both(1),
            _CPU if connections in (10, 50) else _NONE,
        )
        for connections, count in ((1, 600), (10, 3000), (50, 3000), (100, 3000))
        for is_kept in (True, False)
    ),
    _maildir(10, 10 * KB, 2000, True, "maildir-10k", both(1.5, aim=3), _NONE),
    _maildir(10, 100 * KB, 500, True, "maildir-100k", both(1.5, aim=3), _NONE),
    _maildir(4, 10 * MB, 16, True, "maildir-10m", both(1.5, aim=3), _NONE),
    _tls("maildir-tls", KB, 2000, both(1)),
    _tls("maildir-tls-100k", 100 * KB, 300, both(1)),
    _other(
        "mbox",
        "accept → mbox of a system user, 1 KB, 10 connections",
        Load(600, 10, recipient="games@localhost", is_numbered=False),
        both(1),
    ),
    _other(
        "discard",
        "accept → discard, 1 KB, 10 connections",
        Load(4000, 10, recipient="user@discard.test"),
        both(4, aim=6),
    ),
    _other(
        "relay",
        "relay to smtp-sink, 1 KB, 10 connections",
        Load(3000, 10, recipient="user@relay.test"),
        both(3, aim=5),
    ),
)
