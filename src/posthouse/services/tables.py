"""NAME
    tables - lookup tables and address resolution
SYNOPSIS
    tables [generic service options]
DESCRIPTION
    Answers for processes that may open no files: where does an address go and does it exist (Resolve), what do virtual
    aliases make of it (ExpandVirtual), what stands in the alias tables (LookupAlias), what does a table of main.cf
    say about a key (Lookup). It does the work of Postfix's proxymap and trivial-rewrite.

    Tables that are files are read again when they change; the embedded directory is asked of the auth process. What
    was found is remembered for directory_cache_time; what was not found is looked up every time.
STANDARDS
    RFC 5321 (SMTP protocol), RFC 5890 (internationalised domain names)
SECURITY
    Reads the administrator's tables only; no network, no mail. Lookup answers for parameters in a fixed list, so that a
    broken client learns nothing it could not learn from its own service. What smtpd is told about a recipient it may
    carry to the queue, sealed with a key that only the queue and this process have (SealFor). Credentials for
    smarthosts are among the tables: only the smtp process may ask for smtp_sasl_password_maps.
DIAGNOSTICS
    A table that cannot be read is a warning in the log and a temporary failure for whoever needs it.
SEE ALSO
    transport(5), virtual(5), aliases(5), access(5), cidr_table(5), regexp_table(5)
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from posthouse.config.interfaces import addresses, select
from posthouse.config.parameters import general
from posthouse.config.parameters.tables import DIRECTORY_CACHE_TIME
from posthouse.core.address import Address
from posthouse.core.logline import Level, Message
from posthouse.core.reply import LOCAL_ERROR, MailError, Reply, TempFail
from posthouse.routing.expansion import Expander
from posthouse.routing.hostnames import literal_address
from posthouse.routing.resolution import Router, origin_of
from posthouse.runtime.ipc import Connection, Peer, Responder, SchemaError
from posthouse.runtime.process import Context, ProcessMain
from posthouse.runtime.schema import (
    AUTH_DIRECTORY,
    TABLES,
    AliasExpansion,
    DirectoryValues,
    Done,
    ExpandVirtual,
    Expansion,
    Failure,
    Lookup,
    LookupAlias,
    LookupDirectory,
    LookupResult,
    Record,
    Request,
    Resolution,
    Resolve,
    SealFor,
)
from posthouse.runtime.sealing import SealedAnswer, seal
from posthouse.tables.file import read_source
from posthouse.tables.maps import Maps
from posthouse.tables.matching import MatchList, Style
from posthouse.tables.opening import Tables, names_in
from posthouse.tables.support import LIST_PARAMETERS, NETWORK_LISTS
from posthouse.tables.table import TableError

SECRET_PARAMETERS: Final = frozenset({"smtp_sasl_password_maps", "lmtp_sasl_password_maps"})
"""Answered to the smtp process only."""
NEVER_ANSWERED: Final = frozenset({"tls_server_sni_maps"})
"""Hold private keys, which no process gets this way."""
MAXIMAL_SEALED: Final = 10
"""Recipients of one expansion that travel with the message; of longer ones the queue asks."""
MAXIMAL_ANSWERS: Final = 20_000
"""Remembered positive answers; the memory starts anew when it is full."""
LOOKUP_TIMEOUT_S: Final = 20.0
"""A directory that does not answer by then is a temporary failure; shorter than any SMTP client's patience."""


class Work:
    """Runs a coroutine that mostly does not wait: no task, no turn of the loop if it ends at once."""

    __slots__ = ("_coroutine", "_fail", "_respond")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Record],
        respond: Callable[[Record], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._coroutine = coroutine
        self._respond = respond
        self._fail = fail

    def step(self, _: object = None) -> None:
        try:
            waits_for = self._coroutine.send(None)
        except StopIteration as stopped:
            self._respond(stopped.value)
        except MailError as error:
            self._fail(error)
            self._respond(Failure(error.reply))
        except Exception as error:  # the edge: a bug here costs the asker a retry
            self._fail(error)
            self._respond(Failure(LOCAL_ERROR))
        else:
            # What asyncio.Task does with a future that its coroutine waits for.
            waits_for._asyncio_future_blocking = False
            waits_for.add_done_callback(self.step)


class Answers:
    """Positive answers for a moment: smtpd and queue ask about the same recipient within milliseconds."""

    def __init__(self, now: Callable[[], float], keep_s: float) -> None:
        self._now = now
        self._keep_s = keep_s
        self._entries: dict[tuple[type, Address], tuple[float, Record]] = {}

    def get(self, key: tuple[type, Address]) -> Record | None:
        entry = self._entries.get(key)
        return entry[1] if entry is not None and entry[0] > self._now() else None

    def put(self, key: tuple[type, Address], answer: Record) -> None:
        if self._keep_s <= 0:
            return
        if len(self._entries) >= MAXIMAL_ANSWERS:
            self._entries.clear()
        self._entries[key] = (self._now() + self._keep_s, answer)


class TablesProcess(ProcessMain):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._origin = ""
        self._own_addresses: frozenset[str] = frozenset()
        self._directory: Peer | None = None
        self._complained: dict[str, float] = {}
        self._seal_key = b""
        """Of the queue that runs now; empty until it has said so."""

    def before_jail(self) -> None:
        settings = self.context.settings
        try:
            self._origin = origin_of(settings[general.MYORIGIN], read_source)
        except OSError as error:
            self._warn(f"myorigin: {error}")
            self._origin = settings[general.MYHOSTNAME]
        interfaces = settings[general.INET_INTERFACES]
        own = {str(one.ip) for one in select(addresses(), interfaces, ("all",))}
        own.update(
            one for word in settings[general.PROXY_INTERFACES] if (one := literal_address(f"[{word.strip('[]')}]"))
        )
        self._own_addresses = frozenset(own)
        self._build()

    def _build(self) -> None:
        settings = self.context.settings
        clock = self.context.clock
        aliases = frozenset(
            name for parameter in ("alias_maps", "alias_database") for name in names_in(settings.text(parameter))
        )
        self.tables = Tables(clock.monotonic, self._warn, self._ask_directory, aliases, settings[DIRECTORY_CACHE_TIME])
        self.router = Router(settings, self.tables, self._own_addresses, self._origin)
        self.expander = Expander(settings, self.router)
        self._aliases = Maps("alias_maps", self.tables.open_all(settings.text("alias_maps")))
        self._answers = Answers(clock.monotonic, settings[DIRECTORY_CACHE_TIME])
        self._maps: dict[str, Maps | MatchList] = {}
        for problem in (
            problem
            for one in (
                self.router.classes.mydestination,
                self.router.classes.virtual_alias,
                self.router.classes.virtual_mailbox,
                self.router.classes.relay,
            )
            for problem in one.problems()
        ):
            self._warn(problem)

    async def start(self) -> None:
        if not hasattr(self, "router"):
            self.before_jail()
        self._directory = self.context.peer(AUTH_DIRECTORY)
        for listener in self.context.ipc_listeners:
            if listener.endpoint.name == TABLES.name:
                handler = {"smtp": self._handle_smtp, "queue": self._handle_queue}.get(listener.client, self._handle)
                self.context.serve(TABLES, handler, client=listener.client)

    async def stop(self) -> None:
        if self._directory is not None:
            self._directory.close()
        self.tables.close()

    # ── requests ──

    def _handle_queue(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        if isinstance(record, SealFor) and respond is not None:
            self._seal_key = record.key
            respond(Done())
            return
        self._handle(connection, record, descriptors, respond)

    def _handle_smtp(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        if isinstance(record, Lookup) and record.maps in SECRET_PARAMETERS and respond is not None:
            self._run(self._lookup(record), respond)
            return
        self._handle(connection, record, descriptors, respond)

    def _handle(
        self,
        connection: Connection,  # noqa: ARG002 - a Handler's signature
        record: Record,
        descriptors: list[int],  # noqa: ARG002 - a Handler's signature
        respond: Responder | None,
    ) -> None:
        assert respond is not None
        match record:
            case Resolve():
                kind = SealedAnswer if record.for_delivery else Resolve
                if (answer := self._answers.get((kind, record.recipient))) is not None:
                    respond(answer)
                else:
                    self._run(self._resolve(record), respond)
            case ExpandVirtual():
                if (answer := self._answers.get((ExpandVirtual, record.recipient))) is not None:
                    respond(answer)
                else:
                    self._run(self._expand(record), respond)
            case LookupAlias():
                self._run(self._lookup_alias(record), respond)
            case Lookup():
                if record.maps in SECRET_PARAMETERS:
                    raise SchemaError(f"lookup in {record.maps} is not for this client")
                self._run(self._lookup(record), respond)
            case _:
                raise SchemaError(f"unexpected {type(record).__name__}")

    def _run(self, coroutine: Coroutine[Any, Any, Record], respond: Responder) -> None:
        Work(coroutine, respond, self._failed).step()

    async def _resolve(self, request: Resolve) -> Resolution:
        resolution = await self.router.resolve(request.recipient, request.sender)
        if resolution.known and resolution.error_reply is None and not self.router.depends_on_sender:
            self._answers.put((Resolve, request.recipient), resolution)
            if request.for_delivery and self._seal_key:
                resolution = msgspec.structs.replace(resolution, sealed=await self._sealed(resolution))
                self._answers.put((SealedAnswer, request.recipient), resolution)
        return resolution

    async def _sealed(self, resolution: Resolution) -> bytes:
        """All that the queue would ask about this recipient, as long as that is little."""
        recipient = resolution.recipient
        at_s = self.context.clock.monotonic()
        expansion: Expansion | None = None
        routes: tuple[Resolution, ...] = (resolution,)
        if self.router.virtual_alias_maps:
            try:
                expansion = await self._expansion(recipient)
                if expansion.recipients != (recipient,):
                    if len(expansion.recipients) > MAXIMAL_SEALED:
                        return b""
                    routes = tuple([await self.router.resolve(one) for one in expansion.recipients])
            except MailError:
                return b""  # the queue asks by itself, and says what is wrong
        return seal(self._seal_key, SealedAnswer(at_s, recipient, expansion, routes))

    async def _expansion(self, recipient: Address) -> Expansion:
        recipients = await self.expander.expand(recipient)
        return Expansion(recipients, recipients == (recipient,) and await self.expander.is_whole_domain(recipient))

    async def _expand(self, request: ExpandVirtual) -> Expansion:
        expansion = await self._expansion(request.recipient)
        # That an address is no alias is remembered only while it is known to exist by itself: a new alias for an
        # unknown address works at once.
        if expansion.recipients != (request.recipient,) or self._answers.get((Resolve, request.recipient)) is not None:
            self._answers.put((ExpandVirtual, request.recipient), expansion)
        return expansion

    async def _lookup_alias(self, request: LookupAlias) -> AliasExpansion:
        value = await self._aliases.find(request.name)
        if value is None:
            return AliasExpansion(None)
        return AliasExpansion(value, await self._aliases.find(f"owner-{request.name}") is not None)

    async def _lookup(self, request: Lookup) -> LookupResult:
        tables = self._maps.get(request.maps)
        if tables is None:
            tables = self._maps[request.maps] = self._opened(request.maps)
        if isinstance(tables, MatchList):
            return LookupResult("" if await tables.matches(request.key) else None)
        return LookupResult(await tables.find(request.key))

    def _opened(self, parameter: str) -> Maps | MatchList:
        """Only parameters that hold tables are answered; of others nothing is said, not even that they exist."""
        settings = self.context.settings
        if parameter in LIST_PARAMETERS and parameter in settings.registry.params:
            parents = parameter in settings[general.PARENT_DOMAIN_MATCHES_SUBDOMAINS]
            style = Style.NETWORK if parameter in NETWORK_LISTS else Style.PARENT if parents else Style.TEXT
            return MatchList(parameter, names_in(settings.text(parameter)), style, self.tables.open)
        if parameter.endswith("_maps") and parameter not in NEVER_ANSWERED and parameter in settings.registry.params:
            return Maps(parameter, self.tables.open_all(settings.text(parameter)))
        raise TempFail(Reply.of(451, "4.3.5", "Server configuration problem"))

    # ── the directory ──

    def _ask_directory(self, table: str, key: str) -> "asyncio.Future[tuple[str, ...] | None]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[str, ...] | None] = loop.create_future()
        connection = self._directory.connection if self._directory is not None else None
        if connection is not None:
            self._question(connection, LookupDirectory(table, key), answer)
        else:
            loop.create_task(self._connect_and_ask(LookupDirectory(table, key), answer)).add_done_callback(_retrieved)
        return answer

    async def _connect_and_ask(
        self, request: LookupDirectory, answer: "asyncio.Future[tuple[str, ...] | None]"
    ) -> None:
        assert self._directory is not None
        try:
            connection = await self._directory.connect()
        except MailError as error:
            if not answer.done():
                answer.set_exception(error)
            return
        self._question(connection, request, answer)

    @staticmethod
    def _question(connection: Connection, request: Request, answer: "asyncio.Future[tuple[str, ...] | None]") -> None:
        def take(question: "asyncio.Future[Any]") -> None:
            timer.cancel()
            if answer.done():
                question.exception()
            elif (error := question.exception()) is not None:
                answer.set_exception(error)
            else:
                reply = question.result()
                answer.set_result(reply.values if isinstance(reply, DirectoryValues) else None)

        def give_up() -> None:
            if not answer.done():
                answer.set_exception(TempFail(LOCAL_ERROR))

        timer = asyncio.get_running_loop().call_later(LOOKUP_TIMEOUT_S, give_up)
        connection.call(request).add_done_callback(take)

    # ── the log ──

    def _failed(self, error: BaseException) -> None:
        if not isinstance(error, MailError):
            self.context.report("answering a lookup", error)
        elif isinstance(error, TableError):
            # A broken table fails for every message; one line a minute says enough.
            now = self.context.clock.monotonic()
            if now >= self._complained.get(error.why, float("-inf")):
                if len(self._complained) > 1000:
                    self._complained.clear()
                self._complained[error.why] = now + 60
                self._warn(f"table lookup problem: {error.why}")

    def _warn(self, words: str) -> None:
        self.context.emit(Message(Level.WARNING, "proxymap", f"warning: {words}"))


def _retrieved(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()
