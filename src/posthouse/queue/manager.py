"""The queue manager: takes messages from journal or index, has every recipient tried, records what came of it.

Everything is callbacks on one event loop; a message that is delivered at once costs no task, no timer and no look at
the index. The order of effects is what makes crashes harmless: results become records; only after the record's flush
is the mailbox process told to forget the delivery, and only then is the message gone.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

from posthouse.core.identifiers import DeliveryId, QueueId, delivery_id
from posthouse.core.logline import LogLine
from posthouse.core.reply import MailError
from posthouse.core.result import DeliveryStatus, RecipientResult
from posthouse.queue.active import Active, Attempt
from posthouse.queue.agents import Agent
from posthouse.queue.aliasing import Aliasing
from posthouse.queue.content import ContentFiles
from posthouse.queue.crashpoints import QueueStep
from posthouse.queue.dispatch import Dispatch, DispatchLimits
from posthouse.queue.index import DEFERRED, INCOMING
from posthouse.queue.ledger import Ledger
from posthouse.queue.loglines import DiscardAttempt, ErrorAttempt, Expired, QueueActive, QueueWarning, Removed
from posthouse.queue.lookups import Lookups
from posthouse.queue.message import Message
from posthouse.queue.notices import Notices
from posthouse.queue.placement import Placement
from posthouse.queue.record import AnyRecord, Defer, Deferral, Done, Redirect
from posthouse.queue.scheduler import Job
from posthouse.queue.transports import DISCARD, ERROR, MAILBOX, Transports
from posthouse.runtime.crashpoints import reach
from posthouse.runtime.schema import Outcomes

_SENT: Final = DeliveryStatus.SENT
MAX_FLUSHES: Final = 100
"""Flushes remembered, so that mail for defer_transports knows it was asked for."""


@dataclass(frozen=True, slots=True)
class ManagerSettings:
    """The parameters this module obeys."""

    active_limit: int
    dispatch: DispatchLimits
    minimal_backoff_s: float
    maximal_backoff_s: float
    lifetime_s: float
    bounce_lifetime_s: float
    delay_warning_s: float
    run_delay_s: float
    run_batch: int
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
        self._notices = notices
        self._aliasing = aliasing
        self._settings = settings
        self._emit = emit
        self._report = report
        self._clock = ledger.clock
        self._loop = asyncio.get_running_loop()
        self.active: dict[QueueId, Active] = {}
        self._held_back: set[QueueId] = set()
        self.dispatch = Dispatch(
            files, transports, self, settings.dispatch, clock=ledger.clock, emit=emit, report=report
        )
        self._placement = Placement(
            lookups,
            self.dispatch,
            self,
            mailbox_workers=mailbox_workers,
            emit=emit,
            is_flushed=lambda due_s: due_s in self._flushes,
        )
        self._place(transports, aliasing, settings)
        self._more = {INCOMING: True, DEFERRED: True}
        self._turn = INCOMING
        self.careful_until = -1
        """Messages last changed up to this position may have been delivered by the last run without a record."""
        self._flushes: dict[float, None] = {}
        self._refilling = False
        self._run_timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._quiet = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.silent_removals: set[QueueId] = set()
        """Messages an administrator deletes: postsuper's line says so, not qmgr's."""
        ledger.state.on_removed = self._on_removed
        ledger.batch_done = self.dispatch.agents.flush_notes

    # ── life ──

    def start(self) -> None:
        self._run_queue()

    def stop(self) -> None:
        """Begin nothing more; what is under way may still end."""
        self._stopping = True
        self.dispatch.stop()
        if self._run_timer is not None:
            self._run_timer.cancel()

    @property
    def idle(self) -> bool:
        return self.dispatch.open_jobs == 0 and not self._tasks

    async def wait_idle(self) -> None:
        """Until nothing is under way (after `stop`)."""
        while not self.idle:
            self._quiet.clear()
            await self._quiet.wait()

    def look_quiet(self) -> None:
        if self._stopping and self.idle:
            self._quiet.set()

    def reconfigure(
        self, transports: Transports, notices: Notices, aliasing: Aliasing, settings: ManagerSettings
    ) -> None:
        self._notices = notices
        self._aliasing = aliasing
        self._settings = settings
        self.dispatch.reconfigure(transports, settings.dispatch)
        self._place(transports, aliasing, settings)
        self._run_queue()

    def _place(self, transports: Transports, aliasing: Aliasing, settings: ManagerSettings) -> None:
        self._placement.configure(
            transports, aliasing, myorigin=settings.myorigin, double_bounce_sender=settings.double_bounce_sender
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """For the few messages that need to wait for several things in turn (bounces, notifications)."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self.look_quiet()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report("working on a message", error)

    # ── messages become active ──

    def is_waiting(self, queue_id: QueueId) -> bool:
        return queue_id not in self.active and queue_id not in self._held_back

    def hold_back(self, message: Message) -> None:
        """A message whose maildrop file is still there: delivered and gone, nothing would say that the file was taken.
        It stays in memory until `begin`, so that the index does not give it out."""
        self._held_back.add(message.queue_id)

    def begin(self, sources: set[str]) -> None:
        """These maildrop files are gone for good."""
        messages = self._ledger.state.messages
        for queue_id in list(self._held_back):
            message = messages.get(queue_id)
            if message is None or message.source in sources:
                self._held_back.discard(queue_id)
                if message is not None:
                    self.activate(message)

    def activate(self, message: Message, content: bytes | None = None) -> None:
        """Begin a round of attempts, now or, if too many are under way, when its turn comes. A message that was here
        before the last start may have been delivered without our knowing: then the mailbox looks before it writes."""
        if message.hold or message.queue_id in self.active:
            return
        settings = self._settings
        if self._stopping or len(self.active) >= settings.active_limit:
            self._more[DEFERRED if message.due else INCOMING] = True
            return
        maybe = message.lsn <= self.careful_until or message.queue_id in self.dispatch.careful
        active = Active(message, self.dispatch.keep(content), self._clock.now(), maybe=maybe)
        self.active[message.queue_id] = active
        sender = message.sender
        self._emit(QueueActive(message.queue_id, str(sender) if sender else "", message.size, len(message.recipients)))
        self._placement.route(active, list(message.recipients))

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
        longest_s = self._settings.maximal_backoff_s if kind == DEFERRED else 0.0
        future = self._ledger.index.run(lambda index: index.load_due(kind, now_s, now_s + longest_s, limit))
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
        self.dispatch.revive()
        self._flushes[now_s] = None
        if len(self._flushes) > MAX_FLUSHES:
            del self._flushes[next(iter(self._flushes))]
        for message in list(self._ledger.state.messages.values()):
            if message.due and not message.hold and self.is_waiting(message.queue_id):
                sites = (recipient.address.domain.lower() for recipient in message.recipients.values())
                if not site or site.lower() in sites:
                    message.due = now_s
                    self.activate(message)

        def expedited(future: "asyncio.Future[int]") -> None:
            if not future.cancelled() and (error := future.exception()) is not None:
                self._report("flushing the queue", error)
            self._more[DEFERRED] = True
            self.refill()
            done()

        self._ledger.index.run(lambda index: index.expedite(site, now_s)).add_done_callback(expedited)

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

    def outcome(self, job: Job, outcomes: Outcomes) -> None:
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
            self.dispatch.finished(job)
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
            self.settle(active)

    def _finish_job(self, job: Job, outcomes: Outcomes) -> None:
        failed: tuple[str, str] | None = None
        results = outcomes.results
        if outcomes.destination_failed and results:
            failed = (results[0].dsn, results[0].text)
        self.dispatch.finished(job, failed)

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
        reach(QueueStep.RESULT_FLUSHED)
        if retired and agent is not None:
            self.dispatch.agents.retire(agent, retired)
        active.outstanding -= 1
        self.settle(active)

    def _recorded(self, active: Active) -> None:
        active.outstanding -= 1
        self.settle(active)

    def redirect(self, active: Active, redirect: Redirect) -> None:
        """An alias or .forward: one recipient is replaced by others, in one record."""
        active.outstanding += 1
        message = active.message

        def recorded() -> None:
            count = len(redirect.recipients)
            if not active.removed and message.recipients:
                self._placement.route(active, range(message.next_index - count, message.next_index))
            active.outstanding -= 1
            self.settle(active)

        self._ledger.record((redirect,), b"", recorded)

    # ── the end of a round ──

    def settle(self, active: Active) -> None:
        if active.outstanding:
            if not active.open_jobs and active.content is not None:
                self.dispatch.forget_content_if_crowded(active)
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
            reach(QueueStep.BOUNCE_FLUSHED)
            if notice is not None:
                self._notices.announce(message.queue_id, notice)
                self.activate(notice.enter.message, notice.content)
            self._recorded_end(active)

        self._ledger.record(tuple(records), content, recorded)

    def _recorded_end(self, active: Active) -> None:
        active.deferrals.clear()
        active.outstanding -= 1
        self.settle(active)

    def _forget(self, active: Active) -> None:
        queue_id = active.message.queue_id
        if self.active.get(queue_id) is not active:
            return
        del self.active[queue_id]
        if active.removed and queue_id not in self.silent_removals:
            self._emit(Removed(queue_id))
        self.silent_removals.discard(queue_id)
        self.dispatch.release(active)
        if active.on_end is not None:
            active.on_end()
        if self._more[INCOMING] or self._more[DEFERRED]:
            self.refill()

    def _on_removed(self, message: Message) -> None:
        """The fold says: nothing is left of this message."""
        if message.large:
            self._files.remove(message.large)
        queue_id = message.queue_id
        if self.dispatch.careful:
            self.dispatch.careful.discard(queue_id)
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
        active.outstanding += 1
        active.outstanding -= self.dispatch.withdraw(active)
        active.outstanding -= 1
        self.settle(active)
