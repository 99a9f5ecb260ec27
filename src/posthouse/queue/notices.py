"""Who is told what became of a message: bounces, delay warnings, success reports, copies for postmaster.

A notification is an ordinary message from the null sender. It is made here as a record that the caller puts into the
same frame as the record that ends the recipients (`Notice.enter`), so that after a crash there is either the duty to
deliver or the duty to report, never both and never neither.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from posthouse.core.address import Address
from posthouse.core.envelope import Arrival, Envelope, Recipient
from posthouse.core.identifiers import QueueId
from posthouse.core.logline import LogLine
from posthouse.core.reply import MailError
from posthouse.core.result import RecipientResult
from posthouse.protocol.dsn import Kind, Notification, ReportedRecipient, build, header_of, wants
from posthouse.queue.cleanup import Cleanup, Expanded
from posthouse.queue.content import ContentFiles
from posthouse.queue.ledger import Ledger
from posthouse.queue.loglines import Cleaned, Notified, QueueWarning
from posthouse.queue.message import Message, QueuedRecipient
from posthouse.queue.record import Deferral, Enter
from posthouse.queue.transports import SMTP

MAX_HEADER_OCTETS = 128 * 1024
"""Of a message that is returned without its body: real headers are far smaller."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification ready to enter the journal. `kind` is for the log."""

    enter: Enter
    content: bytes
    kind: str


@dataclass(frozen=True, slots=True)
class NoticeSettings:
    myhostname: str
    myorigin: str
    mail_name: str
    bounce_size_limit: int
    notify_classes: frozenset[str]
    double_bounce_recipient: str
    double_bounce_sender: str
    format_date: Callable[[float], str]


class Notices:
    """Makes notifications; `settings` are those of one configuration."""

    def __init__(
        self,
        ledger: Ledger,
        files: ContentFiles,
        cleanup: Cleanup,
        settings: NoticeSettings,
        emit: Callable[[LogLine], None],
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._cleanup = cleanup
        self._settings = settings
        self._emit = emit

    # ── success ──

    def reports_success(self, message: Message, results: Iterable[RecipientResult]) -> bool:
        """Did anybody ask for a report that the next system does not send?"""
        recipients = message.recipients
        return message.sender is not None and any(
            (one := recipients.get(result.index)) is not None
            and bool(one.notify)
            and wants(one.notify, Kind.SUCCESS)
            and not result.dsn_passed
            for result in results
        )

    async def success(
        self, message: Message, results: Sequence[RecipientResult], agent: str, content: bytes | None
    ) -> Notice | None:
        """None if it cannot be made: a success report is not worth delivering a message twice."""
        # RFC 3464 s2.3.3: "relayed" when the next system does not speak DSN, "delivered" when it is in the mailbox.
        action = "relayed" if agent == SMTP else "delivered"
        reported = [
            ReportedRecipient(one.address, one.original, action, result.dsn, result.text, result.remote_mta)
            for result in results
            if (one := message.recipients.get(result.index)) is not None
            and wants(one.notify, Kind.SUCCESS)
            and not result.dsn_passed
        ]
        try:
            return await self._make(message, Kind.SUCCESS, reported, message.sender, content, is_full=False)
        except (MailError, OSError) as error:
            self._emit(QueueWarning(message.queue_id, f"the success report cannot be made: {error}"))
            return None

    # ── delay ──

    async def delayed(
        self, message: Message, deferrals: Iterable[Deferral], content: bytes | None, until_s: float
    ) -> Notice | None:
        if message.sender is None:
            return None
        reported = [
            ReportedRecipient(
                one.address,
                one.original,
                "delayed",
                deferral.dsn,
                deferral.reason,
                deferral.remote_mta,
                deferral.remote_reply,
            )
            for deferral in deferrals
            if (one := message.recipients.get(deferral.index)) is not None and wants(one.notify, Kind.DELAYED)
        ]
        if not reported:
            return None
        try:
            return await self._make(
                message, Kind.DELAYED, reported, message.sender, content, is_full=False, until_s=until_s
            )
        except (MailError, OSError) as error:
            self._emit(QueueWarning(message.queue_id, f"the delay warning cannot be made: {error}"))
            return None

    # ── failure ──

    async def failed(
        self, message: Message, failures: Iterable[RecipientResult], content: bytes | None
    ) -> Notice | None:
        """The bounce, or None if nobody is to be told. Raises MailError or OSError if it cannot be made now."""
        settings = self._settings
        reported = [
            ReportedRecipient(
                one.address,
                one.original,
                "failed",
                _permanent(result.dsn),
                result.text,
                result.remote_mta,
                result.remote_reply,
            )
            for result in failures
            if (one := message.recipients.get(result.index)) is not None and wants(one.notify, Kind.FAILED)
        ]
        if not reported:
            return None
        is_full = message.ret != "HDRS" and message.size <= settings.bounce_size_limit
        if message.sender is not None and message.sender.local_part == settings.double_bounce_sender:
            self._emit(QueueWarning(message.queue_id, "undeliverable postmaster notification discarded"))
            return None
        if message.sender is None:
            # A bounce that bounces: postmaster hears of it if he wants to, nobody else can.
            if "2bounce" not in settings.notify_classes:
                return None
            to = _address(settings.double_bounce_recipient, settings.myorigin)
            return await self._make(message, Kind.FAILED, reported, to, content, is_full=is_full, for_postmaster=True)
        owners = {one.owner for one in message.recipients.values() if one.owner is not None}
        to = owners.pop() if len(owners) == 1 else message.sender
        return await self._make(message, Kind.FAILED, reported, to, content, is_full=is_full)

    # ── making one ──

    async def _make(
        self,
        message: Message,
        kind: Kind,
        reported: list[ReportedRecipient],
        to: Address | None,
        content: bytes | None,
        *,
        is_full: bool,
        for_postmaster: bool = False,
        until_s: float = 0.0,
    ) -> Notice | None:
        if to is None or not reported:
            return None
        settings = self._settings
        recipients = await self._expand(to)
        if content is None and message.size:
            content = await self._files.read(message, message.size if is_full else MAX_HEADER_OCTETS)
        original = content or b""
        if not is_full:
            original = header_of(original[:MAX_HEADER_OCTETS])
        ledger = self._ledger
        now_s = ledger.clock.now()
        notice_id = ledger.next_queue_id()
        message_id = f"<{notice_id}@{settings.myhostname}>"
        built = build(
            Notification(
                kind=kind,
                host=settings.myhostname,
                origin=settings.myorigin,
                mail_name=settings.mail_name,
                queue_id=message.queue_id,
                notice_id=notice_id,
                sender=message.sender,
                to=to,
                is_postmaster_copy=for_postmaster,
                envid=message.envid,
                arrival_date=settings.format_date(message.arrival.at_s),
                date=settings.format_date(now_s),
                message_id=message_id,
                boundary=f"{notice_id}.{int(now_s)}/{settings.myhostname}",
                recipients=tuple(reported),
                original=original,
                is_full=is_full,
                smtputf8=message.smtputf8,
                retry_until=settings.format_date(until_s) if until_s else "",
                original_message_id=message.arrival.message_id,
            )
        )
        sender = Address(settings.double_bounce_sender, settings.myorigin) if for_postmaster else None
        queued = Message(
            queue_id=notice_id,
            sender=sender,
            recipients=dict(enumerate(recipients)),
            next_index=len(recipients),
            arrival=Arrival(now_s, "bounce", message_id=message_id),
            entered_s=now_s,
            size=len(built),
            body="7BIT" if built.isascii() else "8BITMIME",
            smtputf8=message.smtputf8,
        )
        names = {Kind.FAILED: "non-delivery", Kind.DELAYED: "delay", Kind.SUCCESS: "delivery status"}
        who = "postmaster" if for_postmaster else "sender"
        return Notice(Enter(queued, 0, len(built)), built, f"{who} {names[kind]} notification")

    async def _expand(self, to: Address) -> list[QueuedRecipient]:
        """The recipient of a notification goes through cleanup like any other; raises MailError."""
        done: asyncio.Future[Expanded | MailError] = asyncio.get_running_loop().create_future()
        self._cleanup.recipients(Envelope(None, (Recipient(to),)), done.set_result)
        result = await done
        if isinstance(result, MailError):
            raise result
        return result

    def announce(self, about: QueueId, notice: Notice) -> None:
        """The notification is on stable storage."""
        queued = notice.enter.message
        self._emit(Cleaned(queued.queue_id, queued.arrival.message_id))
        self._emit(Notified(about, notice.kind, queued.queue_id))


def _address(text: str, myorigin: str) -> Address:
    address = Address.split(text)
    return address if address.domain else address.with_domain(myorigin)


def _permanent(dsn: str) -> str:
    """RFC 3464 s2.3.4 with s2.3.3 "failed": what was tried too long keeps its status, as Postfix reports it."""
    return dsn or "5.0.0"
