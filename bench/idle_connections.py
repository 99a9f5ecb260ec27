"""Many connections that do nothing, and what they cost the server."""

import contextlib
import resource
import selectors
import socket
import ssl
import time

from bench import imap_client
from bench.process_tree import pss_kb
from bench.server import LOOPBACK, PASSWORD, Server

_WINDOW = 40
"""So many wait for an answer at a time: more would overflow the listen queue and measure that."""
_SETTLE_S = 12.0
"""Servers give memory back a few seconds after the last use; the same for all of them."""
_LIMIT_S = 60.0


def allow_descriptors(count: int) -> None:
    """Raises OSError if the hard limit is lower."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def smtp(server: Server, count: int) -> dict[str, float]:
    """After EHLO. From 250 loopback addresses, because servers limit connections by address."""
    before = pss_kb(server.pid)
    selector = selectors.DefaultSelector()
    socks: list[socket.socket] = []
    begin = time.monotonic()
    ready = waiting = 0
    try:
        while ready < count:
            if time.monotonic() - begin > _LIMIT_S:
                raise TimeoutError(f"{server.name}: {ready} of {count} connections were greeted")
            while len(socks) < count and waiting < _WINDOW:
                sock = socket.socket()
                socks.append(sock)
                sock.bind((f"127.0.0.{2 + len(socks) % 250}", 0))
                sock.connect((LOOPBACK, server.ports["smtp"]))
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ, False)
                waiting += 1
            for key, _ in selector.select(0.5):
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(4096)
                if not data.startswith((b"220", b"250")):
                    raise ConnectionError(f"{server.name}: {data!r}")
                if data.startswith(b"220"):
                    key.fileobj.send(b"EHLO idle.example.test\r\n")
                    continue
                selector.unregister(key.fileobj)
                ready += 1
                waiting -= 1
        took = time.monotonic() - begin
        time.sleep(_SETTLE_S)  # memory that is given back after the last greeting
        return {"per_connection": (pss_kb(server.pid) - before) / count, "set_up": took, "connections": float(count)}
    finally:
        for sock in socks:
            sock.close()
        selector.close()


def imap(server: Server, users: list[str], count: int) -> dict[str, float]:
    """Logged in, INBOX selected, in IDLE."""
    before = pss_kb(server.pid)
    connections = []
    try:
        begin = time.monotonic()
        for number in range(count):
            connection = imap_client.Connection(server.ports["imap"])
            connections.append(connection)
            connection.login(users[number % len(users)])
            connection.command('SELECT "INBOX"')
            connection.idle()
        took = time.monotonic() - begin
        time.sleep(_SETTLE_S)
        return {"per_connection": (pss_kb(server.pid) - before) / count, "set_up": took, "connections": float(count)}
    finally:
        for connection in connections:
            connection.close()


def imaps(server: Server, users: list[str], count: int, traffic: int) -> dict[str, float]:
    """Logged in over TLS, idle: at once, and after `traffic` octets of answers to each."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate of this run's own making
    before = pss_kb(server.pid)
    socks: list[ssl.SSLSocket] = []
    try:
        for number in range(count):
            sock = context.wrap_socket(socket.create_connection((LOOPBACK, server.ports["imaps"]), _LIMIT_S))
            socks.append(sock)
            _read_until(sock, b"* OK")
            _ask(sock, b'LOGIN "%s" "%s"' % (users[number % len(users)].encode(), PASSWORD.encode()))
        time.sleep(_SETTLE_S)
        idle = (pss_kb(server.pid) - before) / count
        for sock in socks:
            _ask(sock, b'SELECT "INBOX"')
            got = 0
            while got < traffic:
                got += _ask(sock, b"FETCH 1 (BODY.PEEK[])")
            _ask(sock, b"UNSELECT")
        time.sleep(_SETTLE_S)
        used = (pss_kb(server.pid) - before) / count
        return {"per_session": idle, "after_traffic": used, "connections": float(count)}
    finally:
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.close()


def _ask(sock: ssl.SSLSocket, words: bytes) -> int:
    sock.sendall(b"t " + words + b"\r\n")
    return _read_until(sock, b"t OK")


def _read_until(sock: ssl.SSLSocket, prefix: bytes) -> int:
    tail, count = b"", 0
    while True:
        data = sock.recv(65536)
        if not data:
            raise imap_client.Refused(f"closed: {tail!r}")
        count += len(data)
        tail = (tail + data)[-2000:]
        line = tail[tail.rfind(b"\r\n", 0, -2) + 2 if b"\r\n" in tail[:-2] else 0 :]
        if tail.endswith(b"\r\n"):
            if line.startswith(prefix):
                return count
            if line.startswith(b"t "):
                raise imap_client.Refused(repr(line))
