"""The sockets between processes: one listening Unix socket per (server worker, endpoint, client group).

Master makes them before any child exists and keeps them open, so that a client can connect while the server is being
restarted and waits in the backlog. Who may connect is decided by the file system alone: the socket belongs to the
client's user, mode 0600 (Landlock does not cover pathname sockets).
"""

import contextlib
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from posthouse.runtime.process import socket_path
from posthouse.runtime.schema import Endpoint
from posthouse.runtime.spec import ProcessSpec

BACKLOG: Final = 1024
MAX_PATH_OCTETS: Final = 107
"""sun_path, without its final NUL."""
DIRECTORY_MODE: Final = 0o711
"""Nobody but the owner can list; whoever knows a name meets the mode of the socket."""
COMMANDS: Final = "cli"
"""The client group of the administrator's commands."""
MASTER: Final = "master"
"""The client group of master itself: it logs like everybody else."""


@dataclass(frozen=True, slots=True)
class Owner:
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class SocketPlan:
    """`server` may be several workers; each gets a socket of its own. `owner` None: the caller's; `mode` as chmod."""

    endpoint: Endpoint
    client: str
    owner: Owner | None
    mode: int = 0o600


class RunDirectoryError(Exception):
    """The run directory cannot hold the sockets; the text says why."""


def plan(
    specs: Iterable[ProcessSpec],
    owners: Mapping[str, Owner | None],
    for_root: Iterable[Endpoint],
    for_everybody: Iterable[Endpoint],
    log: Endpoint,
) -> tuple[SocketPlan, ...]:
    """What the process table says about who talks to whom; `owners` by process name."""
    return (
        *(SocketPlan(link.endpoint, spec.name, owners[spec.name]) for spec in specs for link in spec.links),
        *(SocketPlan(endpoint, COMMANDS, None) for endpoint in for_root),
        *(SocketPlan(endpoint, COMMANDS, None, 0o666) for endpoint in for_everybody),
        SocketPlan(log, MASTER, None),
    )


def make_socket(path: str, owner: Owner | None, mode: int) -> socket.socket:
    """A listening socket that nobody but its owner could connect to at any moment."""
    if len(os.fsencode(path)) > MAX_PATH_OCTETS:
        raise RunDirectoryError(
            f"the name of the socket {path} is longer than the {MAX_PATH_OCTETS} octets that the kernel takes;"
            " choose a directory with a shorter name"
        )
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        sock.bind(path)
    finally:
        os.umask(before)
    if owner is not None:
        os.chown(path, owner.uid, owner.gid)
    if mode != 0o600:
        os.chmod(path, mode)
    sock.listen(BACKLOG)
    return sock


def make_sockets(
    run_directory: str, plans: Iterable[SocketPlan], workers: Mapping[str, int]
) -> dict[tuple[str, int], list[tuple[SocketPlan, socket.socket]]]:
    """All sockets, by (server, worker). Directories are 0711: a name must be known, and every name is owned."""
    made: dict[tuple[str, int], list[tuple[SocketPlan, socket.socket]]] = {}
    for one in plans:
        for worker in range(workers.get(one.endpoint.server, 0)):
            path = socket_path(run_directory, one.endpoint, one.client, worker)
            directory = os.path.dirname(path)
            os.makedirs(directory, mode=DIRECTORY_MODE, exist_ok=True)
            os.chmod(directory, DIRECTORY_MODE)
            made.setdefault((one.endpoint.server, worker), []).append((one, make_socket(path, one.owner, one.mode)))
    return made
