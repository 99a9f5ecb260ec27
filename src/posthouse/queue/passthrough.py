"""LMTP: deliver now and answer each recipient, without the queue (RFC 2033).

Nothing is written to the journal for a recipient whose mailbox is here: the client keeps its copy until it has our
answer. Recipients that lead elsewhere (an alias to several people, another system, a .forward) cannot be answered by
their mailbox, so for them the message enters the journal and the answer is given after its flush.
"""

import asyncio
import os
from collections.abc import Callable
from typing import NamedTuple

from posthouse.core.address import Address
from posthouse.core.envelope import Envelope, Recipient
from posthouse.core.identifiers import delivery_id
from posthouse.core.logline import LogLine
from posthouse.core.reply import MailError, TempFail
from posthouse.core.result import DeliveryStatus, RecipientResult
from posthouse.core.routing_hash import worker_of
from posthouse.queue.agents import Agent, Agents
from posthouse.queue.cleanup import Cleanup, Expanded
from posthouse.queue.content import ContentFiles, LargeContent
from posthouse.queue.journal import storage_reply
from posthouse.queue.ledger import Ledger
from posthouse.queue.loglines import Cleaned
from posthouse.queue.lookups import Answer, Lookups
from posthouse.queue.message import Message, QueuedRecipient
from posthouse.queue.record import Enter
from posthouse.queue.transports import MAILBOX, Transports
from posthouse.runtime.schema import Deliver, JobRecipient, Outcomes, Resolution, Transact


class _Direct(NamedTuple):
    number: int
    route: Resolution
    worker: int


class Passthrough:
    """`activate` begins the delivery of what was queued after all."""

    def __init__(
        self,
        ledger: Ledger,
        files: ContentFiles,
        cleanup: Cleanup,
        lookups: Lookups,
        agents: Agents,
        *,
        mailbox_workers: int,
        emit: Callable[[LogLine], None],
        activate: Callable[[Message, bytes | None], None],
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._cleanup = cleanup
        self._lookups = lookups
        self._agents = agents
        self._mailbox_workers = mailbox_workers
        self._emit = emit
        self._activate = activate
        self.transports: Transports | None = None

    async def transact(self, record: Transact, large: LargeContent | None) -> Outcomes:
        """One result per recipient, in order."""
        descriptor = -1
        keep_file = False
        try:
            content = record.content
            if large is not None:
                descriptor = await self._flushed(large)
            results: dict[int, RecipientResult] = {}
            direct: list[_Direct] = []
            queued: dict[int, list[QueuedRecipient]] = {}
            for index, recipient in enumerate(record.envelope.recipients):
                await self._sort(record.envelope, index, recipient, direct, queued, results)
            agents = await self._deliver(record, direct, content, descriptor, results)
            await self._enter_redirects(record, results, queued)
            if queued:
                keep_file = await self._enter(record, queued, large, results)
            for agent, index in agents:
                if results[index].status is DeliveryStatus.SENT:
                    self._agents.retire(agent, [delivery_id(record.queue_id, index, 0)])
            self._agents.flush_notes()
            return Outcomes(tuple(results[index] for index in range(len(record.envelope.recipients))))
        finally:
            if descriptor >= 0:
                os.close(descriptor)
            if large is not None and not keep_file:
                self._files.abort(large)

    async def _flushed(self, large: LargeContent) -> int:
        done: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self._files.finish(large, done.set_result)
        if (error := await done) is not None:
            raise TempFail(storage_reply(error)) from error
        return await self._files.run(lambda: os.open(large.path, os.O_RDONLY | os.O_CLOEXEC))

    async def _sort(
        self,
        envelope: Envelope,
        index: int,
        recipient: Recipient,
        direct: list[_Direct],
        queued: dict[int, list[QueuedRecipient]],
        results: dict[int, RecipientResult],
    ) -> None:
        """Whose mailbox is here, who goes through the queue, who is refused."""
        try:
            expanded = await self._expand(envelope, recipient)
            if len(expanded) != 1 or expanded[0].address.key != recipient.address.key:
                queued[index] = expanded
                return
            route = await self._route(recipient.address, envelope.sender)
        except MailError as error:
            results[index] = _refusal(index, error)
            return
        if route.error_reply is not None:
            status = DeliveryStatus.BOUNCED if route.error_reply.code >= 500 else DeliveryStatus.DEFERRED
            results[index] = RecipientResult(index, status, route.error_reply.status, route.error_reply.text)
        elif not route.known:
            results[index] = RecipientResult(index, DeliveryStatus.BOUNCED, "5.1.1", "User unknown")
        elif self.transports is not None and self.transports.agent(route.transport) == MAILBOX:
            worker = worker_of(route.recipient.key, self._mailbox_workers)
            direct.append(_Direct(index, route, worker))
        else:
            queued[index] = expanded

    async def _expand(self, envelope: Envelope, recipient: Recipient) -> list[QueuedRecipient]:
        done: asyncio.Future[Expanded | MailError] = asyncio.get_running_loop().create_future()
        self._cleanup.recipients(envelope.with_recipients((recipient,)), done.set_result)
        result = await done
        if isinstance(result, MailError):
            raise result
        return result

    async def _route(self, address: Address, sender: Address | None) -> Resolution:
        found = self._lookups.cached_route(address, sender)
        if found is not None:
            return found
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._lookups.route(address, sender, done.set_result)
        answer = await done
        if isinstance(answer, Resolution):
            return answer
        raise answer if isinstance(answer, MailError) else TypeError(type(answer).__name__)

    async def _deliver(
        self,
        record: Transact,
        direct: list[_Direct],
        content: bytes,
        descriptor: int,
        results: dict[int, RecipientResult],
    ) -> list[tuple[Agent, int]]:
        """One delivery per mailbox process and route; fills `results`, returns who delivered what."""
        envelope = record.envelope
        groups: dict[tuple[int, str, str], list[_Direct]] = {}
        for one in direct:
            groups.setdefault((one.worker, one.route.transport, one.route.nexthop), []).append(one)
        delivered: list[tuple[Agent, int]] = []
        now_s = self._ledger.clock.now()
        for (worker, transport, nexthop), members in groups.items():
            agent = self._agents.choose(MAILBOX, worker)
            answer: Outcomes | None = None
            if agent is not None:
                request = Deliver(
                    queue_id=record.queue_id,
                    transport=transport,
                    nexthop=nexthop,
                    sender=envelope.sender,
                    recipients=tuple(
                        JobRecipient(
                            one.number,
                            0,
                            one.route.recipient,
                            envelope.recipients[one.number].original,
                            envelope.recipients[one.number].notify,
                            one.route.mailbox,
                        )
                        for one in members
                    ),
                    arrived_s=record.arrival.at_s,
                    active_s=now_s,
                    size=os.fstat(descriptor).st_size if descriptor >= 0 else len(content),
                    content=b"" if descriptor >= 0 else content,
                    body=envelope.body,
                    smtputf8=envelope.smtputf8,
                    is_awaited=True,
                )
                try:
                    answer = await agent.connection.call(request, (descriptor,) if descriptor >= 0 else ())
                except MailError:
                    answer = None
            if answer is not None and agent is not None:
                for result in answer.results:
                    results[result.index] = result
                    delivered.append((agent, result.index))
            for one in members:
                if one.number not in results:
                    results[one.number] = RecipientResult(
                        one.number, DeliveryStatus.DEFERRED, "4.3.0", "mailbox temporarily unavailable"
                    )
        return delivered

    async def _enter_redirects(
        self,
        record: Transact,
        results: dict[int, RecipientResult],
        queued: dict[int, list[QueuedRecipient]],
    ) -> None:
        """A mailbox that sends its mail elsewhere (.forward, Sieve): the others get it through the queue."""
        for index, result in results.items():
            if result.status is DeliveryStatus.REDIRECTED:
                recipient = record.envelope.recipients[index]
                queued[index] = [
                    QueuedRecipient(target, str(recipient.address), recipient.notify, level=1)
                    for target in result.redirect
                ]

    async def _enter(
        self,
        record: Transact,
        queued: dict[int, list[QueuedRecipient]],
        large: LargeContent | None,
        results: dict[int, RecipientResult],
    ) -> bool:
        """Into the journal for these; True if the message's file is in use from here on."""
        recipients = [one for members in queued.values() for one in members]
        first = len(record.envelope.recipients)  # never the number of a recipient that was delivered directly
        message = Message(
            queue_id=record.queue_id,
            sender=record.envelope.sender,
            recipients=dict(enumerate(recipients, first)),
            next_index=first + len(recipients),
            arrival=record.arrival,
            entered_s=self._ledger.clock.now(),
            size=large.octets if large else len(record.content),
            body=record.envelope.body,
            smtputf8=record.envelope.smtputf8,
            ret=record.envelope.ret,
            envid=record.envelope.envid,
            large=large.name if large else "",
        )
        try:
            if recipients:
                await self._ledger.write((Enter(message, 0, len(record.content)),), record.content)
        except OSError as error:
            reply = storage_reply(error)
            for index in queued:
                results[index] = RecipientResult(index, DeliveryStatus.DEFERRED, reply.status, reply.text)
            return False
        for index in queued:
            results[index] = RecipientResult(index, DeliveryStatus.SENT, "2.6.0", f"queued as {record.queue_id}")
        if not recipients:
            return False
        self._emit(Cleaned(message.queue_id, message.arrival.message_id))
        self._activate(message, None if large else record.content)
        return large is not None


def _refusal(index: int, error: MailError) -> RecipientResult:
    status = DeliveryStatus.BOUNCED if error.reply.code >= 500 else DeliveryStatus.DEFERRED
    return RecipientResult(index, status, error.reply.status, error.reply.text)
