"""virtual(8): messages for users without a system account go into their Maildirs.

A job is written at once and reported as written; its outcome is told (and logged) after the next shared flush. Headers
are prepended as Postfix's virtual(8) does: Return-Path:, X-Original-To:, Delivered-To:.
"""

import os
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar, Final

import msgspec

from posthouse.core.address import Address
from posthouse.core.delivery_line import DeliveryLine
from posthouse.core.identifiers import DeliveryId, delivery_id
from posthouse.core.logline import Level, LogLine, Message
from posthouse.core.reply import TempFail
from posthouse.core.result import DeliveryStatus, RecipientResult
from posthouse.runtime.schema import Deliver, JobRecipient, NoSuchUser, Outcomes, UserEntry
from posthouse.store.checkpoint import Checkpoint, Errors
from posthouse.store.interface import MailboxNotFound, OverQuota, StorageFailed
from posthouse.store.maildir.location import BadLocation, MailLocation, parse_location
from posthouse.store.maildir.store import MaildirStore
from posthouse.store.naming import INBOX
from posthouse.store.registry import Stores

MAX_CACHED_USERS: Final = 20_000
RELAY: Final = "virtual"
SENT_TEXT: Final = "delivered to maildir"

LookupUser = Callable[[str], Awaitable[UserEntry | NoSuchUser]]


class VirtualDelivered(DeliveryLine, frozen=True):
    """What became of one recipient."""

    program: ClassVar[str] = "virtual"
    level: ClassVar[Level] = Level.INFO
    doc: ClassVar[str] = "One attempt to deliver to the mailbox of a virtual user."


class VirtualOptions(msgspec.Struct, frozen=True):
    base: str = ""
    """virtual_mailbox_base."""
    message_limit: int = 0
    user_cache_s: float = 10.0
    over_quota_tempfail: bool = False
    over_quota_text: str = "Quota exceeded (mailbox for user is full)"


class _Destination(msgspec.Struct, frozen=True):
    location: MailLocation
    limit: int


class _Written(msgspec.Struct):
    """One recipient whose message is in its Maildir, but perhaps not on disk."""

    recipient: JobRecipient
    store: MaildirStore
    delivery: DeliveryId


class VirtualDelivery:
    """Of one mailbox process. `lookup_user` asks auth; `emit` logs."""

    def __init__(
        self,
        stores: Stores,
        checkpoint: Checkpoint,
        options: VirtualOptions,
        *,
        lookup_user: LookupUser,
        emit: Callable[[LogLine], None],
        now: Callable[[], float],
    ) -> None:
        self.options = options
        self._stores = stores
        self._checkpoint = checkpoint
        self._lookup_user = lookup_user
        self._emit = emit
        self._now = now
        self._users: dict[str, tuple[_Destination, float]] = {}
        self._store_of: dict[DeliveryId, MaildirStore] = {}
        """Deliveries that are not yet retired."""

    def forget_users(self) -> None:
        self._users.clear()

    # ── a job ──

    def try_now(
        self,
        job: Deliver,
        content: bytes,
        written: Callable[[tuple[int, ...]], None],
        answer: Callable[[Outcomes], None],
    ) -> bool:
        """Deliver without waiting for anybody; False if auth has to be asked, or a store is just being closed."""
        destinations: list[tuple[JobRecipient, MaildirStore]] = []
        for recipient in job.recipients:
            found = self._known(recipient)
            store = self._stores.at_once(found.location, found.limit) if found is not None else None
            if store is None:
                return False
            destinations.append((recipient, store))
        _Job(self, job, content, written, answer).carry_out(destinations)
        return True

    async def deliver(
        self,
        job: Deliver,
        content: bytes,
        written: Callable[[tuple[int, ...]], None],
        answer: Callable[[Outcomes], None],
    ) -> None:
        work = _Job(self, job, content, written, answer)
        destinations: list[tuple[JobRecipient, MaildirStore]] = []
        for recipient in job.recipients:
            try:
                destination = self._known(recipient) or await self._ask(recipient)
            except TempFail as error:
                work.fail(recipient, DeliveryStatus.DEFERRED, "4.3.0", f"cannot look up the user: {error}")
            except BadLocation as error:
                self._complain(f"{recipient.address}: {error}")
                work.fail(recipient, DeliveryStatus.DEFERRED, "4.3.5", "mail system configuration error")
            else:
                if destination is None:
                    work.fail(recipient, DeliveryStatus.BOUNCED, "5.1.1", f'unknown user: "{recipient.address}"')
                else:
                    store = await self._stores.opened(destination.location, destination.limit)
                    destinations.append((recipient, store))
        work.carry_out(destinations)

    def retired(self, deliveries: tuple[DeliveryId, ...]) -> None:
        by_store: dict[MaildirStore, list[DeliveryId]] = {}
        for delivery in deliveries:
            store = self._store_of.pop(delivery, None)
            if store is not None:
                by_store.setdefault(store, []).append(delivery)
        for store, ours in by_store.items():
            store.retired(ours)

    def tidy(self) -> None:
        """Forget deliveries that their store has forgotten (the queue was restarted before it retired them)."""
        gone = [one for one, store in self._store_of.items() if one not in store.deliveries.unretired]
        for delivery in gone:
            del self._store_of[delivery]

    # ── where a user's mail is ──

    def _known(self, recipient: JobRecipient) -> _Destination | None:
        if recipient.mailbox:
            return self._below_base(recipient.mailbox)
        found = self._users.get(recipient.address.key)
        return found[0] if found is not None and found[1] > time.monotonic() else None

    def _below_base(self, path: str) -> _Destination | None:
        """A path from virtual_mailbox_maps; None if it is not one we can use (the slow path says why)."""
        if not self.options.base or not path.endswith("/") or ".." in path.split("/"):
            return None
        return _Destination(MailLocation(os.path.normpath(f"{self.options.base}/{path}")), 0)

    async def _ask(self, recipient: JobRecipient) -> _Destination | None:
        """None: no such user. Raises TempFail, BadLocation."""
        if recipient.mailbox:
            if not self.options.base:
                raise BadLocation("virtual_mailbox_maps names a path, but virtual_mailbox_base is empty")
            if not recipient.mailbox.endswith("/"):
                raise BadLocation(f"{recipient.mailbox}: mailbox files are not supported, only Maildirs (end with /)")
            raise BadLocation(f"{recipient.mailbox}: not below virtual_mailbox_base")
        key = recipient.address.key
        entry = await self._lookup_user(key)
        if isinstance(entry, NoSuchUser):
            return None
        destination = _Destination(parse_location(entry.mail, entry.home), entry.quota_octets)
        if self.options.user_cache_s > 0:
            if len(self._users) >= MAX_CACHED_USERS:
                self._users.clear()
            self._users[key] = (destination, time.monotonic() + self.options.user_cache_s)
        return destination

    def _complain(self, words: str) -> None:
        self._emit(Message(Level.ERROR, "virtual", words))


class _Job:
    """One Deliver until it is answered."""

    __slots__ = ("_answer", "_begun_s", "_content", "_errors", "_job", "_owner", "_results", "_tell_written")

    def __init__(
        self,
        owner: VirtualDelivery,
        job: Deliver,
        content: bytes,
        written: Callable[[tuple[int, ...]], None],
        answer: Callable[[Outcomes], None],
    ) -> None:
        self._owner = owner
        self._job = job
        self._content = content
        self._tell_written = written
        self._answer = answer
        self._begun_s = owner._now()
        self._results: list[tuple[JobRecipient, DeliveryStatus, str, str]] = []

    def fail(self, recipient: JobRecipient, status: DeliveryStatus, dsn: str, text: str) -> None:
        self._results.append((recipient, status, dsn, text))

    def carry_out(self, destinations: list[tuple[JobRecipient, MaildirStore]]) -> None:
        written: list[_Written] = []
        for recipient, store in destinations:
            delivery = delivery_id(self._job.queue_id, recipient.index, recipient.action)
            if self._write(recipient, store, delivery):
                written.append(_Written(recipient, store, delivery))
        if not written:
            self._finish()
            return
        self._tell_written(tuple(one.recipient.index for one in written))
        self._content = b""
        self._owner._checkpoint.add(
            [one.store for one in written],
            lambda errors: self._flushed(written, errors),
            is_urgent=self._job.is_awaited,
        )

    def _write(self, recipient: JobRecipient, store: MaildirStore, delivery: DeliveryId) -> bool:
        owner, job = self._owner, self._job
        name = str(recipient.address)
        options = owner.options
        if options.message_limit and len(self._content) > options.message_limit:
            self.fail(recipient, DeliveryStatus.BOUNCED, "5.2.2", "maildir delivery failed: message is too large")
            return False
        if is_loop(self._content, name):
            self.fail(recipient, DeliveryStatus.BOUNCED, "5.4.6", f"mail forwarding loop for {name}")
            return False
        try:
            store.deliver(
                head(job.sender, recipient.original or name, name) + self._content,
                delivery,
                INBOX,
                job.maybe_delivered,
            )
        except OverQuota:
            status, dsn = (DeliveryStatus.BOUNCED, "5.2.2")
            if options.over_quota_tempfail:
                status, dsn = (DeliveryStatus.DEFERRED, "4.2.2")
            self.fail(recipient, status, dsn, f"maildir delivery failed: {options.over_quota_text}")
            return False
        except StorageFailed as error:
            self._storage_failed(recipient, error)
            return False
        except MailboxNotFound as error:
            self.fail(recipient, DeliveryStatus.DEFERRED, "4.2.0", f"maildir delivery failed: {error}")
            return False
        owner._store_of[delivery] = store
        return True

    def _storage_failed(self, recipient: JobRecipient, error: StorageFailed) -> None:
        self._owner._complain(f"{self._job.queue_id}: {recipient.address}: {error.detail or error}")
        dsn = "4.3.1" if error.no_space else "4.2.0"
        self.fail(recipient, DeliveryStatus.DEFERRED, dsn, f"maildir delivery failed: {error}")

    def _flushed(self, written: list[_Written], errors: Errors) -> None:
        for one in written:
            failure = errors.get(one.store) if errors else None
            if failure is None:
                self._results.append((one.recipient, DeliveryStatus.SENT, "2.0.0", SENT_TEXT))
                continue
            try:
                one.store.withdraw([one.delivery])
            except StorageFailed as error:
                self._owner._complain(f"{self._job.queue_id}: taking back a delivery: {error.detail or error}")
            self._storage_failed(one.recipient, failure)
        self._finish()

    def _finish(self) -> None:
        job = self._job
        done_s = self._owner._now() - self._begun_s
        delays = (
            max(0.0, job.active_s - job.arrived_s),
            max(0.0, self._begun_s - job.active_s),
            0.0,
            max(0.0, done_s),
        )
        results: list[RecipientResult] = []
        for recipient, status, dsn, text in self._results:
            results.append(RecipientResult(recipient.index, status, dsn, text, RELAY, 0.0, done_s))
            self._owner._emit(
                VirtualDelivered(
                    job.queue_id, str(recipient.address), recipient.original, RELAY, delays, dsn, status.value, text
                )
            )
        self._answer(Outcomes(tuple(results)))


def head(sender: Address | None, original: str, recipient: str) -> bytes:
    """What virtual(8) puts in front of a message (mail_copy.c: MAIL_COPY_RETURN_PATH, _ORIG_RCPT, _DELIVERED)."""
    lines = f"Return-Path: <{sender or ''}>\r\nX-Original-To: {original}\r\nDelivered-To: {recipient}\r\n"
    return lines.encode("utf-8", "surrogateescape")


def is_loop(content: bytes, recipient: str) -> bool:
    """The message has been here: a Delivered-To: field names this recipient (delivered_hdr.c)."""
    end = content.find(b"\r\n\r\n")
    header = content[: end + 2] if end >= 0 else content
    folded = header.lower()
    at = folded.find(b"delivered-to:")
    if at < 0:
        return False
    key = recipient.lower().encode("utf-8", "surrogateescape")
    while at >= 0:
        if at == 0 or folded[at - 1 : at] == b"\n":
            stop = folded.find(b"\n", at)
            if folded[at + 13 : stop if stop >= 0 else None].strip() == key:
                return True
        at = folded.find(b"delivered-to:", at + 13)
    return False
