"""Mail in memory: the reference that the conformance suite was written against, and the store of tests.

Everything here is the shortest code that does what `store.interface` says. Nothing survives the process.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from posthouse.core.identifiers import DeliveryId, ModSeq, Uid, UidValidity
from posthouse.store.interface import (
    Cached,
    FlagChange,
    InvalidName,
    Listener,
    MailboxEvent,
    MailboxExists,
    MailboxInfo,
    MailboxNotFound,
    MailboxStatus,
    MessageRow,
    OverQuota,
)
from posthouse.store.listeners import Listeners
from posthouse.store.naming import INBOX, canonical, listing, superiors
from posthouse.store.rows import RowTable, changed_flags, interned
from posthouse.store.wiretexts import WireTexts, wire_texts


class MemoryMailbox:
    """Implements store.interface.Mailbox."""

    def __init__(self, store: "MemoryStore", name: str, uid_validity: UidValidity) -> None:
        self.name = name
        self.uid_validity = uid_validity
        self.listeners = Listeners()
        self._store = store
        self._table = RowTable()
        self._content: dict[Uid, bytes] = {}
        self._texts: dict[Uid, WireTexts] = {}
        self._deliveries: dict[Uid, DeliveryId] = {}
        self._uid_next = Uid(1)
        self._modseq = ModSeq(1)
        self._recent_from = Uid(1)

    @property
    def uid_next(self) -> Uid:
        return self._uid_next

    @property
    def highest_modseq(self) -> ModSeq:
        return self._modseq

    def keywords(self) -> tuple[str, ...]:
        flags = {flag for row in self._table.snapshot() for flag in row.flags}
        return tuple(sorted(flag for flag in flags if not flag.startswith("\\")))

    def rows(self) -> Sequence[MessageRow]:
        return self._table.snapshot()

    def row(self, uid: Uid) -> MessageRow | None:
        return self._table.get(uid)

    def claim_recent(self, read_only: bool) -> frozenset[Uid]:
        recent = frozenset(uid for uid in self._table.uids() if uid >= self._recent_from)
        if not read_only:
            self._recent_from = self._uid_next
        return recent

    def all_cached(self, uids: list[Uid], what: Cached) -> list[bytes] | None:
        found = [text for _, text in self.cached(uids, what)]
        return found if len(found) == len(uids) else None

    def many_changes(self, count: int) -> AbstractContextManager[None]:  # noqa: ARG002 - nothing to be saved
        return nullcontext()

    def all_fields(self, uids: list[Uid], names: bytes) -> list[bytes] | None:  # noqa: ARG002 - nothing is kept
        return None

    def keep_fields(self, uids: Sequence[Uid], texts: Sequence[bytes], names: bytes) -> None:
        """Nothing is kept: the content is at hand."""

    def cached(self, uids: Sequence[Uid], what: Cached) -> Iterator[tuple[Uid, bytes]]:
        for uid in uids:
            content = self._content.get(uid)
            if content is None:
                continue
            if uid not in self._texts:
                self._texts[uid] = wire_texts(content, Cached.BODYSTRUCTURE)
            yield uid, self._texts[uid].get(what)

    def content(self, uid: Uid) -> bytes | None:
        return self._content.get(uid)

    def append(self, content: bytes, flags: frozenset[str], internal_date_s: float | None, origin: object) -> Uid:
        self._store.check_quota(len(content))
        row = self._add(content, flags, time.time() if internal_date_s is None else internal_date_s)
        self.listeners.tell(MailboxEvent(new=(row,), origin=origin))
        return row.uid

    def deliver(self, content: bytes, delivery: DeliveryId) -> None:
        row = self._add(content, frozenset(), time.time())
        self._deliveries[row.uid] = delivery
        self.listeners.tell(MailboxEvent(new=(row,)))

    def withdraw(self, delivery: DeliveryId) -> None:
        self.expunge([uid for uid, one in self._deliveries.items() if one == delivery], None)

    def store_flags(
        self, uids: Sequence[Uid], change: FlagChange, flags: frozenset[str], origin: object
    ) -> Sequence[MessageRow]:
        rows = self._table.select(uids)
        modseq = ModSeq(self._modseq + 1)
        result: list[MessageRow] = []
        changed: list[MessageRow] = []
        for row in rows:
            wanted = changed_flags(row.flags, change, flags)
            after = row
            if wanted != row.flags:
                after = MessageRow(row.uid, wanted, row.internal_date_s, row.size, modseq)
                changed.append(after)
            result.append(after)
        if changed:
            self._modseq = modseq
            self._table.replace(changed)
            self.listeners.tell(MailboxEvent(changed=tuple(changed), origin=origin))
        return result

    def expunge(self, uids: Sequence[Uid], origin: object) -> Sequence[Uid]:
        gone = tuple(row.uid for row in self._table.remove(uids))
        for uid in gone:
            self._store.octets -= len(self._content.pop(uid))
            self._texts.pop(uid, None)
            self._deliveries.pop(uid, None)
        if gone:
            self._modseq = ModSeq(self._modseq + 1)
            self.listeners.tell(MailboxEvent(expunged=gone, origin=origin))
        return gone

    def copy(self, uids: Sequence[Uid], target: str, origin: object) -> Sequence[tuple[Uid, Uid]]:
        into = self._store.existing(target)
        rows = self._table.select(uids)
        self._store.check_quota(sum(row.size for row in rows))
        new = [into._add(self._content[row.uid], row.flags, row.internal_date_s) for row in rows]
        if new:
            into.listeners.tell(MailboxEvent(new=tuple(new), origin=origin))
        return [(row.uid, copied.uid) for row, copied in zip(rows, new, strict=True)]

    def move(self, uids: Sequence[Uid], target: str, origin: object) -> Sequence[tuple[Uid, Uid]]:
        limit, self._store.limit = self._store.limit, 0
        try:
            pairs = self.copy(uids, target, origin)
        finally:
            self._store.limit = limit
        self.expunge([old for old, _ in pairs], origin)
        return pairs

    def refresh(self) -> None:
        pass

    def listen(self, listener: Listener) -> Callable[[], None]:
        return self.listeners.add(listener)

    def status(self) -> MailboxStatus:
        return MailboxStatus(
            len(self._table),
            sum(uid >= self._recent_from for uid in self._table.uids()),
            self._table.unseen(),
            self._uid_next,
            self.uid_validity,
            self._modseq,
            self._table.size(),
        )

    def _add(self, content: bytes, flags: frozenset[str], internal_date_s: float) -> MessageRow:
        uid = self._uid_next
        self._uid_next = Uid(uid + 1)
        self._modseq = ModSeq(self._modseq + 1)
        row = MessageRow(uid, interned(flags), internal_date_s, len(content), self._modseq)
        self._table.add(row)
        self._content[uid] = content
        self._store.octets += len(content)
        return row


class MemoryStore:
    """Implements store.interface.Store."""

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self.octets = 0
        self._uid_validity = int(time.time())
        self._mailboxes: dict[str, MemoryMailbox] = {}
        self._special_use: dict[str, str] = {}
        self._subscribed: set[str] = set()
        self._delivered: dict[DeliveryId, str] = {}
        self._add(INBOX)

    def _add(self, name: str) -> MemoryMailbox:
        self._uid_validity += 1
        mailbox = self._mailboxes[name] = MemoryMailbox(self, name, UidValidity(self._uid_validity))
        return mailbox

    def existing(self, name: str) -> MemoryMailbox:
        mailbox = self._mailboxes.get(canonical(name))
        if mailbox is None:
            raise MailboxNotFound(f"Mailbox doesn't exist: {name}")
        return mailbox

    def check_quota(self, octets: int) -> None:
        if self.limit and self.octets + octets > self.limit:
            raise OverQuota("Quota exceeded (mailbox for user is full)")

    def mailboxes(self) -> Sequence[MailboxInfo]:
        return listing(self._mailboxes, self._subscribed, self._special_use)

    def open(self, name: str) -> MemoryMailbox:
        return self.existing(name)

    def create(self, name: str, special_use: str = "") -> None:
        name = canonical(name)
        if name in self._mailboxes:
            raise MailboxExists("Mailbox already exists")
        self._add(name)
        if special_use:
            self._special_use[name] = special_use

    def delete(self, name: str) -> None:
        name = canonical(name)
        if name == INBOX:
            raise InvalidName("INBOX can't be deleted.")
        mailbox = self.existing(name)
        mailbox.expunge(list(mailbox._table.uids()), None)
        del self._mailboxes[name]
        self._special_use.pop(name, None)

    def rename(self, old: str, new: str) -> None:
        old, new = canonical(old), canonical(new)
        if new in self._mailboxes:
            raise MailboxExists("Target mailbox already exists")
        if old == INBOX:
            # RFC 9051 s6.3.6: the messages move, INBOX stays and is empty, what is below INBOX stays.
            self._add(new)
            inbox = self._mailboxes[INBOX]
            inbox.move(list(inbox._table.uids()), new, None)
            return
        if old in superiors(new):
            raise InvalidName("Can't rename a mailbox below itself")
        moving = [name for name in self._mailboxes if name == old or name.startswith(old + "/")]
        if not moving:
            raise MailboxNotFound(f"Mailbox doesn't exist: {old}")
        if any(new + name[len(old) :] in self._mailboxes for name in moving):
            raise MailboxExists("Target mailbox already exists")
        for name in moving:
            mailbox = self._mailboxes.pop(name)
            mailbox.name = new + name[len(old) :]
            self._mailboxes[mailbox.name] = mailbox
            if name in self._special_use:
                self._special_use[mailbox.name] = self._special_use.pop(name)

    def subscribe(self, name: str, subscribed: bool) -> None:
        (self._subscribed.add if subscribed else self._subscribed.discard)(canonical(name))

    def subscriptions(self) -> Sequence[str]:
        return sorted(self._subscribed)

    def status(self, name: str) -> MailboxStatus:
        return self.existing(name).status()

    def quota(self) -> tuple[int, int]:
        return self.octets, self.limit

    def deliver(self, content: bytes, delivery: DeliveryId, mailbox: str, maybe_delivered: bool) -> bool:
        into = self.existing(mailbox)
        if maybe_delivered and delivery in self._delivered:
            return False
        self.check_quota(len(content))
        into.deliver(content, delivery)
        self._delivered[delivery] = into.name
        return True

    def withdraw(self, deliveries: Sequence[DeliveryId]) -> None:
        for delivery in deliveries:
            name = self._delivered.pop(delivery, "")
            if name in self._mailboxes:
                self._mailboxes[name].withdraw(delivery)

    def retired(self, deliveries: Sequence[DeliveryId]) -> None:
        for delivery in deliveries:
            self._delivered.pop(delivery, None)

    async def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
