"""NAME
    queue - pickup, cleanup, qmgr, bounce, defer, trace, flush, showq, error, retry, discard
SYNOPSIS
    queue [generic service options]
DESCRIPTION
    Owns every message between its acceptance and its delivery. A message is accepted (from smtpd and other
    receivers, or from the maildrop) by one record in the journal; virtual aliases are expanded before. From then on
    it is tried for each recipient through the delivery processes mailbox, smtp and local, until it is delivered,
    returned or expired. What stays is kept in an index, so that a large queue costs neither memory nor time.

    Mail for transports of the commands error, retry and discard ends here. Local aliases are followed here;
    commands and files named by aliases are the local process's business. docs/queue-states.md describes every step
    and what a crash leaves there.
STANDARDS
    RFC 5321 (SMTP protocol), RFC 3461-3464 (delivery status notifications), RFC 2033 (LMTP), RFC 6533 (SMTPUTF8)
SECURITY
    Sees all mail, and may touch nothing but the spool. It parses no mail (except the header of what users here
    submit) and talks to no network; the processes that do reach it through typed records only. Files in the
    maildrop are written by anybody and read with suspicion.
DIAGNOSTICS
    Every attempt is a line in the log. Damage in the journal is named, set aside in corrupt/, and costs nothing
    else. A disk that fails to flush is reported and never trusted again with the same file.
BUGS
    One recipient of a remote message can get it twice if the machine stops between the peer's last word and the
    flush of its record.
SEE ALSO
    smtpd, smtp, mailbox, local, sendmail(1), postqueue(1), postsuper(1), postcat(1)
"""

import asyncio
import functools
import gc
import sys
from pathlib import Path
from typing import Final

from posthouse.config.configuration import Configuration
from posthouse.config.parameters import general
from posthouse.config.parameters import queue as parameters
from posthouse.core.address import Address
from posthouse.core.logline import Level, Message
from posthouse.intake.date import format_date
from posthouse.intake.header import check_octets, prepare
from posthouse.intake.received import received_from_user
from posthouse.intake.rules import Rules
from posthouse.queue.administration import Administration
from posthouse.queue.agents import Agent
from posthouse.queue.aliasing import Aliasing
from posthouse.queue.cleanup import Cleanup
from posthouse.queue.content import ContentFiles
from posthouse.queue.dispatch import DispatchLimits
from posthouse.queue.fileops import FileOps
from posthouse.queue.housekeeping import (
    DeferredSegments,
    Housekeeping,
    HousekeepingSettings,
    Spares,
    remove_garbage,
)
from posthouse.queue.ledger import Ledger
from posthouse.queue.lookups import Lookups
from posthouse.queue.manager import Manager, ManagerSettings
from posthouse.queue.notices import Notices, NoticeSettings
from posthouse.queue.passthrough import Passthrough
from posthouse.queue.pickup import Pickup, PickupSettings
from posthouse.queue.reception import Reception, ReceptionSettings
from posthouse.queue.recovery import Recovered, Spool, recover
from posthouse.queue.submission import Submitted
from posthouse.queue.transports import MAILBOX, Transports
from posthouse.routing.resolution import origin_of
from posthouse.runtime.ipc import Connection, Responder, SchemaError, Server
from posthouse.runtime.process import Context, ProcessMain
from posthouse.runtime.schema import (
    QUEUE_ADMIN,
    QUEUE_DELIVERY,
    QUEUE_INTAKE,
    QUEUE_SHOW,
    TABLES,
    Done,
    Record,
    Register,
    Written,
)

AGENT_KINDS: Final = frozenset(("mailbox", "smtp", "local"))
SWITCH_INTERVAL_S: Final = 0.001
"""The journal's thread comes back from a flush: with Python's default it would wait five milliseconds for its turn."""
GC_THRESHOLD: Final = 50_000
"""Messages under delivery are many objects and no cycles: looking through them often is wasted."""
STOP_WAIT_S: Final = 5.0
INLINE_OCTETS: Final = 1024 * 1024
"""Content above this goes to a delivery process as a descriptor: it must fit a frame together with its envelope."""


class QueueProcess(ProcessMain):
    """Puts the parts together; each part's module says what it does."""

    ops: FileOps = FileOps()

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._servers: list[Server] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._origin_file = ""

    def before_jail(self) -> None:
        """myorigin may name a file, which the jail hides."""
        path = self.context.settings[general.MYORIGIN]
        if path.startswith("/"):
            try:
                self._origin_file = Path(path).read_text("utf-8")
            except OSError as error:
                self._report(Level.ERROR, f"error: myorigin: {path}: {error.strerror}: using myhostname")
                self._origin_file = self.context.settings[general.MYHOSTNAME]

    def _report(self, level: Level, words: str) -> None:
        self.context.emit(Message(level, "queue", words))

    async def start(self) -> None:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.set_threshold(GC_THRESHOLD, 20, 20)
        context = self.context
        settings = context.settings
        spool = Spool(settings[general.QUEUE_DIRECTORY])
        recovered = recover(spool, self._report)
        position = recovered.index.meta("position")
        spares = Spares(spool.journal, settings[parameters.QUEUE_SPARE_SEGMENTS])
        ledger = self.ledger = Ledger(
            spool,
            recovered,
            clock=context.clock,
            ops=self.ops,
            report=self._report,
            segment_octets=settings[parameters.QUEUE_SEGMENT_SIZE],
            take_spare=spares.take,
            take_reserve=spares.take_reserve,
        )
        careful_until = -1 if recovered.clean else ledger.state.end
        await ledger.begin()
        self.files = ContentFiles(spool, self.ops)
        self.lookups = Lookups(
            context.clock,
            keep_s=settings[parameters.QUEUE_ADDRESS_CACHE_TIME],
            timeout_s=settings[parameters.QUEUE_LOOKUP_TIMEOUT],
        )
        self.tables = self.lookups.tables = context.peer(TABLES, on_connect=self.lookups.share_key)
        self.cleanup = Cleanup(
            self.lookups,
            has_aliases=True,
            duplicate_limit=0,
            empty_recipient=Address(""),
        )
        self._set_cleanup()
        workers = context.workers.get(MAILBOX, 1)
        transports = self._transports()
        self.manager = Manager(
            ledger,
            self.files,
            self.lookups,
            transports,
            self._notices(),
            self._aliasing(),
            self._manager_settings(),
            mailbox_workers=workers,
            emit=context.emit,
            report=context.report,
        )
        self.manager.careful_until = careful_until
        self.passthrough = Passthrough(
            ledger,
            self.files,
            self.cleanup,
            self.lookups,
            self.manager.dispatch.agents,
            mailbox_workers=workers,
            emit=context.emit,
            activate=self.manager.activate,
        )
        self.passthrough.transports = transports
        self.housekeeping = Housekeeping(
            ledger,
            self.files,
            DeferredSegments(spool, self.ops, recovered.next_deferred, settings[parameters.QUEUE_SEGMENT_SIZE]),
            spares,
            self._housekeeping_settings(),
            position=position,
            is_waiting=self.manager.is_waiting,
            report=self._report,
        )
        self.reception = Reception(
            ledger,
            self.files,
            self.lookups,
            self.cleanup,
            self.manager,
            self.passthrough,
            self._reception_settings(),
            emit=context.emit,
            has_space=lambda: self.housekeeping.has_space,
        )
        self.pickup = Pickup(
            ledger,
            self.files,
            self.reception,
            self.manager,
            self._pickup_settings(),
            context.emit,
            self._complete,
        )
        self.administration = Administration(ledger, self.files, self.manager, self.cleanup, context.emit)
        await self._take_up(recovered)
        serve = context.serve
        self._servers += serve(QUEUE_INTAKE, self.reception.handle, on_connection=self.reception.connected)
        for kind in AGENT_KINDS:
            # The socket says who calls: nobody gets another kind's messages by asking for them.
            handle = functools.partial(self._handle_delivery, kind)
            self._servers += serve(QUEUE_DELIVERY, handle, client=kind)
        self._servers += serve(QUEUE_ADMIN, self.administration.handle)
        self._servers += serve(QUEUE_SHOW, self.administration.handle)
        self.pickup.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self.pickup.run()), loop.create_task(self.housekeeping.run())]
        for task in self._tasks:
            task.add_done_callback(self._task_done)

    async def _take_up(self, recovered: Recovered) -> None:
        """What the last run left: the index learns it, then everything goes on."""
        ledger = self.ledger
        sources = await ledger.index.run(lambda index: [source for _, source in index.sources()])
        sources += [message.source for message in ledger.state.messages.values() if message.source]
        await self.files.run(lambda: self.pickup.forget_sources(sources))
        messages = list(ledger.state.messages.values())
        for message in messages:
            ledger.state.touch(message.queue_id)
        try:
            await self.housekeeping.check_space()
        except OSError as error:
            self._report(Level.WARNING, f"warning: no reserve for a full file system could be made: {error}")
        await self.housekeeping.checkpoint(everything=True)
        garbage = recovered.garbage
        await self.files.run(lambda: remove_garbage(garbage))
        self.manager.start()

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.context.report("the queue's background work", error)
            self.context.request_restart("background work failed")

    # ── delivery agents ──

    def _handle_delivery(
        self,
        kind: str,
        connection: Connection,
        record: Record,
        descriptors: list[int],
        respond: Responder | None,
    ) -> None:
        assert not descriptors
        match record:
            case Written() if connection.peer is not None:
                agent: Agent = connection.peer
                self.manager.dispatch.written(agent, record)
            case Register() if respond is not None:
                if record.agent != kind or connection.peer is not None:
                    raise SchemaError(f"{kind} wants to be {record.agent}")
                # The yes goes out before the first job.
                respond(Done())
                connection.peer = self.manager.dispatch.agents.register(record.agent, record.worker, connection)
            case _:
                raise SchemaError(f"unexpected {type(record).__name__}")

    # ── settings ──

    def _origin(self) -> str:
        return origin_of(self.context.settings[general.MYORIGIN], lambda _: self._origin_file)

    def _transports(self) -> Transports:
        configuration = self.context.configuration
        return Transports(configuration.main, configuration.master, self.context.workers)

    def _set_cleanup(self) -> None:
        settings = self.context.settings
        self._rules = Rules.of(settings)
        self.cleanup.has_aliases = bool(settings.text(general.VIRTUAL_ALIAS_MAPS.name).strip())
        self.cleanup.duplicate_limit = settings[parameters.DUPLICATE_FILTER_LIMIT]
        self.cleanup.empty_recipient = Address(settings[parameters.EMPTY_ADDRESS_RECIPIENT], self._origin())
        self.lookups.keep_s = settings[parameters.QUEUE_ADDRESS_CACHE_TIME]
        self.lookups.timeout_s = settings[parameters.QUEUE_LOOKUP_TIMEOUT]
        self.lookups.by_sender = any(
            settings.raw_text_or_none(name)
            for name in ("sender_dependent_relayhost_maps", "sender_dependent_default_transport_maps")
        )

    def _notices(self) -> Notices:
        settings = self.context.settings
        classes: tuple[str, ...] = settings[parameters.NOTIFY_CLASSES]
        return Notices(
            self.ledger,
            self.files,
            self.cleanup,
            NoticeSettings(
                myhostname=settings[general.MYHOSTNAME],
                myorigin=self._origin(),
                mail_name=settings[general.MAIL_NAME],
                bounce_size_limit=settings[parameters.BOUNCE_SIZE_LIMIT],
                notify_classes=frozenset(classes),
                double_bounce_recipient=settings[parameters.DOUBLE_BOUNCE_NOTICE_RECIPIENT],
                double_bounce_sender=settings[general.DOUBLE_BOUNCE_SENDER],
                format_date=format_date,
            ),
            self.context.emit,
        )

    def _aliasing(self) -> Aliasing:
        settings = self.context.settings
        return Aliasing(
            self.lookups,
            self.cleanup,
            delimiter=settings[general.RECIPIENT_DELIMITER],
            myorigin=self._origin(),
            nesting_limit=settings[parameters.ALIAS_NESTING_LIMIT],
            recipient_limit=settings[parameters.REDIRECT_RECIPIENT_LIMIT],
            owner_special=settings[general.OWNER_REQUEST_SPECIAL],
            has_aliases=bool(settings.text(general.ALIAS_MAPS.name).strip()),
        )

    def _manager_settings(self) -> ManagerSettings:
        settings = self.context.settings
        return ManagerSettings(
            active_limit=settings[parameters.QMGR_MESSAGE_ACTIVE_LIMIT],
            dispatch=DispatchLimits(
                inline_octets=INLINE_OCTETS,
                content_memory=settings[parameters.QUEUE_CONTENT_MEMORY_LIMIT],
                transport_retry_s=settings[parameters.TRANSPORT_RETRY_TIME],
            ),
            minimal_backoff_s=settings[parameters.MINIMAL_BACKOFF_TIME],
            maximal_backoff_s=settings[parameters.MAXIMAL_BACKOFF_TIME],
            lifetime_s=settings[parameters.MAXIMAL_QUEUE_LIFETIME],
            bounce_lifetime_s=settings[parameters.BOUNCE_QUEUE_LIFETIME],
            delay_warning_s=settings[parameters.DELAY_WARNING_TIME],
            run_delay_s=settings[parameters.QUEUE_RUN_DELAY],
            run_batch=settings[parameters.QUEUE_RUN_BATCH],
            double_bounce_sender=settings[general.DOUBLE_BOUNCE_SENDER],
            myorigin=self._origin(),
        )

    def _housekeeping_settings(self) -> HousekeepingSettings:
        settings = self.context.settings
        return HousekeepingSettings(
            interval_s=settings[parameters.QUEUE_CHECKPOINT_INTERVAL],
            segment_octets=settings[parameters.QUEUE_SEGMENT_SIZE],
            minfree=settings[parameters.QUEUE_MINFREE],
        )

    def _reception_settings(self) -> ReceptionSettings:
        settings = self.context.settings
        return ReceptionSettings(
            message_size_limit=settings[general.MESSAGE_SIZE_LIMIT],
            memory_limit=settings[parameters.QUEUE_INTAKE_MEMORY_LIMIT],
            open_content_limit=settings[parameters.QUEUE_OPEN_CONTENT_LIMIT],
        )

    def _pickup_settings(self) -> PickupSettings:
        settings = self.context.settings
        return PickupSettings(
            scan_interval_s=settings[parameters.PICKUP_SCAN_INTERVAL],
            scan_limit=settings[parameters.MAILDROP_SCAN_LIMIT],
            recipient_limit=settings[parameters.MAILDROP_RECIPIENT_LIMIT],
            message_size_limit=settings[general.MESSAGE_SIZE_LIMIT],
            large_size=settings[parameters.QUEUE_LARGE_MESSAGE_SIZE],
            myorigin=self._origin(),
        )

    def _complete(self, submitted: Submitted) -> tuple[bytes, str]:
        """What a message of a local user gets on its way in."""
        rules = self._rules
        received = received_from_user(rules, uid=submitted.uid, queue_id=submitted.queue_id, at_s=submitted.at_s)
        prepared = prepare(
            rules,
            check_octets(rules, submitted.content),
            received=received,
            queue_id=submitted.queue_id,
            at_s=submitted.at_s,
            sender=submitted.sender,
            sender_name=submitted.full_name,
            add_missing=True,
        )
        return prepared.content, prepared.message_id

    # ── reload and stop ──

    async def reload(self, configuration: Configuration) -> None:
        await super().reload(configuration)
        self._set_cleanup()
        transports = self._transports()
        self.manager.reconfigure(transports, self._notices(), self._aliasing(), self._manager_settings())
        self.passthrough.transports = transports
        self.housekeeping.settings = self._housekeeping_settings()
        self.reception.settings = self._reception_settings()
        self.pickup.settings = self._pickup_settings()
        self.pickup.wake()

    async def drain(self) -> None:
        """Accept nothing new; let deliveries that are under way end."""
        self.reception.stopping = True
        self.manager.stop()
        await self.manager.wait_idle()

    async def stop(self) -> None:
        self.reception.stopping = True
        self.manager.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.pickup.close()
        # Deliveries whose answer is a moment away need not be looked for at the next start.
        try:
            await asyncio.wait_for(self.manager.wait_idle(), STOP_WAIT_S)
        except TimeoutError:
            pass
        # Nor need the next start look if none of those that this one was to look for is left.
        is_clean = self.manager.idle and not self.manager.dispatch.careful
        await self.ledger.journal.drain()
        for server in self._servers:
            server.close()
        self.tables.close()
        await self._last_checkpoint()
        if is_clean and self.manager.careful_until >= 0:
            is_clean = await self.ledger.index.run(lambda index: index.is_empty())
        await self.ledger.close(clean=is_clean)
        self.files.close()

    async def _last_checkpoint(self) -> None:
        self.manager.active.clear()
        try:
            await self.housekeeping.checkpoint(everything=True)
        except Exception as error:  # the journal has everything: the next start reads it from there
            self.context.report("the last checkpoint of the queue index", error)
