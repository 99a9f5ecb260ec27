"""Memory, connections that do nothing, cold start, and what a foreign burst on the disk does to latency."""

import smtplib
import time

from bench import idle_connections, smtp_load
from bench.disk_burst import Burst
from bench.imap_lines import user
from bench.line import Figure, Line, Scale, Target
from bench.process_tree import memory_mb
from bench.server import LOOPBACK, OURS, STOCK, USERS, Server, give_away
from bench.smtp_load import Load

_SESSIONS = 1000
_TRAFFIC = 1 << 20
_QUIET_MESSAGES = 200
_BURST_MB = 1024
_BURST_S = 15.0


def _idle(server: Server, scale: Scale) -> dict[str, float]:
    time.sleep(2.0 / scale.divisor)  # what the start leaves behind is collected by then
    return {"pss": memory_mb(server.pid)["pss"], "start": server.ready_s}


def _active(server: Server, scale: Scale) -> dict[str, float]:
    smtp_load.run_to_maildirs(server, Load(scale.count(3000, 50), 50))
    return {"pss": memory_mb(server.pid)["pss"]}


def _connections(server: Server, wanted: int, scale: Scale) -> dict[str, float]:
    # Postfix has a process for each, 100 of them as it comes and 400 tuned.
    most = {OURS: wanted, STOCK: 90}.get(server.name, 380)
    return idle_connections.smtp(server, min(scale.count(wanted), most))


def _imap_connections(server: Server, scale: Scale) -> dict[str, float]:
    return idle_connections.imap(server, [user(number) for number in range(USERS)], scale.count(1000))


def _tls(server: Server, scale: Scale) -> dict[str, float]:
    for maildir in server.maildirs:
        text = b"Subject: one\n\n" + b"0123456789abcdefghij\n" * 5000
        path = maildir / "cur" / f"1700000000.M0P2.bench,S={len(text)}:2,S"
        if not path.exists():
            path.write_bytes(text)
            info = maildir.stat()
            give_away(maildir, info.st_uid, info.st_gid)
    names = [user(number) for number in range(USERS)]
    return idle_connections.imaps(server, names, scale.count(_SESSIONS), scale.count(_TRAFFIC))


def _send(client: smtplib.SMTP, number: int, body: bytes) -> float:
    """Seconds from the end of the content to 250."""
    client.mail("sender@mail.example.test")
    client.rcpt(f"{number}user@example.test")
    client.putcmd("data")
    client.getreply()
    begin = time.perf_counter()
    client.send(body)
    code, text = client.getreply()
    took = time.perf_counter() - begin
    if code != 250:
        raise ConnectionError(f"{code} {text!r}")
    return took


def _burst(server: Server, scale: Scale) -> dict[str, float]:
    body = b"Subject: burst\r\n\r\n" + b"0123456789abcdef" * 60 + b"\r\n.\r\n"
    client = smtplib.SMTP(LOOPBACK, server.ports["smtp"], timeout=60)
    client.ehlo("client.example.test")
    quiet = sorted(_send(client, number, body) for number in range(scale.count(_QUIET_MESSAGES)))
    loud: list[float] = []
    give_up = time.monotonic() + _BURST_S
    with Burst(server.root / "burst", scale.count(_BURST_MB)) as burst:
        while burst.is_writing() or len(loud) < len(quiet):
            loud.append(_send(client, len(loud), body))
            if time.monotonic() > give_up:
                break
    client.quit()
    loud.sort()
    while server.queue_length():
        time.sleep(0.05)
    return {
        "quiet_median": quiet[len(quiet) // 2] * 1000,
        "quiet_p99": quiet[len(quiet) * 99 // 100] * 1000,
        "burst_median": loud[len(loud) // 2] * 1000,
        "burst_p99": loud[len(loud) * 99 // 100] * 1000,
        "burst_longest": loud[-1] * 1000,
        "messages": float(len(loud)),
    }


def _per_connection(limit: float, aim: float) -> tuple[Figure, ...]:
    return (
        Figure("per_connection", "PSS per connection", "KB", is_cost=True, target=Target(limit=limit, aim=aim)),
        Figure("set_up", "until all are greeted", "s", is_cost=True),
        Figure("connections", "connections", ""),
    )


_IDLE = (
    Figure("pss", "PSS", "MB", is_cost=True, target=Target(limit=120, aim=80)),
    Figure("start", "cold start to the first greeting", "s", is_cost=True),
)
_MS = ("quiet_median", "quiet_p99", "burst_median", "burst_p99", "burst_longest")

LINES = (
    Line("idle", "whole idle system (beside Postfix alone)", "smtp-alone", _idle, _IDLE),
    Line("idle-imap", "whole idle system (beside Dovecot alone)", "imap-alone", _idle, _IDLE),
    Line(
        "connections-1000",
        "1,000 idle SMTP connections (Postfix: 90 and 380)",
        "smtp-alone",
        lambda server, scale: _connections(server, 1000, scale),
        _per_connection(40, 20),
    ),
    Line(
        "connections-10000",
        "10,000 idle SMTP connections (Postfix: 90 and 380)",
        "smtp-alone",
        lambda server, scale: _connections(server, 10_000, scale),
        _per_connection(40, 20),
    ),
    Line(
        "active",
        "memory after 3,000 messages on 50 connections",
        "smtp-alone",
        _active,
        (Figure("pss", "PSS", "MB", is_cost=True),),
    ),
    Line("imap-idle-1000", "1,000 IMAP sessions in IDLE", "imap-alone", _imap_connections, _per_connection(40, 20)),
    Line(
        "imaps-idle",
        f"{_SESSIONS} IMAP sessions over TLS, logged in",
        "imap-alone",
        _tls,
        (
            Figure("per_session", "PSS per idle session", "KB", is_cost=True, target=Target(limit=60)),
            Figure(
                "after_traffic", "PSS per session after 1 MB of traffic", "KB", is_cost=True, target=Target(limit=80)
            ),
        ),
    ),
    Line(
        "burst",
        f"end of content → 250, 1 connection, while another program writes {_BURST_MB} MB",
        "smtp",
        _burst,
        tuple(Figure(key, key.replace("_", ", "), "ms", is_cost=True) for key in _MS),
    ),
)
