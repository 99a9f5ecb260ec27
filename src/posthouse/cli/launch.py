"""Starting master, for `start` and `sandbox`: what must be right before the first fork, who the processes become."""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from posthouse.cli.layout import unreachable, unreadable_code
from posthouse.config.configuration import Configuration
from posthouse.config.foreign_auth_place import auth_socket
from posthouse.config.parameters.master import JAIL_PROCESSES
from posthouse.runtime import jail
from posthouse.runtime.listeners import ListenError
from posthouse.runtime.log_files import LogFileError
from posthouse.runtime.master import Installation, Master, StartError
from posthouse.runtime.pid_file import AlreadyRunning
from posthouse.runtime.privileges import Identity, NoSuchSystemUser, identities
from posthouse.runtime.sockets import RunDirectoryError
from posthouse.runtime.spec import Jail, ProcessSpec
from posthouse.services import jails
from posthouse.services.table import EVERYBODYS_ENDPOINTS, PROCESSES, ROOT_ENDPOINTS

RunMaster = Callable[[Callable[[], None]], int]
"""`run_master` with everything but `on_ready` given."""

_FAILURES: Final = (StartError, ListenError, LogFileError, AlreadyRunning, RunDirectoryError, OSError)


def refuse_errors(configuration: Configuration) -> None:
    """The same lines as `posthouse check`; errors end the command."""
    for problem in configuration.problems:
        print(problem, file=sys.stderr)
    if any(problem.severity == "error" for problem in configuration.problems):
        print("posthouse: not started, because the configuration has errors", file=sys.stderr)
        raise SystemExit(1)


def service_identities(configuration: Configuration) -> dict[str, Identity]:
    """For a real service: as root every process has its user, and can read the code; else everything is the caller."""
    if os.geteuid() != 0:
        return {}
    try:
        found = identities(configuration.main, PROCESSES)
    except NoSuchSystemUser as error:
        print(f"posthouse: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    if blocking := unreadable_code():
        print(
            f"posthouse: the service users cannot read {blocking}, which leads to the program's own files; install it"
            " where everybody can read it, such as /opt/posthouse",
            file=sys.stderr,
        )
        raise SystemExit(1)
    return found


def sandbox_identities(configuration: Configuration, directory: Path) -> dict[str, Identity]:
    """Users of their own where that is possible; a sandbox must also start where it is not."""
    if os.geteuid() != 0 or unreachable(str(directory)) or unreadable_code():
        return {}
    try:
        return identities(configuration.main, PROCESSES)
    except NoSuchSystemUser:
        return {}


def close_jail(spec: ProcessSpec, configuration: Configuration, identity: Identity | None) -> str:
    """In the child, for good."""
    if spec.jail is Jail.RECIPIENT:
        return "root, becomes each recipient" if os.geteuid() == 0 else "runs as the caller"
    return jail.close(jails.rules(spec, configuration) if configuration.main[JAIL_PROCESSES] else None, identity)


def run_master(
    configuration: Configuration,
    load: Callable[[], Configuration],
    users: Mapping[str, Identity],
    *,
    sockets: Mapping[tuple[str, int], socket.socket] | None = None,
    on_ready: Callable[[], None] = lambda: None,
    on_turn: Callable[[], None] = lambda: None,
) -> int:
    """The whole life of the system; returns the exit status. `sockets` are bound already, by (host, port)."""
    installation = Installation(
        PROCESSES,
        users,
        root_endpoints=ROOT_ENDPOINTS,
        everybodys_endpoints=EVERYBODYS_ENDPOINTS,
        load=load,
        close_jail=close_jail,
        opens=jails.opened_by_master,
        auth_server=auth_socket,
        sockets=sockets or {},
        on_ready=on_ready,
        on_turn=on_turn,
    )
    try:
        return Master(configuration, installation).run()
    except _FAILURES as error:
        print(f"posthouse: {error}", file=sys.stderr)
        return 1
