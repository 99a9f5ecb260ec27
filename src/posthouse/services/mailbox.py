"""NAME
    mailbox - virtual delivery, IMAP and POP3 sessions: the one writer of its users' mail
SYNOPSIS
    mailbox [started by master, one per core]
DESCRIPTION
    Owns the mail stores of its share of the users (a hash of the address decides which worker). Everything that
    happens to a user's mail happens here, so that a message is announced to waiting sessions the moment it is stored.

    As delivery agent "virtual" it takes jobs from queue, writes them into Maildirs and reports them as written; a
    shared flush (mailbox_checkpoint_interval) makes them durable, and only then their outcome is told and logged.
    Headers Return-Path:, X-Original-To: and Delivered-To: are prepended. Mail for user+folder goes to the user's INBOX.

    As imap and pop3 it takes over connections from login: it redeems the one-time ticket at auth, opens the user's
    store and runs the session on the passed socket. On the admin socket it does the same for root's command doveadm,
    names and ends sessions, and tells about stores.

    After a crash, queue asks for what it cannot know with maybe_delivered, first of all. A delivery that is there, or
    was there and has been removed by its user since, is not made again.
STANDARDS
    RFC 3501 (IMAP4rev1), RFC 1939 (POP3), the Maildir++ specification
SECURITY
    Reads and writes mail stores and nothing else. Holds no password; who may open a mailbox is decided by auth, ticket
    by ticket, and a broken login process cannot name a user. Nor does the command doveadm get in without a ticket.
DIAGNOSTICS
    Deliveries are logged as Postfix's virtual(8), sessions as Dovecot's imap and pop3. When files cannot be written the
    line says who lacks which right where, and the command that mends it.
BUGS
    Mail files (mbox) are not supported for virtual users, nor users of several system uids in one process. A store
    whose index another process holds is answered with a temporary failure.
SEE ALSO
    login(8), queue(8), auth(8), virtual(5)
"""

import asyncio
import contextlib
import itertools
import os
import pwd
import socket
from collections import Counter
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Final

from posthouse.access.administration import LINE_LIMIT, MailboxAdministration
from posthouse.access.administration import SERVICE as DOVEADM
from posthouse.access.conversation import Conversation
from posthouse.access.imap.options import ImapOptions
from posthouse.access.imap.session import ImapSession
from posthouse.access.opening import Opening
from posthouse.access.pop3.options import Pop3Options
from posthouse.access.pop3.session import Pop3Session
from posthouse.config.configuration import Configuration
from posthouse.config.parameters import mailbox as parameters
from posthouse.config.parameters.general import VIRTUAL_MAILBOX_BASE
from posthouse.config.parameters.login import MAIL_MAX_USERIP_CONNECTIONS
from posthouse.config.parameters.master import VIRTUAL_USER
from posthouse.core.logline import Level, Message
from posthouse.core.reply import LOCAL_ERROR, PermFail, Reply, TempFail
from posthouse.delivery.virtual import VirtualDelivery, VirtualOptions
from posthouse.runtime.ipc import Connection, PeerLost, Responder, Server
from posthouse.runtime.process import Context, ProcessMain
from posthouse.runtime.schema import (
    AUTH_USERDB,
    MAILBOX_ADMIN,
    MAILBOX_HANDOVER,
    QUEUE_DELIVERY,
    Admitted,
    Deliver,
    Failure,
    Handover,
    LookupUser,
    NoSuchUser,
    Record,
    Redeem,
    Register,
    Retired,
    SessionEntry,
    UserEntry,
    Written,
)
from posthouse.store import permissions
from posthouse.store.checkpoint import Checkpoint
from posthouse.store.flush import Volumes
from posthouse.store.interface import StoreError
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.location import BadLocation, parse_location
from posthouse.store.maildir.store import MaildirStore
from posthouse.store.registry import Stores

AGENT: Final = "mailbox"
SWEEP_S: Final = 30.0
REST_S: Final = 1.0
RECONNECT_S: Final = 0.2
TICKET_REFUSED: Final = Reply.of(535, "5.7.8", "Authentication failed")
TOO_MANY: Final = "Maximum number of connections from user+IP exceeded (mail_max_userip_connections=%d)"


class MailboxProcess(ProcessMain):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sessions: dict[Conversation, SessionEntry] = {}
        self._numbers = itertools.count(1)
        self._open: Counter[tuple[str, str, str]] = Counter()
        """Sessions by protocol, user and address."""
        self._servers: list[Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._rester: asyncio.TimerHandle | None = None
        self._stopping = False
        self._last_left = asyncio.Event()

    # ── life ──

    def before_jail(self) -> None:
        # For the words about missing permissions; nobody can be looked up inside the jail.
        with contextlib.suppress(KeyError):
            name = self.context.settings[VIRTUAL_USER]
            permissions.NAMES[pwd.getpwnam(name).pw_uid] = name

    async def start(self) -> None:
        context = self.context
        self._loop = asyncio.get_running_loop()
        settings = context.settings
        self._environment = Environment(
            Volumes(settings[parameters.MAILBOX_FLUSH_METHOD], settings[parameters.MAILBOX_SYNCFS_LIMIT]),
            loop=self._loop,
            report=self._report,
            recovery_window_s=settings[parameters.MAILBOX_RECOVERY_WINDOW],
            now=context.clock.now,
        )
        self._stores = Stores(self._environment, settings[parameters.MAILBOX_IDLE_TIME])
        self._checkpoint = Checkpoint(settings[parameters.MAILBOX_CHECKPOINT_INTERVAL], context.report)
        self._auth = context.peer(AUTH_USERDB)
        self._delivery = VirtualDelivery(
            self._stores,
            self._checkpoint,
            VirtualOptions(),
            lookup_user=self._lookup_user,
            emit=context.emit,
            now=context.clock.now,
        )
        self._configure(context.configuration)
        self._queue = context.peer(QUEUE_DELIVERY, self._on_queue, on_connect=self._register)
        administration = MailboxAdministration(self._sessions, self._opened_with, self._stores.leave, self._on_doveadm)
        self._servers = [
            *context.serve(MAILBOX_HANDOVER, self._on_login),
            *context.serve(MAILBOX_ADMIN, administration.handle),
        ]
        self._spawn(self._stay_registered())
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        self._rester = self._loop.call_later(REST_S, self._rest)

    def _configure(self, configuration: Configuration) -> None:
        main, dovecot = configuration.main, configuration.dovecot
        self._imap = ImapOptions.from_settings(dovecot)
        limits = replace(self._imap.limits, line=LINE_LIMIT, literal=LINE_LIMIT)
        self._doveadm = replace(self._imap, limits=limits)
        self._pop3 = Pop3Options.from_settings(dovecot)
        self._max_connections = dovecot[MAIL_MAX_USERIP_CONNECTIONS]
        self._checkpoint.interval_s = main[parameters.MAILBOX_CHECKPOINT_INTERVAL]
        self._stores.idle_s = main[parameters.MAILBOX_IDLE_TIME]
        self._delivery.options = VirtualOptions(
            base=main[VIRTUAL_MAILBOX_BASE].rstrip("/"),
            message_limit=main[parameters.VIRTUAL_MAILBOX_LIMIT],
            user_cache_s=main[parameters.MAILBOX_USERDB_CACHE_TIME],
            over_quota_tempfail=dovecot[parameters.QUOTA_FULL_TEMPFAIL],
            over_quota_text=dovecot[parameters.QUOTA_EXCEEDED_MESSAGE],
        )
        self._delivery.forget_users()

    async def reload(self, configuration: Configuration) -> None:
        await super().reload(configuration)
        self._configure(configuration)

    async def drain(self) -> None:
        """Sessions hear BYE between two commands; deliveries under way are finished. login is told to answer itself."""
        self._stopping = True
        for session in list(self._sessions):
            session.shutdown("Server shutting down.")
        if self._sessions:
            await self._last_left.wait()
        await self._checkpoint.drained()

    async def stop(self) -> None:
        self._stopping = True
        for timer in (self._sweeper, self._rester):
            if timer is not None:
                timer.cancel()
        for server in self._servers:
            server.close()
        # No new jobs; what is written gets its answer if the queue still listens, else it asks again.
        await self._checkpoint.drained()
        self._queue.close()
        self._auth.close()
        for session in list(self._sessions):
            session.abort("Server shutting down.")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stores.close()
        self._environment.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        for session in list(self._sessions):
            session.sweep()
        self._stores.tidy()
        self._delivery.tidy()

    def _rest(self) -> None:
        self._rester = self._loop.call_later(REST_S, self._rest)
        self._stores.rest(self.context.settings[parameters.MAILBOX_INDEX_REST_TIME])

    def _report(self, words: str) -> None:
        self.context.emit(Message(Level.ERROR, AGENT, words))

    # ── queue ──

    async def _register(self, connection: Connection) -> None:
        await connection.call(Register(AGENT, self.context.worker))

    async def _stay_registered(self) -> None:
        """The queue gives its jobs to whoever is connected: come back whenever it does."""
        while not self._stopping:
            try:
                connection = await self._queue.connect()
            except TempFail:
                await asyncio.sleep(RECONNECT_S)
                continue
            await asyncio.shield(connection.closed)
            if not self._stopping:
                await asyncio.sleep(RECONNECT_S)

    def _on_queue(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        if isinstance(record, Retired):
            self._delivery.retired(record.deliveries)
            return
        assert isinstance(record, Deliver)
        assert respond is not None
        job = record
        content = job.content
        if descriptors:
            content = _read_descriptors(descriptors, job.size)

        def written(indexes: tuple[int, ...]) -> None:
            connection.notify(Written(job.queue_id, indexes))

        if self._delivery.try_now(job, content, written, respond):
            return

        async def later() -> None:
            try:
                await self._delivery.deliver(job, content, written, respond)
            except Exception as error:  # the edge: the queue tries again
                self.context.report(f"{job.queue_id}: delivering", error)
                respond(Failure(LOCAL_ERROR))

        self._spawn(later())

    async def _lookup_user(self, user: str) -> UserEntry | NoSuchUser:
        reply = await self._auth.call(LookupUser(user, "lmtp"))
        assert isinstance(reply, UserEntry | NoSuchUser)
        return reply

    # ── login ──

    def _on_login(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        assert isinstance(record, Handover)
        self._on_handover(connection, record, descriptors, respond, ("imap", "pop3"))

    def _on_doveadm(
        self, connection: Connection, handover: Handover, descriptors: list[int], respond: Responder | None
    ) -> None:
        self._on_handover(connection, handover, descriptors, respond, (DOVEADM,))

    def _on_handover(
        self,
        connection: Connection,
        record: Handover,
        descriptors: list[int],
        respond: Responder | None,
        protocols: tuple[str, ...],
    ) -> None:
        if len(descriptors) != 1 or record.protocol not in protocols:
            for descriptor in descriptors:
                os.close(descriptor)
            raise TempFail(LOCAL_ERROR)
        sock = socket.socket(fileno=descriptors[0])
        connection.respond_with(respond, self._take_over(record, sock))

    async def _take_over(self, handover: Handover, sock: socket.socket) -> Record:
        """Admitted once the session runs; until then the client is login's."""
        try:
            entry = await self._admit(handover)
            store = await self._store_of(entry)
            await self._begin(handover, entry.user, store, sock)
        except BadLocation as error:
            sock.close()
            self._report(f"{handover.protocol}: {error}")
            raise TempFail(LOCAL_ERROR) from error
        except BaseException:
            sock.close()
            raise
        return Admitted(os.getpid())

    async def _store_of(self, entry: UserEntry) -> MaildirStore:
        """Raises BadLocation."""
        return await self._stores.opened(parse_location(entry.mail, entry.home), entry.quota_octets)

    async def _opened_with(self, ticket: bytes) -> MaildirStore:
        """For a question of doveadm: in use until it is left."""
        entry = await self._redeem(ticket, DOVEADM)
        try:
            store = await self._store_of(entry)
        except BadLocation as error:
            self._report(f"{DOVEADM}: {error}")
            raise TempFail(LOCAL_ERROR) from error
        self._stores.enter(store)
        return store

    async def _redeem(self, ticket: bytes, service: str) -> UserEntry:
        """Raises PermFail for a ticket that is not good, TempFail if it cannot be known."""
        if self._stopping:
            raise TempFail(LOCAL_ERROR)
        entry = await self._auth.call(Redeem(ticket, service))
        if not isinstance(entry, UserEntry):
            raise PermFail(TICKET_REFUSED)
        return entry

    async def _admit(self, handover: Handover) -> UserEntry:
        """As `_redeem`; TempFail also if there are too many."""
        entry = await self._redeem(handover.ticket, handover.protocol)
        key = (handover.protocol, entry.user, _address(handover.remote))
        if handover.protocol != DOVEADM and self._max_connections and self._open[key] >= self._max_connections:
            raise TempFail(Reply.of(421, "4.7.0", TOO_MANY % self._max_connections))
        return entry

    async def _begin(self, handover: Handover, user: str, store: MaildirStore, sock: socket.socket) -> None:
        opening = Opening(
            user=user,
            tag=handover.tag,
            unread=handover.unread,
            remote=handover.remote,
            local=handover.local,
            session=handover.session,
            secured=handover.secured,
        )
        program = f"{handover.protocol}({user})<{os.getpid()}><{handover.session}>"
        key = (handover.protocol, user, _address(handover.remote))

        def closed(session: Conversation) -> None:
            self._sessions.pop(session, None)
            if self._stopping and not self._sessions:
                self._last_left.set()
            self._open[key] -= 1
            if self._open[key] <= 0:
                del self._open[key]
            self._stores.leave(store)
            words = f"Disconnected: {session.end_reason} {session.statistics_text()}"
            self.context.emit(Message(Level.INFO, program, words, is_dovecot=True))

        def failed(error: BaseException, text: str) -> None:
            if isinstance(error, StoreError):
                detail = getattr(error, "detail", "") or str(error)
                self.context.emit(Message(Level.ERROR, program, f"Error: {detail} ({text})", is_dovecot=True))
            else:
                self.context.report(f"{program}: {text}", error)

        session: ImapSession | Pop3Session
        if handover.protocol in ("imap", DOVEADM):
            options = self._imap if handover.protocol == "imap" else self._doveadm
            session = ImapSession(store, opening, options, on_closed=closed, on_error=failed)
        else:
            session = Pop3Session(store, opening, self._pop3, on_closed=closed, on_error=failed)
        number, remote = next(self._numbers), _address(handover.remote)
        self._sessions[session] = SessionEntry(number, user, handover.protocol, remote, os.getpid())
        self._open[key] += 1
        self._stores.enter(store)
        try:
            await self._loop.connect_accepted_socket(lambda: session, sock)
        except OSError as error:
            session.connection_lost(error)
            raise PeerLost(str(error)) from error


def _address(remote: str) -> str:
    """The address of "address:port", "[address]:port" or "address"."""
    if remote.startswith("["):
        return remote[1:].partition("]")[0]
    return remote.partition(":")[0] if remote.count(":") == 1 else remote


def _read_descriptors(descriptors: list[int], size: int) -> bytes:
    """The message from the one descriptor of the frame, which is closed."""
    try:
        pieces: list[bytes] = []
        at = 0
        while at < size and (piece := os.pread(descriptors[0], size - at, at)):
            pieces.append(piece)
            at += len(piece)
        if at != size:
            raise TempFail(LOCAL_ERROR)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
