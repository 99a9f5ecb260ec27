"""An AuthProcess in the test's own event loop, on Unix sockets in a temporary directory."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import posthouse.config.parameters  # noqa: F401 - declares every parameter
from posthouse.auth.directory import Directory
from posthouse.auth.schemes import Argon2Cost, Hasher
from posthouse.config.configuration import Configuration
from posthouse.config.parameter import DOVECOT, MAIN, Settings
from posthouse.core.logline import LogLine
from posthouse.runtime.clock import SystemClock
from posthouse.runtime.ipc import Peer
from posthouse.runtime.process import Context, IpcListener, Listener, socket_path
from posthouse.runtime.schema import AUTH_ADMIN, AUTH_DIRECTORY, AUTH_LOGIN, AUTH_USERDB, Authenticate, Endpoint
from posthouse.services.auth import AuthProcess

CHEAP = Hasher(Argon2Cost(memory_octets=64 << 10, passes=1))
"""Tests log in often; what a hash costs is not their subject."""
MAIN_VALUES = {
    "auth_argon2_memory": "1M",
    "auth_argon2_time_cost": "1",
    "auth_penalty_lifetime": "0",
    "auth_ban_failures": "0",
}


class LeapingClock(SystemClock):
    """Time that a test can push forward."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def monotonic(self) -> float:  # type: ignore[override]
        return SystemClock.monotonic() + self.offset_s


def configuration(directory: Path, main: Mapping[str, str], dovecot: Mapping[str, str]) -> Configuration:
    values = {"data_directory": str(directory), **MAIN_VALUES, **main}
    return Configuration(str(directory), Settings(MAIN, values, {}), Settings(DOVECOT, dict(dovecot), {}))


def listening(run_directory: Path, endpoint: Endpoint, client: str, worker: int = 0) -> IpcListener:
    path = socket_path(str(run_directory), endpoint, client, worker)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(100)
    return IpcListener(endpoint, client, sock)


def context(
    name: str,
    directory: Path,
    settings: Configuration,
    lines: list[LogLine],
    *,
    listeners: tuple[Listener, ...] = (),
    ipc_listeners: tuple[IpcListener, ...] = (),
    clock: SystemClock | None = None,
    mailbox_workers: int = 1,
) -> Context:
    return Context(
        name,
        0,
        {"mailbox": mailbox_workers},
        settings,
        listeners,
        ipc_listeners,
        str(directory / "run"),
        clock or SystemClock(),
        lines.append,
    )


class AuthWorld:
    """A running auth process, its log, and peers in the name of its clients."""

    def __init__(self, directory: Path, main: Mapping[str, str], dovecot: Mapping[str, str]) -> None:
        self.path = directory
        self.lines: list[LogLine] = []
        self.clock = LeapingClock()
        self.configuration = configuration(directory, main, {"auth_failure_delay": "0", **dovecot})
        sockets = (
            listening(directory / "run", AUTH_LOGIN, "login"),
            listening(directory / "run", AUTH_LOGIN, "smtpd"),
            listening(directory / "run", AUTH_USERDB, "mailbox"),
            listening(directory / "run", AUTH_USERDB, "queue"),
            listening(directory / "run", AUTH_DIRECTORY, "tables"),
            listening(directory / "run", AUTH_ADMIN, "cli"),
        )
        self.process = AuthProcess(
            context("auth", directory, self.configuration, self.lines, ipc_listeners=sockets, clock=self.clock)
        )
        self.directory = Directory.open(self.database, hasher=CHEAP)
        self._peers: list[Peer] = []

    @property
    def database(self) -> str:
        return str(self.path / "auth" / "directory.sqlite")

    def log(self) -> list[str]:
        return [line.text() for line in self.lines]

    def peer(self, endpoint: Endpoint, client: str) -> Peer:
        peer = Peer(socket_path(str(self.path / "run"), endpoint, client), endpoint)
        self._peers.append(peer)
        return peer

    async def stop(self) -> None:
        for peer in self._peers:
            peer.close()
        await self.process.stop()
        for listener in self.process.context.ipc_listeners:
            listener.sock.close()
        self.directory.close()


@contextlib.asynccontextmanager
async def auth_running(
    directory: Path, main: Mapping[str, str] | None = None, dovecot: Mapping[str, str] | None = None
) -> AsyncIterator[AuthWorld]:
    """With the domain example.org, bob (password "secret") and a disabled eve (same password)."""
    world = AuthWorld(directory, main or {}, dovecot or {})
    if not world.directory.domains():
        world.directory.add_domain("example.org")
        world.directory.add_account("bob@example.org", "secret", quota_octets=1000)
        world.directory.add_account("eve@example.org", "secret")
        world.directory.set_disabled("eve@example.org", True)
    world.process.before_jail()
    await world.process.start()
    try:
        yield world
    finally:
        await world.stop()


def plain(user: str, password: str, *, authzid: str = "", service: str = "imap", secured: bool = True) -> Authenticate:
    return Authenticate(
        1, "PLAIN", f"{authzid}\0{user}\0{password}".encode(), service, "192.0.2.7", "192.0.2.1", secured, "s1"
    )


async def until(condition, limit_s: float = 5.0) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.005)
