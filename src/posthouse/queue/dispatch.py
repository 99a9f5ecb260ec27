"""Deliveries: from the scheduler's "now" to a delivery process and back with its answer.

Also what goes wrong on the way: content that must be read again first, an agent that is not there, one that dies in the
middle. The results themselves are the manager's business (`Rounds`).
"""

import asyncio
import contextlib
import fcntl
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from posthouse.core.clock import Clock
from posthouse.core.identifiers import QueueId
from posthouse.core.logline import LogLine
from posthouse.core.reply import MailError
from posthouse.core.result import DeliveryStatus
from posthouse.queue.active import Active, Attempt
from posthouse.queue.agents import Agent, Agents
from posthouse.queue.content import ContentFiles
from posthouse.queue.crashpoints import QueueStep
from posthouse.queue.loglines import QueueWarning
from posthouse.queue.record import Redirect
from posthouse.queue.scheduler import Job, Scheduler
from posthouse.queue.transports import ERROR, Transports
from posthouse.runtime.crashpoints import reach
from posthouse.runtime.ipc import PeerLost
from posthouse.runtime.schema import Deliver, JobRecipient, Outcomes, Written

MAX_LOSSES: Final = 3
"""A message under whose delivery the agent vanished this often is deferred: it may be what kills the agent."""
LOST_RETRY_S: Final = 0.2


class Rounds(Protocol):
    """The owner of the messages, as its parts see it."""

    def end_inside(
        self, active: Active, index: int, status: DeliveryStatus, dsn: str, words: str, agent: str = ERROR
    ) -> None:
        """A recipient whose delivery ends without an agent."""
        ...

    def outcome(self, job: Job, outcomes: Outcomes) -> None:
        """A delivery process has answered."""
        ...

    def redirect(self, active: Active, redirect: Redirect) -> None:
        """Other recipients take one's place."""
        ...

    def settle(self, active: Active) -> None:
        """Something of this round has ended; was it the last?"""
        ...

    def look_quiet(self) -> None:
        """A delivery has ended while the process is stopping."""
        ...


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    inline_octets: int
    content_memory: int
    transport_retry_s: float


class Dispatch:
    """Owns the scheduler, the connections of the delivery processes and the memory that content may take."""

    def __init__(
        self,
        files: ContentFiles,
        transports: Transports,
        rounds: Rounds,
        limits: DispatchLimits,
        *,
        clock: Clock,
        emit: Callable[[LogLine], None],
        report: Callable[[str, BaseException | None], None],
    ) -> None:
        self._files = files
        self._rounds = rounds
        self.limits = limits
        self._clock = clock
        self._emit = emit
        self._report = report
        self._loop = asyncio.get_running_loop()
        self.agents = Agents(self._agent_ready)
        self._scheduler = Scheduler(transports.limits, self._start, self._give_up)
        self._wakeup: asyncio.TimerHandle | None = None
        self._paused: dict[str, str] = {}
        """Lanes that wait for an agent, and its kind."""
        self._content_octets = 0
        self.careful: set[QueueId] = set()
        """Messages that an agent may have delivered although it did not say so."""
        self.stopping = False

    @property
    def open_jobs(self) -> int:
        return self._scheduler.open_jobs

    def stop(self) -> None:
        self.stopping = True
        if self._wakeup is not None:
            self._wakeup.cancel()

    def reconfigure(self, transports: Transports, limits: DispatchLimits) -> None:
        self.limits = limits
        self._scheduler.set_limits(transports.limits)

    def revive(self) -> None:
        self._scheduler.revive()

    def add(self, job: Job) -> None:
        self._scheduler.add(job, self._clock.monotonic())

    def finished(self, job: Job, failed: tuple[str, str] | None = None) -> None:
        self._scheduler.finished(job, self._clock.monotonic(), failed=failed)
        self.arm()

    def withdraw(self, active: Active) -> int:
        """Take back what has not begun of a message; how many jobs that were."""
        now_s = self._clock.monotonic()
        queue_id = active.message.queue_id
        return sum(len(self._scheduler.withdraw(*path, queue_id, now_s)) for path in active.paths)

    # ── content in memory ──

    def keep(self, content: bytes | None) -> bytes | None:
        """The content, if there is memory left for it."""
        if content is None or self._content_octets > self.limits.content_memory:
            return None
        self._content_octets += len(content)
        return content

    def release(self, active: Active) -> None:
        if active.content is not None:
            self._content_octets -= len(active.content)
            active.content = None
        if active.descriptor >= 0:
            os.close(active.descriptor)
            active.descriptor = -1

    def forget_content_if_crowded(self, active: Active) -> None:
        """A message that only waits for its turn gives its memory back when there is little left."""
        if self._content_octets > self.limits.content_memory and active.loading is None:
            self._content_octets -= len(active.content or b"")
            active.content = None

    # ── jobs ──

    def arm(self) -> None:
        """One timer for whatever the scheduler waits for next."""
        at_s = self._scheduler.next_wakeup_s()
        if at_s is None or self.stopping:
            return
        if self._wakeup is not None:
            if self._wakeup.when() <= self._loop.time() + max(0.0, at_s - self._clock.monotonic()) + 0.001:
                return
            self._wakeup.cancel()
        self._wakeup = self._loop.call_later(max(0.0, at_s - self._clock.monotonic()), self._wake)

    def _wake(self) -> None:
        self._wakeup = None
        self._scheduler.wake(self._clock.monotonic())
        self.arm()

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
            if len(active.content) > self.limits.inline_octets and active.descriptor < 0:
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
            if len(active.content) > self.limits.inline_octets:
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
            self._rounds.settle(active)
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
        reach(QueueStep.JOB_SENT)
        future.add_done_callback(functools.partial(self._answered, job))

    def written(self, agent: Agent, note: Written) -> None:
        """A mailbox process has written these deliveries and waits for its next flush."""
        for job in agent.jobs.get(note.queue_id, ()):
            attempt: Attempt = job.payload
            if not note.indexes or note.indexes[0] in attempt.indexes:
                self._scheduler.written(job, self._clock.monotonic())
                return

    def _answered(self, job: Job, future: "asyncio.Future[Any]") -> None:
        reach(QueueStep.OUTCOME_RECEIVED)
        if self.stopping:
            self._loop.call_soon(self._rounds.look_quiet)
        attempt: Attempt = job.payload
        if attempt.agent is not None:
            self.agents.ended(attempt.agent, attempt.active.message.queue_id, job)
        if future.cancelled():
            self._failed(job, "4.3.0", "delivery was interrupted")
            return
        error = future.exception()
        if error is None:
            outcomes: Outcomes = future.result()
            # An attempt that was told to look may have ended before it could: who comes next is told as well.
            if attempt.maybe or any(one.is_uncertain for one in outcomes.results):
                self.careful.add(attempt.active.message.queue_id)
            self._rounds.outcome(job, outcomes)
        elif isinstance(error, PeerLost):
            self._lost(job, str(error))
        elif isinstance(error, MailError):
            self.careful.add(attempt.active.message.queue_id)
            self._failed(job, f"4{error.reply.status[1:]}", error.reply.text)
        else:
            self._report("a delivery agent's answer", error)
            self._failed(job, "4.3.0", "delivery agent error")

    def _lost(self, job: Job, why: str) -> None:
        """The process went away in the middle: nobody knows what it did, so the next one looks first."""
        attempt: Attempt = job.payload
        active = attempt.active
        active.open_jobs -= 1
        if self.stopping:
            self._scheduler.returned(job, self._clock.monotonic())
            active.outstanding -= 1
            return
        active.lost += 1
        attempt.maybe = True
        self.careful.add(active.message.queue_id)  # also when the next attempt ends before it could look
        words = f"the {attempt.group.agent} process was lost during delivery ({why})"
        if active.lost > MAX_LOSSES:
            active.open_jobs += 1
            self._emit(QueueWarning(active.message.queue_id, f"{words}: deferred"))
            self._failed(job, "4.3.0", "delivery agent was lost")
            return
        self._emit(QueueWarning(active.message.queue_id, f"{words}: trying again"))
        self._scheduler.returned(job, self._clock.monotonic())
        self._loop.call_later(LOST_RETRY_S, self._again, job)

    def _again(self, job: Job) -> None:
        attempt: Attempt = job.payload
        if attempt.active.removed or attempt.active.message.hold or self.stopping:
            attempt.active.outstanding -= 1
            self._rounds.settle(attempt.active)
            return
        self._scheduler.add(job, self._clock.monotonic())
        self.arm()

    def _no_agent(self, job: Job) -> None:
        attempt: Attempt = job.payload
        lane, kind = job.transport, attempt.group.agent
        self._scheduler.pause(lane)
        if lane not in self._paused:
            self._paused[lane] = kind
            self._loop.call_later(self.limits.transport_retry_s, self._still_no_agent, lane)
        now_s = self._clock.monotonic()
        self._scheduler.returned(job, now_s)
        self._scheduler.add(job, now_s)

    def _still_no_agent(self, lane: str) -> None:
        if lane in self._paused and not self.stopping:
            self._scheduler.abandon(lane, "4.3.0", "mail transport unavailable")
            # Later mail waits again for as long.
            self._loop.call_later(self.limits.transport_retry_s, self._still_no_agent, lane)

    def _agent_ready(self, kind: str) -> None:
        now_s = self._clock.monotonic()
        for lane in [lane for lane, wanted in self._paused.items() if wanted == kind]:
            del self._paused[lane]
            self._scheduler.resume(lane, now_s)
        self.arm()

    def _give_up(self, job: Job, dsn: str, reason: str) -> None:
        """The scheduler knows that it is no use: a dead destination, or no agent."""
        attempt: Attempt = job.payload
        active = attempt.active
        for index in attempt.indexes:
            if index in active.message.recipients:
                words = reason if dsn == "4.3.0" else f"delivery temporarily suspended: {reason}"
                self._rounds.end_inside(active, index, DeliveryStatus.DEFERRED, dsn, words)
        active.outstanding -= 1
        self._rounds.settle(active)

    def _failed(self, job: Job, dsn: str, words: str) -> None:
        """A job that ended without results: its recipients are deferred."""
        attempt: Attempt = job.payload
        active = attempt.active
        active.open_jobs -= 1
        for index in attempt.indexes:
            if index in active.message.recipients:
                self._rounds.end_inside(active, index, DeliveryStatus.DEFERRED, dsn, words)
        self._scheduler.returned(job, self._clock.monotonic())
        active.outstanding -= 1
        self._rounds.settle(active)


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
