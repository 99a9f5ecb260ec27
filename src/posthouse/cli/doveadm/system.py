"""The running system, as doveadm sees it: the admin sockets of auth and of the mailbox workers.

These sockets belong to root (in a system of one user, to that user). With the system stopped nothing can be asked:
a user's mail has one writer, and that is not this command.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

from posthouse.cli.doveadm.endings import EX_NOPERM, EX_NOUSER, EX_TEMPFAIL, Ended
from posthouse.cli.queue_client import NotRunning, QueueClient, command_socket
from posthouse.core.reply import MailError
from posthouse.core.routing_hash import worker_of
from posthouse.runtime.schema import (
    AUTH_ADMIN,
    MAILBOX_ADMIN,
    Admitted,
    AuthSuccess,
    Endpoint,
    Handover,
    InspectStore,
    IssueTicket,
    ListUsers,
    LookupUser,
    NoSuchUser,
    Record,
    StoreFacts,
    UserEntry,
    UserPage,
)

_USER: Final[Any] = UserEntry | NoSuchUser
_TICKET: Final[Any] = AuthSuccess | NoSuchUser
"""Unions have no static type."""
WILDCARDS: Final = frozenset("*?")


class System:
    """Connections are made when they are first needed and kept until `close`."""

    def __init__(self, run_directory: Callable[[], str], start_command: str) -> None:
        self._run_directory = run_directory
        self._start_command = start_command
        self._open: dict[tuple[str, int], QueueClient] = {}
        self.unlisted: tuple[str, ...] = ()
        """The userdb drivers that could not list their users."""

    def close(self) -> None:
        for client in self._open.values():
            with contextlib.suppress(OSError):
                client.__exit__()

    def _client(self, endpoint: Endpoint, worker: int = 0) -> QueueClient:
        key = (endpoint.server, worker)
        if key not in self._open:
            try:
                self._open[key] = QueueClient(self._path(endpoint, worker))
            except NotRunning as error:
                if error.is_forbidden:
                    raise Ended(EX_NOPERM, f"Fatal: {error}: only root may do this") from error
                words = f"Fatal: {error}: Posthouse is not running; {self._start_command!r} starts it"
                raise Ended(EX_TEMPFAIL, words) from error
        return self._open[key]

    def _path(self, endpoint: Endpoint, worker: int) -> str:
        return command_socket(self._run_directory(), endpoint.name, endpoint.server, worker)

    def auth(self) -> QueueClient:
        return self._client(AUTH_ADMIN)

    def workers(self) -> int:
        """How many mailbox workers there are."""
        count = 0
        while os.path.exists(self._path(MAILBOX_ADMIN, count)):
            count += 1
        return count

    def mailboxes(self, worker: int) -> QueueClient:
        return self._client(MAILBOX_ADMIN, worker)

    # ── users ──

    def look_up(self, user: str) -> UserEntry | None:
        found: Record = self.auth().call(LookupUser(user, "doveadm"), _USER)
        return found if isinstance(found, UserEntry) else None

    def users(self, mask: str = "*") -> Iterator[str]:
        after = ""
        while True:
            page = self.auth().call(ListUsers(after), UserPage)
            self.unlisted = page.unlisted
            yield from (name for name in page.users if fits(name, mask))
            after = page.after
            if not after:
                return

    # ── mail ──

    def _ticket(self, user: str) -> tuple[str, bytes]:
        found: Record = self.auth().call(IssueTicket(user), _TICKET)
        if not isinstance(found, AuthSuccess):
            raise Ended(EX_NOUSER, f"doveadm({user}): Error: User doesn't exist")
        return found.user, found.ticket

    def inspect(
        self, user: str, names: tuple[str, ...] | None, *, rescan: bool = False, recount: bool = False
    ) -> StoreFacts:
        name, ticket = self._ticket(user)
        client = self.mailboxes(worker_of(name, self.workers()))
        return client.call(InspectStore(ticket, names, rescan, recount), StoreFacts)

    def session(self, user: str) -> socket.socket:
        """An IMAP session of the user, before its greeting."""
        name, ticket = self._ticket(user)
        ours, theirs = socket.socketpair()
        try:
            client = self.mailboxes(worker_of(name, self.workers()))
            handover = Handover("doveadm", ticket, "", "", "", True, f"doveadm{os.getpid()}")
            client.call(handover, Admitted, (theirs.fileno(),))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours


def fits(name: str, mask: str) -> bool:
    """Dovecot's wildcards: * and ?, nothing else."""
    return fnmatchcase(name, mask.replace("[", "[[]"))


def failure(error: MailError) -> Ended:
    """What a process answered, as an end of the command."""
    return Ended(EX_TEMPFAIL, f"Fatal: {error.reply.text}; the log of the mail system says more")
