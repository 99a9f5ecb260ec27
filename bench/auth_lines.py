"""Logins at the auth service itself, as other servers ask it: Dovecot's auth protocol on a Unix socket, PLAIN."""

import base64
import socket
import threading
import time
from pathlib import Path

from bench.imap_lines import user
from bench.line import Figure, Line, Scale, Target
from bench.process_tree import cpu_seconds
from bench.server import PASSWORD, USERS, Server

CONNECTIONS = 4
WINDOW = 20
"""Logins that a connection has under way, as a Postfix with as many smtpd clients would."""
TIMEOUT_S = 60.0


def _ask(path: Path, count: int) -> None:
    """`count` right logins over one connection. Raises ValueError for a refused one."""
    lines = []
    for number in range(count):
        response = base64.b64encode(f"\0{user(number % USERS)}\0{PASSWORD}".encode()).decode()
        lines.append(f"AUTH\t{number + 1}\tPLAIN\tservice=smtp\tsecured\tresp={response}\n".encode())
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.connect(str(path))
        sock.sendall(b"VERSION\t1\t2\nCPID\t%d\n" % (threading.get_native_id() % 65_536 + 1))
        received = b""
        while b"DONE\n" not in received:
            received += sock.recv(65536)
        received = received.partition(b"DONE\n")[2]
        sent, answered = 0, 0
        while answered < count:
            if sent < count and sent - answered <= WINDOW // 2:
                until = min(count, answered + WINDOW)
                sock.sendall(b"".join(lines[sent:until]))
                sent = until
            data = sock.recv(65536)
            if not data:
                raise ValueError("the auth service closed the connection")
            whole = (received + data).split(b"\n")
            received = whole.pop()
            for line in whole:
                if line.startswith(b"FAIL"):
                    raise ValueError(f"refused: {line!r}")
                answered += line.startswith(b"OK")


def _logins(full: int):  # type: ignore[no-untyped-def]
    def run(server: Server, scale: Scale) -> dict[str, float]:
        assert server.auth_socket is not None
        each = scale.count(full, CONNECTIONS) // CONNECTIONS
        _ask(server.auth_socket, USERS)  # once everybody, so that what is remembered is remembered
        errors: list[Exception] = []

        def ask(path: Path) -> None:
            try:
                _ask(path, each)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=ask, args=(server.auth_socket,)) for _ in range(CONNECTIONS)]
        cpu, begin = cpu_seconds(server.pid), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - begin
        if errors:
            raise errors[0]
        count = each * CONNECTIONS
        return {"rate": count / took, "cpu": (cpu_seconds(server.pid) - cpu) / count * 1000}

    return run


def _figures(aim: float) -> tuple[Figure, ...]:
    return (
        Figure("rate", "per second", "/s", target=Target({"stock": 1, "tuned": 1}, aim=aim)),
        Figure("cpu", "CPU each", "ms", is_cost=True),
    )


LINES = (
    Line(
        "auth-cached",
        "PLAIN at the auth socket, MD5-CRYPT in SQLite, auth cache 10M",
        "auth-cached",
        _logins(20_000),
        _figures(5000),
    ),
    Line(
        "auth-uncached",
        "PLAIN at the auth socket, MD5-CRYPT in SQLite, no cache",
        "auth-uncached",
        _logins(4_000),
        _figures(1500),
    ),
)
