"""Where each recipient of an active message goes: routes, transports that end inside, local aliases, groups.

When all routes of a step are known, recipients that go the same way become jobs together.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Final

from posthouse.core.logline import LogLine
from posthouse.core.reply import LOCAL_ERROR, MailError
from posthouse.core.result import DeliveryStatus
from posthouse.core.routing_hash import worker_of
from posthouse.queue.active import Active, Attempt, Group
from posthouse.queue.aliasing import Aliasing
from posthouse.queue.dispatch import Dispatch, Rounds
from posthouse.queue.loglines import QueueWarning
from posthouse.queue.lookups import Answer, Lookups
from posthouse.queue.message import QueuedRecipient
from posthouse.queue.scheduler import Job
from posthouse.queue.transports import DISCARD, ERROR, LOCAL, MAILBOX, Transports
from posthouse.runtime.schema import Resolution

_SENT: Final = DeliveryStatus.SENT
_UNKNOWN_USER: Final = {
    "virtual_mailbox": "User unknown in virtual mailbox table",
    "virtual_alias": "User unknown in virtual alias table",
    "relay": "User unknown in relay recipient table",
}


class Placement:
    """`is_flushed` tells by a message's due time whether somebody asked for it to be tried now."""

    def __init__(
        self,
        lookups: Lookups,
        dispatch: Dispatch,
        rounds: Rounds,
        *,
        mailbox_workers: int,
        emit: Callable[[LogLine], None],
        is_flushed: Callable[[float], bool],
    ) -> None:
        self._lookups = lookups
        self._dispatch = dispatch
        self.rounds = rounds
        self._mailbox_workers = mailbox_workers
        self._emit = emit
        self._is_flushed = is_flushed

    def configure(
        self, transports: Transports, aliasing: Aliasing, *, myorigin: str, double_bounce_sender: str
    ) -> None:
        """Before anything is placed, and again whenever the parameters change."""
        self._transports = transports
        self._aliasing = aliasing
        self._myorigin = myorigin
        self._double_bounce_sender = double_bounce_sender
        self._lookups.clear()

    def route(self, active: Active, indexes: Iterable[int]) -> None:
        active.outstanding += 1
        message = active.message
        for index in indexes:
            recipient = message.recipients.get(index)
            if recipient is None:
                continue
            if recipient.mailbox:
                self._group(active, index, recipient, LOCAL, self._myorigin, LOCAL, recipient.mailbox)
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
            self.schedule(active)
        active.outstanding -= 1
        self.rounds.settle(active)

    def _route_answer(self, active: Active, index: int, answer: Answer) -> None:
        active.resolving -= 1
        recipient = active.message.recipients.get(index)
        if recipient is not None and not active.removed:
            if isinstance(answer, Resolution):
                self._routed(active, index, recipient, answer)
            else:
                reply = answer.reply if isinstance(answer, MailError) else LOCAL_ERROR
                words = f"address resolver failure: {reply.text}"
                self.rounds.end_inside(active, index, DeliveryStatus.DEFERRED, "4.3.0", words)
        if not active.resolving:
            self.schedule(active)
        active.outstanding -= 1
        self.rounds.settle(active)

    def _routed(self, active: Active, index: int, recipient: QueuedRecipient, route: Resolution) -> None:
        address = recipient.address
        if route.recipient != address:
            recipient.original = recipient.original or str(address)
            recipient.address = address = route.recipient
        if address.local_part == self._double_bounce_sender and route.address_class == "local":
            self._emit(QueueWarning(active.message.queue_id, "undeliverable postmaster notification discarded"))
            self.rounds.end_inside(
                active, index, _SENT, "2.0.0", "undeliverable postmaster notification discarded", DISCARD
            )
            return
        if route.error_reply is not None:
            status = DeliveryStatus.DEFERRED if route.error_reply.code < 500 else DeliveryStatus.BOUNCED
            self.rounds.end_inside(active, index, status, route.error_reply.status, route.error_reply.text)
            return
        agent = self._transports.agent(route.transport)
        if not route.known and not (route.address_class == "local" and agent == LOCAL):
            words = _UNKNOWN_USER.get(route.address_class, "User unknown in local recipient table")
            self.rounds.end_inside(active, index, DeliveryStatus.BOUNCED, "5.1.1", words)
        elif agent in (ERROR, DISCARD):
            self._end_by_transport(active, index, agent, route)
        elif not agent:
            self.rounds.end_inside(
                active, index, DeliveryStatus.DEFERRED, "4.3.0", f"mail transport {route.transport} is unknown"
            )
        elif route.transport in self._transports.deferred and not self._is_flushed(active.message.due):
            self.rounds.end_inside(active, index, DeliveryStatus.DEFERRED, "4.3.2", "deferred transport")
        elif agent == LOCAL and route.address_class == "local":
            self._aliasing.look_up(self, active, index, recipient, route)
        else:
            self._group(active, index, recipient, route.transport, route.nexthop, agent, route.mailbox)

    def _end_by_transport(self, active: Active, index: int, agent: str, route: Resolution) -> None:
        """error(8) and discard(8): the nexthop is the reason, with a status in front if it has one."""
        words = route.nexthop
        if agent == DISCARD:
            self.rounds.end_inside(active, index, _SENT, "2.0.0", words or "mail was discarded", DISCARD)
            return
        is_retry = route.transport == "retry"
        dsn, status = ("4.0.0", DeliveryStatus.DEFERRED) if is_retry else ("5.0.0", DeliveryStatus.BOUNCED)
        first, _, rest = words.partition(" ")
        parts = first.split(".")
        if len(parts) == 3 and parts[0] in ("4", "5") and all(part.isdecimal() and len(part) < 4 for part in parts):
            dsn, words = first, rest
            status = DeliveryStatus.DEFERRED if parts[0] == "4" else DeliveryStatus.BOUNCED
        self.rounds.end_inside(active, index, status, dsn, words or "mail for this destination is not accepted")

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

    def schedule(self, active: Active) -> None:
        """All routes of this step are known: recipients that go the same way travel together."""
        groups = active.groups
        if not groups:
            return
        active.groups = {}
        for group, indexes in groups.items():
            limit = self._transports.limits(group.lane).recipients or len(indexes)
            active.paths.add((group.lane, group.destination))
            for start in range(0, len(indexes), limit):
                attempt = Attempt(active, group, tuple(indexes[start : start + limit]))
                active.outstanding += 1
                self._dispatch.add(Job(group.lane, group.destination, active.message.queue_id, attempt))
        self._dispatch.arm()

    def look_up_later(self, active: Active) -> Callable[[], None]:
        """Someone else (aliasing) has a question open for this message; returns what to call when it is answered."""
        active.outstanding += 1
        active.resolving += 1

        def answered() -> None:
            active.resolving -= 1
            if not active.resolving:
                self.schedule(active)
            active.outstanding -= 1
            self.rounds.settle(active)

        return answered
