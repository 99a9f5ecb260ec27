"""What a process is, and what it is given.

A process is one `ProcessMain` subclass in `services/`; the process table (`services.table`) says how many there are, as
whom they run and whom they may talk to. Life of a process: master forks it from the prepared image, `before_jail()`
runs with
the parent's rights (private keys, descriptors), then uid, capabilities, Landlock and seccomp close for good, then
the event loop is made and `start()` runs; when it returns, the process is ready.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from posthouse.config.configuration import Configuration
from posthouse.config.parameter import Settings
from posthouse.core.clock import Clock
from posthouse.core.logline import LogLine
from posthouse.runtime.ipc import Connection, Handler, Peer, Server, unexpected
from posthouse.runtime.schema import Endpoint


@dataclass(frozen=True, slots=True)
class Listener:
    """A network listener. `service` is what answers there ("smtpd", "lmtpd", "imap-login", "pop3-login");
    `name` is its master.cf or dovecot name ("smtp", "submission", "imaps"); `settings` are main.cf's (or
    dovecot.conf's) with this entry's overrides; with `implicit_tls` TLS comes first."""

    service: str
    name: str
    sock: socket.socket
    settings: Settings
    implicit_tls: bool = False


@dataclass(frozen=True, slots=True)
class IpcListener:
    """A listening Unix socket for one client group ("smtpd", "cli") of one endpoint."""

    endpoint: Endpoint
    client: str
    sock: socket.socket


@dataclass(slots=True)
class Context:
    """Everything a process is given. Nothing else is global."""

    process: str
    worker: int
    workers: Mapping[str, int]
    """How many workers each process has, by process name (to route to mailbox workers)."""
    configuration: Configuration
    listeners: tuple[Listener, ...]
    ipc_listeners: tuple[IpcListener, ...]
    run_directory: str
    clock: Clock
    emit: Callable[[LogLine], None]
    """Logs one line; never blocks, never raises."""
    request_restart: Callable[[str], None] = field(default=lambda _: None)
    """Stop in order and be started again by master, for this reason."""
    request_log_files: Callable[[], None] = field(default=lambda: None)
    """For control only: master opens the log files again and hands them to `ProcessMain.log_files`."""
    request_auth_server: Callable[[], None] = field(default=lambda: None)
    """For auth only: master connects to the server of smtpd_sasl_path, and hands the connection to
    `ProcessMain.auth_server`."""
    servers: list[Server] = field(default_factory=list)
    """Made by `serve`."""

    @property
    def settings(self) -> Settings:
        return self.configuration.main

    def peer(
        self,
        endpoint: Endpoint,
        handler: Handler = unexpected,
        *,
        worker: int = 0,
        on_connect: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> Peer:
        """A standing connection to another process (worker `worker` of `endpoint.server`)."""
        return Peer(
            socket_path(self.run_directory, endpoint, self.process, worker),
            endpoint,
            handler,
            on_connect=on_connect,
            on_error=self.report,
        )

    def serve(
        self,
        endpoint: Endpoint,
        handler: Handler,
        *,
        on_connection: Callable[[Connection], None] | None = None,
        client: str | None = None,
    ) -> list[Server]:
        """Answer on every socket of this endpoint (or only on the one of `client`)."""
        made = [
            Server(one.sock, endpoint, handler, on_connection=on_connection, on_error=self.report)
            for one in self.ipc_listeners
            if one.endpoint.name == endpoint.name and (client is None or one.client == client)
        ]
        self.servers += made
        return made

    def report(self, what: str, error: BaseException | None) -> None:
        """Log an internal error with its traceback."""
        from posthouse.runtime.logging import internal_error

        self.emit(internal_error(self.process, what, error))


def socket_path(run_directory: str, endpoint: Endpoint, client: str, worker: int = 0) -> str:
    """run/<server>.<worker>/<endpoint>.<client>: one socket per client group, so that its owner decides who may
    connect."""
    return f"{run_directory}/{endpoint.server}.{worker}/{endpoint.name}.{client}"


class ProcessMain:
    """Base of all processes; see the module text for the order of calls."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def before_jail(self) -> None:
        """With the parent's rights, before any thread or loop: read private keys, open what must stay open."""

    async def start(self) -> None:
        """Inside the jail, loop running: connect, serve. Returning means ready."""

    async def reload(self, configuration: Configuration) -> None:
        """New settings for a process that stays (queue, mailbox, auth, control). Others are replaced instead."""
        self.context.configuration = configuration

    def log_files(self, descriptors: Mapping[str, int]) -> None:
        """For control only: freshly opened log files by path; they are the process's to close."""
        for one in descriptors.values():
            os.close(one)

    def auth_server(self, descriptor: int, error: str) -> None:
        """For auth only: a connection with the foreign auth server (-1 with an error); it is the process's to close."""
        if not error:
            os.close(descriptor)

    async def drain(self) -> None:
        """Accept nothing new, let sessions end; called before `stop` when there is time. Returns when none is left or
        the time is up (the caller cancels). Here: the other processes are sent to our successor."""
        for server in self.context.servers:
            await server.drain()

    async def stop(self) -> None:
        """Close down in order; durable state is flushed."""
