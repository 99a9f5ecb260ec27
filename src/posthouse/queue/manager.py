"""The queue manager: takes messages from journal or index, has every recipient tried, records what came of it.

Everything is callbacks on one event loop; a message that is delivered at once costs no task, no timer and no look at
the index. The order of effects is what makes crashes harmless: results become records; only after the record's flush
is the mailbox process told to forget the delivery, and only then is the message gone.
"""

import asyncio
import contextlib
import fcntl
import functools
import os
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

from posthouse.core.identifiers import DeliveryId, QueueId, delivery_id
from posthouse.core.logline import LogLine
from posthouse.core.reply import LOCAL_ERROR, MailError
from posthouse.core.result import DeliveryStatus, RecipientResult
from posthouse.core.routing_hash import worker_of
from posthouse.queue.active import Active, Attempt, Group
from posthouse.queue.agents import Agent, Agents
from posthouse.queue.aliasing import Aliasing
from posthouse.queue.content import ContentFiles
from posthouse.queue.crashpoints import CrashPoint, reach
from posthouse.queue.index import DEFERRED, INCOMING
from posthouse.queue.ledger import Ledger
from posthouse.queue.loglines import DiscardAttempt, ErrorAttempt, Expired, QueueActive, QueueWarning, Removed
from posthouse.queue.lookups import Answer, Lookups
from posthouse.queue.message import Message, QueuedRecipient
from posthouse.queue.notices import Notices
from posthouse.queue.record import AnyRecord, Defer, Deferral, Done, Redirect
from posthouse.queue.scheduler import Job, Scheduler
from posthouse.queue.transports import DISCARD, ERROR, LOCAL, MAILBOX, Transports
from posthouse.runtime.ipc import PeerLost
from posthouse.runtime.schema import Deliver, JobRecipient, Outcomes, Resolution, Written

MAX_LOSSES: Final = 3
"""A message under whose delivery the agent vanished this often is deferred: it may be what kills the agent."""
LOST_RETRY_S: Final = 0.2
_SENT: Final = DeliveryStatus.SENT
_UNKNOWN_USER: Final = {
    "virtual_mailbox": "User unknown in virtual mailbox table",
    "virtual_alias": "User unknown in virtual alias table",
    "relay": "User unknown in relay recipient table",
}


@dataclass(frozen=True, slots=True)
class ManagerSettings:
    """The parameters this module obeys."""

    active_limit: int
    content_memory_limit: int
    inline_limit: int
    minimal_backoff_s: float
    maximal_backoff_s: float
    lifetime_s: float
    bounce_lifetime_s: float
    delay_warning_s: float
    run_delay_s: float
    run_batch: int
    transport_retry_s: float
    double_bounce_sender: str
    myorigin: str


class Manager:
    """Owns every message under delivery."""

    def __init__(
        self,
        ledger: Ledger,
        files: ContentFiles,
        lookups: Lookups,
        transports: Transports,
        notices: Notices,
        aliasing: Aliasing,
        settings: ManagerSettings,
        *,
        mailbox_workers: int,
        emit: Callable[[LogLine], None],
        report: Callable[[str, BaseException | None], None],
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._lookups = lookups
        self._transports = transports
        self._notices = notices
        self._aliasing = aliasing
        self._settings = settings
        self._mailbox_workers = mailbox_workers
        self._emit = emit
        self._report = report
        self._clock = ledger.clock
        self._loop = asyncio.get_running_loop()
        self.active: dict[QueueId, Active] = {}
        self.agents = Agents(self._agent_ready)
        self._scheduler = Scheduler(transports.limits, self._start, self._give_up)
        self._wakeup: asyncio.TimerHandle | None = None
        self._paused: dict[str, str] = {}
        """Lanes that wait for an agent, and its kind."""
        self._content_octets = 0
        self._more = {INCOMING: True, DEFERRED: True}
        self._turn = INCOMING
        self.careful_until = -1
        """Messages last changed up to this position may have been delivered by the last run without a record."""
        self._careful: set[QueueId] = set()
        """Messages that an agent may have delivered although it did not say so."""
        self._refilling = False
        self._run_timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._quiet = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.silent_removals: set[QueueId] = set()
        """Messages an administrator deletes: postsuper's line says so, not qmgr's."""
        ledger.state.on_removed = self._on_removed
        ledger.batch_done = self.agents.flush_notes

    # ── life ──

    def start(self) -> None:
        self._run_queue()

    def stop(self) -> None:
        """Begin nothing more; what is under way may still end."""
        self._stopping = True
        for timer in (self._run_timer, self._wakeup):
            if timer is not None:
                timer.cancel()

    @property
    def idle(self) -> bool:
        return self._scheduler.open_jobs == 0 and not self._tasks

    async def wait_idle(self) -> None:
        """Until nothing is under way (after `stop`)."""
        while not self.idle:
            self._quiet.clear()
            await self._quiet.wait()

    def _look_quiet(self) -> None:
        if self._stopping and self.idle:
            self._quiet.set()

    def reconfigure(
        self, transports: Transports, notices: Notices, aliasing: Aliasing, settings: ManagerSettings
    ) -> None:
        self._transports = transports
        self._notices = notices
        self._aliasing = aliasing
        self._settings = settings
        self._scheduler.set_limits(transports.limits)
        self._lookups.clear()
        self._run_queue()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """For the few messages that need to wait for several things in turn (bounces, notifications)."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._look_quiet()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report("working on a message", error)

    # ── messages become active ──

    def is_waiting(self, queue_id: QueueId) -> bool:
        return queue_id not in self.active

    def activate(self, message: Message, content: bytes | None = None) -> None:
        """Begin a round of attempts, now or, if too many are under way, when its turn comes. A message that was here
        before the last start may have been delivered without our knowing: then the mailbox looks before it writes."""
        if message.hold or message.queue_id in self.active:
            return
        settings = self._settings
        if self._stopping or len(self.active) >= settings.active_limit:
            self._more[DEFERRED if message.due else INCOMING] = True
            return
        if content is not None and self._content_octets > settings.content_memory_limit:
            content = None
        maybe = message.lsn <= self.careful_until or message.queue_id in self._careful
        active = Active(message, content, self._clock.now(), maybe=maybe)
        self.active[message.queue_id] = active
        if content is not None:
            self._content_octets += len(content)
        sender = message.sender
        self._emit(QueueActive(message.queue_id, str(sender) if sender else "", message.size, len(message.recipients)))
        self._route(active, list(message.recipients))

    def _run_queue(self) -> None:
        """A queue run: deferred messages whose time has come."""
        if self._run_timer is not None:
            self._run_timer.cancel()
        if self._stopping:
            return
        self._run_timer = self._loop.call_later(self._settings.run_delay_s, self._run_queue)
        self._more[DEFERRED] = True
        self.refill()

    def refill(self) -> None:
        """Take waiting messages from the index, new ones and deferred ones in turn, as long as there is room."""
        room = self._settings.active_limit - len(self.active)
        if self._refilling or self._stopping or room <= 0:
            return
        kind = self._turn if self._more[self._turn] else DEFERRED - self._turn
        if not self._more[kind]:
            return
        self._turn = DEFERRED - kind  # the other kind is next
        self._refilling = True
        limit = min(room, self._settings.run_batch)
        now_s = self._clock.now()
        future = self._ledger.index.run(lambda index: index.load_due(kind, now_s, limit))
        future.add_done_callback(functools.partial(self._refilled, kind, limit))

    def _refilled(self, kind: int, limit: int, future: "asyncio.Future[list[Message]]") -> None:
        self._refilling = False
        if future.cancelled():
            return
        if (error := future.exception()) is not None:
            self._report("reading the queue index", error)
            return
        messages = future.result()
        if len(messages) < limit:
            self._more[kind] = False
        state = self._ledger.state
        for message in messages:
            if message.queue_id not in state.messages:
                state.adopt(message)
                self.activate(message)
                if message.queue_id not in self.active:
                    state.touch(message.queue_id)  # no room any more: back to the index
        if messages or any(self._more.values()):
            # One step at a time: what has come in meanwhile goes first.
            self._loop.call_soon(self.refill)

    def expedite(self, site: str, done: Callable[[], None]) -> None:
        """A flush: deferred mail (for one site) is due now."""
        now_s = self._clock.now()
        self._scheduler.revive()
        for message in list(self._ledger.state.messages.values()):
            if message.due and not message.hold and self.is_waiting(message.queue_id):
                sites = (recipient.address.domain.lower() for recipient in message.recipients.values())
                if not site or site.lower() in sites:
                    self.activate(message)

        def expedited(future: "asyncio.Future[int]") -> None:
            if not future.cancelled() and (error := future.exception()) is not None:
                self._report("flushing the queue", error)
            self._more[DEFERRED] = True
            self.refill()
            done()

        self._ledger.index.run(lambda index: index.expedite(site, now_s)).add_done_callback(expedited)

    # ── where to ──

    def _route(self, active: Active, indexes: Iterable[int]) -> None:
        active.outstanding += 1
        message = active.message
        for index in indexes:
            recipient = message.recipients.get(index)
            if recipient is None:
                continue
            if recipient.mailbox:
                self._group(active, index, recipient, LOCAL, self._settings.myorigin, LOCAL, recipient.mailbox)
                continue
            sender = recipient.owner or message.sender
            found = self._lookups.cached_route(recipient.address, sender)
            if found is not None:
                self._routed(active, index, recipient, found)
            else:
                active.outstanding += 1
                active.resolving += 1
                self._lookups.route(recipient.address, sender, functools.partial(self._route_answer, active, index))
        if not active.resolving:
            self._schedule(active)
        active.outstanding -= 1
        self._settle(active)

    def _route_answer(self, active: Active, index: int, answer: Answer) -> None:
        active.resolving -= 1
        recipient = active.message.recipients.get(index)
        if recipient is not None and not active.removed:
            if isinstance(answer, Resolution):
                self._routed(active, index, recipient, answer)
            else:
                reply = answer.reply if isinstance(answer, MailError) else LOCAL_ERROR
                words = f"address resolver failure: {reply.text}"
                self.end_inside(active, index, DeliveryStatus.DEFERRED, "4.3.0", words)
        if not active.resolving:
            self._schedule(active)
        active.outstanding -= 1
        self._settle(active)

    def _routed(self, active: Active, index: int, recipient: QueuedRecipient, route: Resolution) -> None:
        settings = self._settings
        address = recipient.address
        if route.recipient != address:
            recipient.original = recipient.original or str(address)
            recipient.address = address = route.recipient
        if address.local_part == settings.double_bounce_sender and route.address_class == "local":
            self._emit(QueueWarning(active.message.queue_id, "undeliverable postmaster notification discarded"))
            self.end_inside(active, index, _SENT, "2.0.0", "undeliverable postmaster notification discarded", DISCARD)
            return
        if route.error_reply is not None:
            status = DeliveryStatus.DEFERRED if route.error_reply.code < 500 else DeliveryStatus.BOUNCED
            self.end_inside(active, index, status, route.error_reply.status, route.error_reply.text)
            return
        agent = self._transports.agent(route.transport)
        if not route.known and not (route.address_class == "local" and agent == LOCAL):
            words = _UNKNOWN_USER.get(route.address_class, "User unknown in local recipient table")
            self.end_inside(active, index, DeliveryStatus.BOUNCED, "5.1.1", words)
        elif agent in (ERROR, DISCARD):
            self._end_by_transport(active, index, agent, route)
        elif not agent:
            self.end_inside(
                active, index, DeliveryStatus.DEFERRED, "4.3.0", f"mail transport {route.transport} is unknown"
            )
        elif route.transport in self._transports.deferred and not self._is_flushed(active):
            self.end_inside(active, index, DeliveryStatus.DEFERRED, "4.3.2", "deferred transport")
        elif agent == LOCAL and route.address_class == "local":
            self._aliasing.look_up(self, active, index, recipient, route)
        else:
            self._group(active, index, recipient, route.transport, route.nexthop, agent, route.mailbox)

    @staticmethod
    def _is_flushed(active: Active) -> bool:
        return bool(active.message.due)

    def _end_by_transport(self, active: Active, index: int, agent: str, route: Resolution) -> None:
        """error(8) and discard(8): the nexthop is the reason, with a status in front if it has one."""
        words = route.nexthop
        if agent == DISCARD:
            self.end_inside(active, index, _SENT, "2.0.0", words or "mail was discarded", DISCARD)
            return
        is_retry = route.transport == "retry"
        dsn, status = ("4.0.0", DeliveryStatus.DEFERRED) if is_retry else ("5.0.0", DeliveryStatus.BOUNCED)
        first, _, rest = words.partition(" ")
        parts = first.split(".")
        if len(parts) == 3 and parts[0] in ("4", "5") and all(part.isdecimal() and len(part) < 4 for part in parts):
            dsn, words = first, rest
            status = DeliveryStatus.DEFERRED if parts[0] == "4" else DeliveryStatus.BOUNCED
        self.end_inside(active, index, status, dsn, words or "mail for this destination is not accepted")

    def _group(
        self,
        active: Active,
        index: int,
        recipient: QueuedRecipient,
        transport: str,
        nexthop: str,
        agent: str,
        mailbox: str = "",
    ) -> None:
        worker = worker_of(recipient.address.key, self._mailbox_workers) if agent == MAILBOX else 0
        lane = self._transports.lane(transport, worker)
        destination = recipient.address.key if self._transports.limits(lane).recipients == 1 else nexthop
        if mailbox:
            active.mailboxes[index] = mailbox
        group = Group(lane, destination, transport, nexthop, agent, worker, recipient.owner)
        active.groups.setdefault(group, []).append(index)

    def deliver_locally(self, active: Active, index: int, recipient: QueuedRecipient, route: Resolution) -> None:
        """No alias (any more): a user of this system."""
        self._group(active, index, recipient, route.transport, route.nexthop, LOCAL)

    def _schedule(self, active: Active) -> None:
        """All routes of this step are known: recipients that go the same way travel together."""
        groups = active.groups
        if not groups:
            return
        active.groups = {}
        now_s = self._clock.monotonic()
        for group, indexes in groups.items():
            limit = self._transports.limits(group.lane).recipients or len(indexes)
            active.paths.add((group.lane, group.destination))
            for start in range(0, len(indexes), limit):
                attempt = Attempt(active, group, tuple(indexes[start : start + limit]))
                active.outstanding += 1
                self._scheduler.add(Job(group.lane, group.destination, active.message.queue_id, attempt), now_s)
        self._arm()

    def _arm(self) -> None:
        """One timer for whatever the scheduler waits for next."""
        at_s = self._scheduler.next_wakeup_s()
        if at_s is None or self._stopping:
            return
        if self._wakeup is not None:
            if self._wakeup.when() <= self._loop.time() + max(0.0, at_s - self._clock.monotonic()) + 0.001:
                return
            self._wakeup.cancel()
        self._wakeup = self._loop.call_later(max(0.0, at_s - self._clock.monotonic()), self._wake)

    def _wake(self) -> None:
        self._wakeup = None
        self._scheduler.wake(self._clock.monotonic())
        self._arm()

    # ── deliveries ──

    def _start(self, job: Job) -> None:
        """The scheduler says: now."""
        attempt: Attempt = job.payload
        active = attempt.active
        agent = self.agents.choose(attempt.group.agent, attempt.group.worker)
        if agent is None:
            self._no_agent(job)
            return
        active.open_jobs += 1
        attempt.agent = agent
        message = active.message
        if active.content is not None:
            if len(active.content) > self._settings.inline_limit and active.descriptor < 0:
                active.descriptor = _memory_file(active.content)
        elif message.size and active.descriptor < 0:
            self._load(active, job)
            return
        self._send(job)

    def _load(self, active: Active, job: Job) -> None:
        if active.loading is not None:
            active.loading.append(job)
            return
        active.loading = [job]
        message = active.message
        if message.large:
            self._files.open(message).add_done_callback(functools.partial(self._opened, active))
        else:
            self._read(active, message.place, 0)

    def _read(self, active: Active, place: object, tries: int) -> None:
        future = self._files.read(active.message)
        future.add_done_callback(functools.partial(self._was_read, active, place, tries))

    def _was_read(self, active: Active, place: object, tries: int, future: "asyncio.Future[bytes]") -> None:
        error = future.exception()
        if error is not None and active.message.place != place and tries < MAX_LOSSES:
            self._read(active, active.message.place, tries + 1)  # it was moved to another segment meanwhile
            return
        if error is None:
            active.content = future.result()
            self._content_octets += len(active.content)
            if len(active.content) > self._settings.inline_limit:
                active.descriptor = _memory_file(active.content)
        self._loaded(active, error)

    def _opened(self, active: Active, future: "asyncio.Future[int]") -> None:
        error = future.exception()
        if error is None:
            active.descriptor = future.result()
        self._loaded(active, error)

    def _loaded(self, active: Active, error: BaseException | None) -> None:
        jobs, active.loading = active.loading or [], None
        if error is not None and not active.removed:
            self._report(f"{active.message.queue_id}: reading the content of a queued message", error)
        for job in jobs:
            if error is None:
                self._send(job)
            else:
                self._failed(job, "4.3.0", "queue file read error")

    def _send(self, job: Job) -> None:
        attempt: Attempt = job.payload
        active, agent, group = attempt.active, attempt.agent, attempt.group
        message = active.message
        recipients = message.recipients
        wanted = [(index, recipients[index]) for index in attempt.indexes if index in recipients]
        if not wanted or agent is None:
            active.open_jobs -= 1
            active.outstanding -= 1
            self._scheduler.returned(job, self._clock.monotonic())
            self._settle(active)
            return
        is_inline = active.descriptor < 0
        request = Deliver(
            queue_id=message.queue_id,
            transport=group.transport,
            nexthop=group.nexthop,
            sender=group.owner or message.sender,
            recipients=tuple(
                JobRecipient(index, one.action, one.address, one.original, one.notify, active.mailboxes.get(index, ""))
                for index, one in wanted
            ),
            arrived_s=message.arrival.at_s,
            active_s=active.active_s,
            size=message.size,
            content=(active.content or b"") if is_inline else b"",
            body=message.body,
            smtputf8=message.smtputf8,
            ret=message.ret,
            envid=message.envid,
            maybe_delivered=attempt.maybe,
        )
        self.agents.started(agent, message.queue_id, job)
        future = agent.connection.call(request, () if is_inline else (active.descriptor,))
        reach(CrashPoint.JOB_SENT)
        future.add_done_callback(functools.partial(self._answered, job))

    def written(self, agent: Agent, note: Written) -> None:
        """A mailbox process has written these deliveries and waits for its next flush."""
        for job in agent.jobs.get(note.queue_id, ()):
            attempt: Attempt = job.payload
            if not note.indexes or note.indexes[0] in attempt.indexes:
                self._scheduler.written(job, self._clock.monotonic())
                return

    def _answered(self, job: Job, future: "asyncio.Future[Any]") -> None:
        reach(CrashPoint.OUTCOME_RECEIVED)
        if self._stopping:
            self._loop.call_soon(self._look_quiet)
        attempt: Attempt = job.payload
        if attempt.agent is not None:
            self.agents.ended(attempt.agent, attempt.active.message.queue_id, job)
        if future.cancelled():
            self._failed(job, "4.3.0", "delivery was interrupted")
            return
        error = future.exception()
        if error is None:
            self._outcome(job, future.result())
        elif isinstance(error, PeerLost):
            self._lost(job, str(error))
        elif isinstance(error, MailError):
            self._careful.add(attempt.active.message.queue_id)
            self._failed(job, f"4{error.reply.status[1:]}", error.reply.text)
        else:
            self._report("a delivery agent's answer", error)
            self._failed(job, "4.3.0", "delivery agent error")

    def _lost(self, job: Job, why: str) -> None:
        """The process went away in the middle: nobody knows what it did, so the next one looks first."""
        attempt: Attempt = job.payload
        active = attempt.active
        active.open_jobs -= 1
        if self._stopping:
            self._scheduler.returned(job, self._clock.monotonic())
            active.outstanding -= 1
            return
        active.lost += 1
        attempt.maybe = True
        words = f"the {attempt.group.agent} process was lost during delivery ({why})"
        if active.lost > MAX_LOSSES:
            active.open_jobs += 1
            self._careful.add(active.message.queue_id)
            self._emit(QueueWarning(active.message.queue_id, f"{words}: deferred"))
            self._failed(job, "4.3.0", "delivery agent was lost")
            return
        self._emit(QueueWarning(active.message.queue_id, f"{words}: trying again"))
        self._scheduler.returned(job, self._clock.monotonic())
        self._loop.call_later(LOST_RETRY_S, self._again, job)

    def _again(self, job: Job) -> None:
        attempt: Attempt = job.payload
        if attempt.active.removed or attempt.active.message.hold or self._stopping:
            attempt.active.outstanding -= 1
            self._settle(attempt.active)
            return
        self._scheduler.add(job, self._clock.monotonic())
        self._arm()

    def _no_agent(self, job: Job) -> None:
        attempt: Attempt = job.payload
        lane, kind = job.transport, attempt.group.agent
        self._scheduler.pause(lane)
        if lane not in self._paused:
            self._paused[lane] = kind
            self._loop.call_later(self._settings.transport_retry_s, self._still_no_agent, lane)
        now_s = self._clock.monotonic()
        self._scheduler.returned(job, now_s)
        self._scheduler.add(job, now_s)

    def _still_no_agent(self, lane: str) -> None:
        if lane in self._paused and not self._stopping:
            self._scheduler.abandon(lane, "4.3.0", "mail transport unavailable")
            # Later mail waits again for as long.
            self._loop.call_later(self._settings.transport_retry_s, self._still_no_agent, lane)

    def _agent_ready(self, kind: str) -> None:
        now_s = self._clock.monotonic()
        for lane in [lane for lane, wanted in self._paused.items() if wanted == kind]:
            del self._paused[lane]
            self._scheduler.resume(lane, now_s)
        self._arm()

    def _give_up(self, job: Job, dsn: str, reason: str) -> None:
        """The scheduler knows that it is no use: a dead destination, or no agent."""
        attempt: Attempt = job.payload
        active = attempt.active
        for index in attempt.indexes:
            if index in active.message.recipients:
                words = reason if dsn == "4.3.0" else f"delivery temporarily suspended: {reason}"
                self.end_inside(active, index, DeliveryStatus.DEFERRED, dsn, words)
        active.outstanding -= 1
        self._settle(active)

    # ── results ──

    def end_inside(
        self,
        active: Active,
        index: int,
        status: DeliveryStatus,
        dsn: str,
        words: str,
        agent: str = ERROR,
    ) -> None:
        """A recipient whose delivery ends here, without an agent: error, retry, discard."""
        recipient = active.message.recipients[index]
        arrived_s, now_s = active.message.arrival.at_s, self._clock.now()
        line = DiscardAttempt if agent == DISCARD else ErrorAttempt
        before_s = max(0.0, active.active_s - arrived_s)
        self._emit(
            line(
                active.message.queue_id,
                str(recipient.address),
                recipient.original,
                "none",
                (before_s, max(0.0, now_s - active.active_s), 0.0, 0.0),
                dsn,
                status.value,
                words,
            )
        )
        result = RecipientResult(index, status, dsn, words)
        if status is _SENT:
            active.outstanding += 1
            record = Done(active.message.queue_id, (index,))
            self._ledger.record((record,), b"", functools.partial(self._recorded, active))
        else:
            self._note(active, result)

    def _note(self, active: Active, result: RecipientResult) -> None:
        if result.status is DeliveryStatus.DEFERRED:
            active.deferrals[result.index] = Deferral(
                result.index, result.dsn, result.text, result.remote_mta, result.remote_reply
            )
        else:
            active.failures[result.index] = result

    def _failed(self, job: Job, dsn: str, words: str) -> None:
        """A job that ended without results: its recipients are deferred."""
        attempt: Attempt = job.payload
        active = attempt.active
        active.open_jobs -= 1
        for index in attempt.indexes:
            if index in active.message.recipients:
                self.end_inside(active, index, DeliveryStatus.DEFERRED, dsn, words)
        self._scheduler.returned(job, self._clock.monotonic())
        active.outstanding -= 1
        self._settle(active)

    def _outcome(self, job: Job, outcomes: Outcomes) -> None:
        attempt: Attempt = job.payload
        active = attempt.active
        message = active.message
        active.open_jobs -= 1
        results = outcomes.results
        if len(results) == 1 and results[0].status is _SENT and not self._notices.reports_success(message, results):
            # The way of nearly all mail.
            index = results[0].index
            record = Done(message.queue_id, (index,))
            retired = self._deliveries(attempt, (index,))
            self._ledger.record((record,), b"", functools.partial(self._done, active, attempt.agent, retired))
            self._scheduler.finished(job, self._clock.monotonic())
            self._arm()
            return
        done: list[RecipientResult] = []
        redirects: list[Redirect] = []
        missing = {index for index in attempt.indexes if index in message.recipients}
        for result in results:
            if result.index not in missing:
                continue
            missing.discard(result.index)
            if result.status is _SENT:
                done.append(result)
            elif result.status is DeliveryStatus.REDIRECTED:
                redirect = self._aliasing.redirect(message, result)
                if isinstance(redirect, RecipientResult):
                    self._note(active, redirect)
                else:
                    redirects.append(redirect)
            else:
                self._note(active, result)
        for index in missing:
            self.end_inside(active, index, DeliveryStatus.DEFERRED, "4.3.0", "delivery agent gave no result")
        if done and self._notices.reports_success(message, done):
            self.spawn(self._record_with_notice(active, attempt, done))
        elif done:
            indexes = tuple(result.index for result in done)
            retired = self._deliveries(attempt, indexes)
            callback = functools.partial(self._done, active, attempt.agent, retired)
            self._ledger.record((Done(message.queue_id, indexes),), b"", callback)
        for redirect in redirects:
            self.redirect(active, redirect)
        self._finish_job(job, outcomes)
        if not done:
            active.outstanding -= 1
            self._settle(active)

    def _finish_job(self, job: Job, outcomes: Outcomes) -> None:
        failed: tuple[str, str] | None = None
        results = outcomes.results
        if outcomes.destination_failed and results:
            failed = (results[0].dsn, results[0].text)
        self._scheduler.finished(job, self._clock.monotonic(), failed=failed)
        self._arm()

    def _deliveries(self, attempt: Attempt, indexes: Iterable[int]) -> list[DeliveryId]:
        if attempt.group.agent != MAILBOX:
            return []
        message = attempt.active.message
        recipients = message.recipients
        return [
            delivery_id(message.queue_id, index, recipients[index].action) for index in indexes if index in recipients
        ]

    async def _record_with_notice(self, active: Active, attempt: Attempt, done: list[RecipientResult]) -> None:
        """NOTIFY=SUCCESS: the report enters the journal in one record with the done."""
        indexes = tuple(result.index for result in done)
        retired = self._deliveries(attempt, indexes)
        records: tuple[AnyRecord, ...] = (Done(active.message.queue_id, indexes),)
        notice = await self._notices.success(active.message, done, attempt.group.agent, active.content)
        content = b""
        if notice is not None:
            records = (*records, notice.enter)
            content = notice.content

        def recorded() -> None:
            self._done(active, attempt.agent, retired)
            if notice is not None:
                self._notices.announce(active.message.queue_id, notice)
                self.activate(notice.enter.message, notice.content)

        self._ledger.record(records, content, recorded)

    def _done(self, active: Active, agent: Agent | None, retired: list[DeliveryId]) -> None:
        """The record of some successes is flushed; the job that brought them is over."""
        reach(CrashPoint.RESULT_FLUSHED)
        if retired and agent is not None:
            self.agents.retire(agent, retired)
        active.outstanding -= 1
        self._settle(active)

    def _recorded(self, active: Active) -> None:
        active.outstanding -= 1
        self._settle(active)

    def redirect(self, active: Active, redirect: Redirect) -> None:
        """An alias or .forward: one recipient is replaced by others, in one record."""
        active.outstanding += 1
        message = active.message

        def recorded() -> None:
            count = len(redirect.recipients)
            if not active.removed and message.recipients:
                self._route(active, range(message.next_index - count, message.next_index))
            active.outstanding -= 1
            self._settle(active)

        self._ledger.record((redirect,), b"", recorded)

    def look_up_later(self, active: Active) -> Callable[[], None]:
        """Someone else (aliasing) has a question open for this message; returns what to call when it is answered."""
        active.outstanding += 1
        active.resolving += 1

        def answered() -> None:
            active.resolving -= 1
            if not active.resolving:
                self._schedule(active)
            active.outstanding -= 1
            self._settle(active)

        return answered

    # ── the end of a round ──

    def _settle(self, active: Active) -> None:
        if active.outstanding:
            if not active.open_jobs and active.content is not None:
                self._forget_content_if_crowded(active)
            return
        if active.removed or not active.message.recipients:
            self._forget(active)
        elif active.failures:
            active.outstanding += 1
            self.spawn(self._report_failures(active))
        elif active.deferrals:
            active.outstanding += 1
            self._defer(active)
        else:
            self._forget(active)  # held in the middle of it: the rest waits

    def _defer(self, active: Active) -> None:
        message = active.message
        now_s = self._clock.now()
        age_s = max(0.0, now_s - message.entered_s)
        settings = self._settings
        lifetime_s = settings.bounce_lifetime_s if message.sender is None else settings.lifetime_s
        if age_s >= lifetime_s:
            self._emit(Expired(message.queue_id, str(message.sender) if message.sender else ""))
            for deferral in active.deferrals.values():
                active.failures[deferral.index] = RecipientResult(
                    deferral.index,
                    DeliveryStatus.EXPIRED,
                    deferral.dsn,
                    deferral.reason,
                    remote_mta=deferral.remote_mta,
                    remote_reply=deferral.remote_reply,
                )
            active.deferrals.clear()
            self.spawn(self._report_failures(active))
            return
        if settings.delay_warning_s and age_s >= settings.delay_warning_s and not message.warned:
            self.spawn(self._defer_with_notice(active, age_s))
            return
        self._ledger.record((self._defer_record(active, age_s),), b"", functools.partial(self._recorded_end, active))

    def _defer_record(self, active: Active, age_s: float, *, warned: bool = False) -> Defer:
        """The pause grows with the age: a message tried for an hour is not tried every five minutes."""
        settings = self._settings
        pause_s = max(settings.minimal_backoff_s, min(age_s, settings.maximal_backoff_s))
        due_s = self._clock.now() + pause_s
        return Defer(active.message.queue_id, due_s, tuple(active.deferrals.values()), warned)

    async def _defer_with_notice(self, active: Active, age_s: float) -> None:
        message = active.message
        until_s = message.entered_s + self._settings.lifetime_s
        notice = await self._notices.delayed(message, active.deferrals.values(), active.content, until_s)
        records: tuple[AnyRecord, ...] = (self._defer_record(active, age_s, warned=True),)
        content = b""
        if notice is not None:
            records = (*records, notice.enter)
            content = notice.content

        def recorded() -> None:
            if notice is not None:
                self._notices.announce(message.queue_id, notice)
                self.activate(notice.enter.message, notice.content)
            self._recorded_end(active)

        self._ledger.record(records, content, recorded)

    async def _report_failures(self, active: Active) -> None:
        """The sender is told, in the record that ends these recipients. If that cannot be done, nothing has ended."""
        message = active.message
        failures = list(active.failures.values())
        active.failures.clear()
        age_s = max(0.0, self._clock.now() - message.entered_s)
        try:
            notice = await self._notices.failed(message, failures, active.content)
        except (MailError, OSError) as error:
            self._emit(QueueWarning(message.queue_id, f"the notification cannot be made now ({error}): deferred"))
            for result in failures:
                active.deferrals[result.index] = Deferral(
                    result.index, "4.3.0", f"bounce or trace service failure: {result.text}"
                )
            record = self._defer_record(active, age_s)
            self._ledger.record((record,), b"", functools.partial(self._recorded_end, active))
            return
        records: list[AnyRecord] = [Done(message.queue_id, tuple(result.index for result in failures))]
        content = b""
        if notice is not None:
            records.append(notice.enter)
            content = notice.content
        if active.deferrals:
            records.append(self._defer_record(active, age_s))

        def recorded() -> None:
            reach(CrashPoint.BOUNCE_FLUSHED)
            if notice is not None:
                self._notices.announce(message.queue_id, notice)
                self.activate(notice.enter.message, notice.content)
            self._recorded_end(active)

        self._ledger.record(tuple(records), content, recorded)

    def _recorded_end(self, active: Active) -> None:
        active.deferrals.clear()
        active.outstanding -= 1
        self._settle(active)

    def _forget_content_if_crowded(self, active: Active) -> None:
        """A message that only waits for its turn gives its memory back when there is little left."""
        if self._content_octets > self._settings.content_memory_limit and active.loading is None:
            self._content_octets -= len(active.content or b"")
            active.content = None

    def _forget(self, active: Active) -> None:
        queue_id = active.message.queue_id
        if self.active.get(queue_id) is not active:
            return
        del self.active[queue_id]
        if active.removed and queue_id not in self.silent_removals:
            self._emit(Removed(queue_id))
        self.silent_removals.discard(queue_id)
        if active.content is not None:
            self._content_octets -= len(active.content)
            active.content = None
        if active.descriptor >= 0:
            os.close(active.descriptor)
            active.descriptor = -1
        if active.on_end is not None:
            active.on_end()
        if self._more[INCOMING] or self._more[DEFERRED]:
            self.refill()

    def _on_removed(self, message: Message) -> None:
        """The fold says: nothing is left of this message."""
        if message.large:
            self._files.remove(message.large)
        queue_id = message.queue_id
        if self._careful:
            self._careful.discard(queue_id)
        active = self.active.get(queue_id)
        if active is None:
            if queue_id not in self.silent_removals:
                self._emit(Removed(queue_id))
            self.silent_removals.discard(queue_id)
            return
        # The line comes last, when whatever else there is to say about the message has been said (`_forget`).
        active.removed = True
        if queue_id in self.silent_removals:
            self.withdraw(queue_id)

    def withdraw(self, queue_id: QueueId) -> None:
        """Take back what has not begun: the message is held, deleted or put anew."""
        if (active := self.active.get(queue_id)) is not None:
            self._settle_if_withdrawn(active)

    def _settle_if_withdrawn(self, active: Active) -> None:
        now_s = self._clock.monotonic()
        active.outstanding += 1
        for lane, destination in active.paths:
            jobs = self._scheduler.withdraw(lane, destination, active.message.queue_id, now_s)
            active.outstanding -= len(jobs)
        active.outstanding -= 1
        self._settle(active)


def _memory_file(content: bytes) -> int:
    """Content too large for a frame, sealed: the receiver can neither change nor cut it."""
    descriptor = os.memfd_create("content", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with contextlib.suppress(OSError):
        os.truncate(descriptor, len(content))
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor
