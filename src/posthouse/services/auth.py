"""NAME
    auth - is the password right, and where is the mail
SYNOPSIS
    auth [started by master]
DESCRIPTION
    Answers every other process about users; only this process reads password hashes.

    On the login socket it carries out SASL exchanges (PLAIN and LOGIN). A right password for a service with
    mailboxes yields a ticket: good once, for that service, for auth_ticket_lifetime. On the userdb socket it says
    where a user's mail is, and redeems tickets for the mailbox process. On the directory socket it answers
    look-ups of hosted domains, accounts and aliases. On the admin socket it answers the command doveadm.

    A client with wrong logins waits before its next one is looked at (auth_penalty_lifetime).

    Passwords are hashed in threads in which client addresses take turns. A refusal is answered auth_failure_delay
    after the attempt, an unknown name costs the same work as a wrong password. Passwords that were right are
    remembered as keyed digests (auth_verified_cache_size), answers of databases elsewhere as they are
    (auth_cache_size). Last logins are written to the directory now and then, in a thread of their own
    (auth_last_login_interval).
STANDARDS
    RFC 4422 (SASL), RFC 4616 (PLAIN)
SECURITY
    Sees passwords in clear text, from processes that talk to strangers. Opens the account database, or connects to it
    (directory_database), and nothing else. Never sends a hash to anybody. Tickets are given to login and to
    root's doveadm only, and redeemed by mailbox only.
DIAGNOSTICS
    Refused logins are logged with auth_verbose; login and smtpd log them too. A client that made auth_ban_failures
    different wrong logins gets a line "ban: rip=…", for tools such as fail2ban. What keeps a login from being
    checked (a database or a hash that cannot be read) is an error and answered as a temporary failure.
BUGS
    Changes of directory_database, virtual_user, auth_argon2_* and auth_hash_* are noticed at a restart only.
SEE ALSO
    login(8), posthouse-user(1)
"""

import asyncio
import contextlib
import os
import pwd
import socket
import stat
import struct
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from posthouse.auth.administration import SERVICE as DOVEADM
from posthouse.auth.administration import Administration
from posthouse.auth.bookkeeping import Bookkeeping
from posthouse.auth.courier_clients import CourierClient
from posthouse.auth.databases.cached import AnswerCache
from posthouse.auth.databases.configured import Chains, build
from posthouse.auth.databases.embedded import APP_PASSWORD_FIELD
from posthouse.auth.databases.lookup import WEAK_FIELD, BadDatabase, DatabaseError, Question
from posthouse.auth.directory import Directory, DirectoryError
from posthouse.auth.enquiries import Enquiries
from posthouse.auth.exchange import Exchanges
from posthouse.auth.failures import Failures, Limits, networks
from posthouse.auth.foreign_auth import ForeignAuth
from posthouse.auth.foreign_clients import ForeignClient
from posthouse.auth.hashing import HashPool
from posthouse.auth.loginname import LoginNames
from posthouse.auth.logins import MAILBOX_SERVICES, Logins, Terms
from posthouse.auth.master_clients import MasterClient
from posthouse.auth.mechanism_secrets import Decoys
from posthouse.auth.opening import file_of, server_directory
from posthouse.auth.passdb import PassDb, Verdict
from posthouse.auth.policy import Policy, UnusablePolicy
from posthouse.auth.schemes import Argon2Cost, Hasher
from posthouse.auth.server_directory import ServerDirectory
from posthouse.auth.tickets import Tickets
from posthouse.auth.userdb import UserDb
from posthouse.auth.verified import VerifiedCache
from posthouse.config.configuration import Configuration
from posthouse.config.foreign_auth_place import foreign_auth_place
from posthouse.config.parameters import auth as parameters
from posthouse.config.parameters import auth_policy
from posthouse.config.parameters.general import MYHOSTNAME, RECIPIENT_DELIMITER
from posthouse.config.parameters.login import LOGIN_TRUSTED_NETWORKS
from posthouse.config.parameters.master import VIRTUAL_USER
from posthouse.core.logline import Level, Message
from posthouse.core.reply import LOCAL_ERROR
from posthouse.runtime.immediate import run_until_it_waits
from posthouse.runtime.ipc import Connection, Responder, SchemaError, Server
from posthouse.runtime.memory import give_back_blocks_above
from posthouse.runtime.process import Context, Listener, ProcessMain
from posthouse.runtime.schema import (
    AUTH_ADMIN,
    AUTH_DIRECTORY,
    AUTH_LOGIN,
    AUTH_USERDB,
    DirectoryValues,
    Failure,
    LookupDirectory,
    LookupUser,
    NoSuchUser,
    Note,
    Record,
    Redeem,
    Request,
)

TABLES: Final = ("domains", "accounts", "aliases")
"""Of the directory socket."""
SWEEP_S: Final = 10.0
"""Between two looks at exchanges that nobody continues and at a database file that was replaced."""
COMPLAIN_AGAIN_S: Final = 60.0
MAXIMAL_COMPLAINTS: Final = 1000
_LARGE_BLOCK: Final = 1 << 20
"""Octets; only the memory of a hash that is computed is larger here."""


class AuthProcess(ProcessMain):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._virtual_user: tuple[int, int] | None = None
        self._servers: list[Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._inode = (0, 0)
        self._chains: Chains
        self._server: ServerDirectory | None = None
        self._cache = AnswerCache(context.clock.monotonic)
        self._tasks: set[asyncio.Task[None]] = set()
        self._complained: dict[str, float] = {}
        self._foreign: dict[ForeignClient, Exchanges] = {}
        self._foreign_servers: list[asyncio.Server] = []
        self._public: set[str] = set()
        self._elsewhere: ForeignAuth | None = None
        self._enquirers: set[CourierClient | MasterClient] = set()

    def before_jail(self) -> None:
        give_back_blocks_above(_LARGE_BLOCK)
        main = self.context.settings
        self._server = server_directory(
            main[parameters.DIRECTORY_DATABASE], main[parameters.AUTH_SQL_THREADS], self.context.configuration.read
        )
        for listener in self.context.listeners:
            # As in Dovecot: a socket of mode 0666 for userdb look-ups tells everybody about his own uid only; with any
            # other mode whoever may connect may ask.
            if stat.S_IMODE(os.stat(path := listener.sock.getsockname()).st_mode) == 0o666:
                self._public.add(path)
        self._chains = self._built(self.context.configuration)
        if os.geteuid() == 0:
            # Names of users cannot be looked up inside the jail.
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(self.context.settings[VIRTUAL_USER])
                self._virtual_user = (entry.pw_uid, entry.pw_gid)

    async def start(self) -> None:
        monotonic = self.context.clock.monotonic
        self._monotonic = monotonic
        # Whoever is still root here runs in a system whose processes all keep the caller's identity (a sandbox).
        self._owner = (os.getuid(), os.getgid())
        if self._virtual_user is not None and os.geteuid() != 0:
            self._owner = self._virtual_user
        main = self.context.settings
        self._path = file_of(main[parameters.DIRECTORY_DATABASE])
        self._hasher = Hasher(
            Argon2Cost(
                main[parameters.AUTH_ARGON2_MEMORY],
                main[parameters.AUTH_ARGON2_TIME_COST],
                main[parameters.AUTH_ARGON2_PARALLELISM],
            )
        )
        self._decoy = await asyncio.get_running_loop().run_in_executor(None, self._hasher.decoy)
        self._verified = VerifiedCache(
            main[parameters.AUTH_VERIFIED_CACHE_SIZE], main[parameters.AUTH_VERIFIED_CACHE_LIFETIME]
        )
        self._pool = HashPool(
            main[parameters.AUTH_HASH_THREADS],
            main[parameters.AUTH_HASH_BACKLOG],
            main[parameters.AUTH_HASH_BACKLOG_PER_CLIENT],
        )
        self._tickets = Tickets(main[parameters.AUTH_TICKET_LIFETIME])
        self._failures = Failures(Limits(1, 0, 0, 0, ()), monotonic)
        self._decoys = Decoys()
        self._logins = Logins(
            tickets=self._tickets,
            failures=self._failures,
            emit=self.context.emit,
            monotonic=monotonic,
            busy=lambda: len(self._tasks),
            logged_in=self._enter,
        )
        self._enquiries = Enquiries(
            logins=self._logins,
            userdb=lambda: self._userdb,
            chains=lambda: self._chains,
            cache=self._cache,
            open_directory=self._open_to_write,
        )
        self._administration = Administration(
            logins=self._logins,
            userdb=lambda: self._userdb,
            chains=lambda: self._chains,
            cache=self._cache,
            spawn=self._spawn,
            trouble=self._trouble,
            monotonic=monotonic,
        )
        self._exchanges: dict[Connection, Exchanges] = {}
        if self._server is None:
            self._open_directory()
        else:
            self._server.hasher = self._hasher
        self._books = Bookkeeping(
            self._open_for_books, self._hasher, self._trouble, lambda user: self._cache.flush((user,))
        )
        self._configure(self.context.configuration)
        self._servers = [
            *self.context.serve(AUTH_LOGIN, self._on_login, on_connection=self._on_login_connection, client="login"),
            *self.context.serve(AUTH_LOGIN, self._on_smtp, on_connection=self._on_login_connection, client="smtpd"),
            *self.context.serve(AUTH_USERDB, self._on_mailbox, client="mailbox"),
            *self.context.serve(AUTH_DIRECTORY, self._on_directory),
            *self.context.serve(AUTH_ADMIN, self._administration.handle),
        ]
        for listener in self.context.ipc_listeners:
            if listener.endpoint.name == AUTH_USERDB.name and listener.client != "mailbox":
                self._servers += self.context.serve(AUTH_USERDB, self._on_userdb, client=listener.client)
        loop = asyncio.get_running_loop()
        for one in self.context.listeners:
            server = await loop.create_unix_server(self._client_of(one), sock=one.sock)
            self._foreign_servers.append(server)
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)

    def _client_of(self, listener: Listener) -> Callable[[], asyncio.BaseProtocol]:
        match listener.service:
            case "auth-client":
                return self._foreign_client
            case "auth-userdb":
                may_see = _own_uid if listener.sock.getsockname() in self._public else _everybody
                return partial(self._master_client, is_master=False, may_see=may_see)
            case "auth-master":
                return partial(self._master_client, is_master=True, may_see=_everybody)
            case "authdaemon":
                return self._courier_client
            case other:
                raise ValueError(f"nobody answers on a listener of {other}")

    def _courier_client(self) -> CourierClient:
        return CourierClient(self._enquiries, self._spawn, self._trouble, self._admit, self._enquirers.discard)

    def _master_client(
        self, *, is_master: bool, may_see: Callable[[socket.socket], Callable[[int], bool]]
    ) -> MasterClient:
        return MasterClient(
            self._enquiries,
            self._spawn,
            self._trouble,
            self._admit,
            self._enquirers.discard,
            pid=os.getpid(),
            is_master=is_master,
            may_see=may_see,
        )

    def _admit(self, client: CourierClient | MasterClient) -> bool:
        if len(self._enquirers) >= self._logins.terms.exchange_limit:
            return False
        self._enquirers.add(client)
        return True

    def _foreign_client(self) -> ForeignClient:
        return ForeignClient(
            self._logins.mechanisms(), os.getpid(), self._on_foreign, self._foreign_began, self._foreign_ended
        )

    def _foreign_began(self, client: ForeignClient) -> None:
        self._foreign[client] = Exchanges()

    def _foreign_ended(self, client: ForeignClient, why: str) -> None:
        self._foreign.pop(client, None)
        if why:
            self._say(Level.WARNING, f"Warning: a client of service auth was cut off: {why}")

    def _on_foreign(
        self, client: ForeignClient, record: Request | Note, respond: Callable[[Record], None] | None
    ) -> None:
        self._logins.on_record(self._foreign[client], record, respond, is_foreign=True)

    def _open_directory(self) -> None:
        main = self.context.settings
        self._directory = Directory.open(
            self._path, hasher=self._hasher, cache_entries=main[parameters.DIRECTORY_CACHE_ENTRIES]
        )
        self._inode = _inode(self._path)

    def _open_to_write(self) -> Directory:
        """In a thread."""
        if self._server is not None:
            return self._server.open()
        return Directory.open(self._path, hasher=self._hasher)

    def _open_for_books(self) -> Directory:
        """In a thread."""
        return self._server.open() if self._server is not None else Directory.open_for_notes(self._path)

    def _configure(self, configuration: Configuration) -> None:
        """Everything that a reload may change."""
        main, dovecot = configuration.main, configuration.dovecot
        self._logins.terms = Terms(
            dovecot[parameters.AUTH_MECHANISMS],
            refuses_plaintext=dovecot[parameters.DISABLE_PLAINTEXT_AUTH],
            failure_delay_s=dovecot[parameters.AUTH_FAILURE_DELAY],
            is_verbose=dovecot[parameters.AUTH_VERBOSE],
            exchange_limit=main[parameters.AUTH_EXCHANGE_LIMIT],
            exchange_timeout_s=main[parameters.AUTH_EXCHANGE_TIMEOUT],
            hostname=main.text(MYHOSTNAME.name),
            realms=dovecot[parameters.AUTH_REALMS],
            anonymous_user=dovecot[parameters.AUTH_ANONYMOUS_USERNAME],
            needs_certificate=dovecot[parameters.AUTH_SSL_REQUIRE_CLIENT_CERT],
        )
        self._tickets.lifetime_s = main[parameters.AUTH_TICKET_LIFETIME]
        self._verified.resize(main[parameters.AUTH_VERIFIED_CACHE_SIZE], main[parameters.AUTH_VERIFIED_CACHE_LIFETIME])
        self._cache.resize(
            dovecot[parameters.AUTH_CACHE_SIZE],
            dovecot[parameters.AUTH_CACHE_TTL],
            dovecot[parameters.AUTH_CACHE_NEGATIVE_TTL],
        )
        is_penalised = dovecot[parameters.AUTH_PENALTY_MODE].strip("0") != ""
        self._failures.limits = Limits(
            main[parameters.AUTH_PENALTY_CLIENTS],
            main[parameters.AUTH_PENALTY_LIFETIME] if is_penalised else 0,
            main[parameters.AUTH_BAN_FAILURES],
            main[parameters.AUTH_BAN_WINDOW],
            networks((*main[parameters.AUTH_PENALTY_EXEMPT_NETWORKS], *dovecot[LOGIN_TRUSTED_NETWORKS])),
        )
        names = LoginNames(
            dovecot[parameters.AUTH_USERNAME_FORMAT],
            dovecot[parameters.AUTH_DEFAULT_REALM],
            dovecot[parameters.AUTH_USERNAME_CHARS],
        )
        self._books.configure(
            main[parameters.AUTH_LAST_LOGIN_INTERVAL],
            rehashes=main[parameters.AUTH_REHASH_WEAK_PASSWORDS],
            mechanisms=frozenset(name.upper() for name in dovecot[parameters.AUTH_MECHANISMS]),
        )
        self._set_foreign_auth(configuration)
        self._logins.passdb = PassDb(
            blocks=self._chains.passdbs,
            masters=self._chains.masters,
            names=names,
            master_separator=dovecot[parameters.AUTH_MASTER_USER_SEPARATOR],
            pool=self._pool,
            verified=self._verified,
            decoy=self._decoy,
            decoys=self._decoys,
            monotonic=self._monotonic,
            spawn=self._spawn,
            trouble=self._trouble,
        )
        if self._logins.policy is not None:
            self._logins.policy.close()
        self._logins.policy = self._policy(configuration)
        self._userdb = UserDb(
            self._chains.userdbs,
            home=dovecot[parameters.MAIL_HOME],
            mail=dovecot[parameters.MAIL_LOCATION],
            uid=self._owner[0],
            gid=self._owner[1],
            delimiters=main[RECIPIENT_DELIMITER],
            valid_uids=(dovecot[parameters.FIRST_VALID_UID], dovecot[parameters.LAST_VALID_UID]),
            trouble=self._trouble,
        )

    def _policy(self, configuration: Configuration) -> Policy | None:
        dovecot = configuration.dovecot
        if not dovecot[auth_policy.AUTH_POLICY_SERVER_URL]:
            return None
        # Loaded where it is configured.
        from posthouse.auth.policy_server import BadPolicy, PolicyServer, PolicySettings

        settings = PolicySettings(
            dovecot[auth_policy.AUTH_POLICY_SERVER_URL],
            dovecot[auth_policy.AUTH_POLICY_SERVER_API_HEADER],
            dovecot[auth_policy.AUTH_POLICY_SERVER_TIMEOUT_MSECS] / 1000,
            dovecot[auth_policy.AUTH_POLICY_HASH_MECH],
            dovecot[auth_policy.AUTH_POLICY_HASH_NONCE],
            dovecot[auth_policy.AUTH_POLICY_HASH_TRUNCATE],
            dovecot[auth_policy.AUTH_POLICY_REQUEST_ATTRIBUTES],
            dovecot[auth_policy.AUTH_POLICY_REJECT_ON_FAIL],
            dovecot[auth_policy.AUTH_POLICY_CHECK_BEFORE_AUTH],
            dovecot[auth_policy.AUTH_POLICY_CHECK_AFTER_AUTH],
            dovecot[auth_policy.AUTH_POLICY_REPORT_AFTER_AUTH],
            dovecot[auth_policy.AUTH_POLICY_LOG_ONLY],
            configuration.main[auth_policy.AUTH_POLICY_DELAY_LIMIT],
        )
        try:
            return PolicyServer(
                settings, spawn=self._spawn, say=lambda words: self._say(Level.INFO, words), trouble=self._trouble
            )
        except (BadPolicy, OSError) as error:
            self._say(Level.ERROR, f"Error: {error}: the policy server is not asked")
            return UnusablePolicy() if settings.rejects_on_fail else None

    def _set_foreign_auth(self, configuration: Configuration) -> None:
        place = foreign_auth_place(configuration)
        if place == (self._elsewhere.place if self._elsewhere is not None else ""):
            return
        if self._elsewhere is not None:
            self._elsewhere.close()
        self._elsewhere = None
        if place:
            self._elsewhere = ForeignAuth(
                place,
                pid=os.getpid(),
                timeout_s=configuration.main[parameters.AUTH_EXCHANGE_TIMEOUT],
                limit=configuration.main[parameters.AUTH_EXCHANGE_LIMIT],
                ask_master=self.context.request_auth_server,
                report=lambda words: self._trouble("auth", words),
            )
            self._elsewhere.start()

    def _built(self, configuration: Configuration) -> Chains:
        return build(
            configuration.dovecot.values,
            self._server or (lambda: self._directory),
            self._cache,
            configuration.read,
            threads=configuration.main[parameters.AUTH_SQL_THREADS],
            default_scheme=configuration.dovecot[parameters.DEFAULT_PASS_SCHEME],
            token_clock_skew_s=configuration.main[parameters.AUTH_TOKEN_CLOCK_SKEW],
        )

    async def reload(self, configuration: Configuration) -> None:
        await super().reload(configuration)
        try:
            chains = self._built(configuration)
        except (BadDatabase, OSError, UnicodeDecodeError) as error:
            # Who is here can go on logging in.
            self._say(Level.ERROR, f"Error: {error}: the passdb and userdb blocks from before stay in use")
        else:
            self._chains.close()
            self._chains = chains
        self._configure(configuration)

    def auth_server(self, descriptor: int, error: str) -> None:
        if self._elsewhere is not None:
            self._elsewhere.opened(descriptor, error)
        else:
            super().auth_server(descriptor, error)

    async def drain(self) -> None:
        for foreign in self._foreign_servers:
            foreign.close()
        await super().drain()

    async def stop(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._logins.delayed.flush()
        if self._elsewhere is not None:
            self._elsewhere.close()
        for server in self._servers:
            server.close()
        for foreign in self._foreign_servers:
            foreign.close()
        for client in (*self._foreign, *self._enquirers):
            client.close()
        for task in list(self._tasks):
            task.cancel()
        self._chains.close()
        if self._logins.policy is not None:
            self._logins.policy.close()
        self._pool.close()
        self._books.close()
        if self._server is not None:
            self._server.close()
        else:
            self._directory.close()

    def _sweep(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        if put_off := self._logins.take_put_off():
            # Once per sweep: a flood must not become a flood of lines.
            self._say(
                Level.WARNING,
                f"Warning: {put_off} logins were put off, because too many passwords wait to be checked"
                " (auth_hash_backlog, auth_hash_backlog_per_client)",
            )
        now_s = self._monotonic()
        for exchanges in (*self._exchanges.values(), *self._foreign.values()):
            exchanges.expire(now_s)
        if self._server is None and _inode(self._path) not in (self._inode, (0, 0)):
            self._reopen()

    def _reopen(self) -> None:
        """The file was replaced, by a restored backup for instance: the one we hold is no longer the directory."""
        old = self._directory
        try:
            self._open_directory()
        except DirectoryError as error:
            self._say(Level.ERROR, f"Error: the directory was replaced by one that cannot be opened: {error}")
            return
        old.close()
        self._configure(self.context.configuration)
        self._say(Level.INFO, "the directory was replaced; using the new one")

    def _say(self, level: Level, words: str) -> None:
        self.context.emit(Message(level, "auth", words, is_dovecot=True))

    # ── login socket ──

    def _on_login_connection(self, connection: Connection) -> None:
        self._exchanges[connection] = Exchanges()
        connection.closed.add_done_callback(lambda _: self._exchanges.pop(connection, None))

    def _on_login(
        self,
        connection: Connection,
        record: Record,
        descriptors: list[int],  # noqa: ARG002 - this endpoint carries none
        respond: Responder | None,
    ) -> None:
        self._logins.on_record(self._exchanges[connection], record, respond, services=MAILBOX_SERVICES)

    def _on_smtp(
        self,
        connection: Connection,
        record: Record,
        descriptors: list[int],  # noqa: ARG002
        respond: Responder | None,
    ) -> None:
        if self._elsewhere is not None:
            self._elsewhere.on_record(connection, record, respond)
            return
        self._logins.on_record(self._exchanges[connection], record, respond)

    def _enter(self, verdict: Verdict, service: str, password: bytes | None) -> None:
        """A login, into the books."""
        if verdict.master or service == DOVEADM:
            return
        label = verdict.fields.get(APP_PASSWORD_FIELD, "")
        is_ours = verdict.database == "directory"
        if is_ours:
            self._books.login(verdict.user, service, label, self.context.clock.now())
        where = verdict.fields.get(WEAK_FIELD, "")
        if password is not None and where and not label:
            elsewhere = self._chains.rehashes.get(where)
            if is_ours or elsewhere is not None:
                self._books.weak(verdict.user, password, None if is_ours else elsewhere)

    # ── userdb socket ──

    def _on_mailbox(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        if isinstance(record, Redeem) and respond is not None:
            redeemed = self._tickets.redeem(record.ticket, record.service, self._monotonic())
            if redeemed is None:
                respond(NoSuchUser())
            else:
                user, fields = redeemed
                # The account may have gone or been disabled since the ticket was issued.
                # An administrator also sees to the mail of those who may not log in.
                for_login = record.service != DOVEADM
                self._find(Question(user, record.service, prefetched=fields), respond, for_login=for_login)
        else:
            self._on_userdb(connection, record, descriptors, respond)

    def _on_userdb(
        self,
        connection: Connection,  # noqa: ARG002 - the signature of all handlers
        record: Record,
        descriptors: list[int],  # noqa: ARG002
        respond: Responder | None,
    ) -> None:
        if not isinstance(record, LookupUser) or respond is None:
            raise SchemaError(f"unexpected {type(record).__name__}")
        self._find(Question(record.user, record.service), respond, for_login=False)

    def _find(self, question: Question, respond: Responder, *, for_login: bool) -> None:
        async def find() -> None:
            try:
                respond(await self._userdb.find(question, for_login=for_login) or NoSuchUser())
            except DatabaseError as error:
                self._trouble("userdb", str(error))
                respond(Failure(LOCAL_ERROR))

        if self._userdb.is_immediate:
            run_until_it_waits(find(), self._spawn)
        else:
            self._spawn(find())

    def _trouble(self, database: str, words: str) -> None:
        """A database that is down fails for every login: one line a minute says enough."""
        now_s = self._monotonic()
        if now_s >= self._complained.get(words, float("-inf")):
            if len(self._complained) >= MAXIMAL_COMPLAINTS:
                self._complained.clear()
            self._complained[words] = now_s + COMPLAIN_AGAIN_S
            self._say(Level.ERROR, f"Error: {database}: {words}")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.context.report("answering a question about a user", error)

    # ── directory socket ──

    def _on_directory(
        self,
        connection: Connection,  # noqa: ARG002
        record: Record,
        descriptors: list[int],  # noqa: ARG002
        respond: Responder | None,
    ) -> None:
        if not isinstance(record, LookupDirectory) or respond is None:
            raise SchemaError(f"unexpected {type(record).__name__}")
        if record.table == "accounts" and self._chains.are_configured[1]:
            self._spawn(self._account_values(record.key, respond))
            return
        if record.table not in TABLES:
            raise SchemaError(f"unknown table {record.table!r}")
        if self._server is not None:
            self._spawn(self._server_values(self._server, record, respond))
            return
        try:
            respond(DirectoryValues(_values(self._directory, record)))
        except DirectoryError as error:
            respond(self._lookup_failed(error))

    async def _server_values(self, server: ServerDirectory, record: LookupDirectory, respond: Responder) -> None:
        try:
            values = await server.ask(lambda directory: _values(directory, record))
        except DirectoryError as error:
            respond(self._lookup_failed(error))
        else:
            respond(DirectoryValues(values))

    async def _account_values(self, key: str, respond: Responder) -> None:
        """Whoever a userdb knows is an account of directory:accounts too, so that mail for him is accepted."""
        try:
            entry = await self._userdb.find(Question(key))
        except DatabaseError as error:
            self._trouble("userdb", str(error))
            respond(Failure(LOCAL_ERROR))
        else:
            respond(DirectoryValues((key,) if entry is not None else None))

    def _lookup_failed(self, error: DirectoryError) -> Failure:
        self._trouble("directory", str(error))
        return Failure(LOCAL_ERROR)


def _values(directory: Directory, record: LookupDirectory) -> tuple[str, ...] | None:
    match record.table:
        case "aliases":
            return directory.targets(record.key) or None
        case "accounts":
            account = directory.account(record.key)
            return (account.address,) if account is not None else None
        case _:
            return (record.key,) if directory.has_domain(record.key) else None


def _everybody(_: socket.socket) -> Callable[[int], bool]:
    return lambda _: True


def _own_uid(sock: socket.socket) -> Callable[[int], bool]:
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return lambda of: uid in (0, of)


def _inode(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)
