"""The seam between protocols and mailboxes.

A `Store` is one user's mail, a `Mailbox` one folder of it. All sessions and deliveries of a user reach the same
process, so a Store is used from one event loop only and its methods are plain calls; what may take long is an iterator
(the caller yields to the loop between items), what must reach the disk is awaited through `Store.flush`, which shares
one flush among everybody who waits. Nothing here names a file: every format (memory, Maildir++; the
log-structured one to come) answers the same conformance suite (tests/store/).

Content crosses this seam with CRLF line ends in both directions; sizes are counted in that form (RFC822.SIZE).
"""

import enum
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from posthouse.core.identifiers import DeliveryId, ModSeq, Uid, UidValidity

SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = "\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"
SYSTEM_FLAGS = (ANSWERED, FLAGGED, DELETED, SEEN, DRAFT)


class StoreError(Exception):
    """A request that cannot be done; the text is fit for the user. Subclasses map to response codes (RFC 5530)."""

    code = ""


class MailboxNotFound(StoreError):
    code = "NONEXISTENT"


class MailboxExists(StoreError):
    code = "ALREADYEXISTS"


class InvalidName(StoreError):
    code = "CANNOT"


class OverQuota(StoreError):
    code = "OVERQUOTA"


class StorageFailed(StoreError):
    """The disk said no (full, read-only, permissions, I/O error): try later. The detail for the log is in
    `__cause__` and `detail`; `no_space` tells ENOSPC and EDQUOT of the file system apart."""

    code = "SERVERBUG"

    def __init__(self, text: str, detail: str = "", *, no_space: bool = False) -> None:
        super().__init__(text)
        self.detail = detail
        self.no_space = no_space


class MessageRow(msgspec.Struct, gc=False):
    """What the index knows of one message without opening it. Rows are shared: treat as read-only.

    `recent` is per session and lives there, not here.
    """

    uid: Uid
    flags: frozenset[str]
    """System flags with backslash, keywords without; \\Recent is never among them."""
    internal_date_s: float
    size: int
    modseq: ModSeq


class MailboxInfo(msgspec.Struct, frozen=True):
    """`name` in Unicode with "/" as separator (Maildir++'s "." and modified UTF-7 are the format's business);
    `selectable` false for a name that only has children; `special_use` "\\Sent" etc. or ""."""

    name: str
    selectable: bool
    has_children: bool
    subscribed: bool
    special_use: str = ""


class MailboxStatus(msgspec.Struct, frozen=True):
    messages: int
    recent: int
    unseen: int
    uid_next: Uid
    uid_validity: UidValidity
    highest_modseq: ModSeq
    size: int


class Cached(enum.Enum):
    """The ready-made wire texts of a message, kept in the index."""

    ENVELOPE = "envelope"
    """The parenthesised ENVELOPE (RFC 9051 s7.5.2), without the item name."""
    BODY = "body"
    BODYSTRUCTURE = "bodystructure"
    HEADER = "header"
    """The whole header block with CRLF, up to and including the empty line."""


class FlagChange(enum.Enum):
    REPLACE = "replace"
    ADD = "add"
    REMOVE = "remove"


class MailboxEvent(msgspec.Struct, frozen=True):
    """Something changed, whoever did it. Sent to every listener of an open mailbox, in order, after it is so.
    `origin` is the object given to the changing call, so that a session knows its own change (silent STORE)."""

    new: tuple[MessageRow, ...] = ()
    changed: tuple[MessageRow, ...] = ()
    expunged: tuple[Uid, ...] = ()
    origin: object = None


Listener = Callable[[MailboxEvent], None]


class Mailbox(Protocol):
    """One open folder. Messages are kept in ascending UID order."""

    name: str
    uid_validity: UidValidity

    @property
    def uid_next(self) -> Uid: ...
    @property
    def highest_modseq(self) -> ModSeq: ...
    def keywords(self) -> tuple[str, ...]:
        """Keywords known in this mailbox, for the FLAGS response."""
        ...

    def rows(self) -> Sequence[MessageRow]:
        """All messages, ascending by UID; a snapshot the caller may keep (copy-on-write or a copied list)."""
        ...

    def row(self, uid: Uid) -> MessageRow | None: ...
    def claim_recent(self, read_only: bool) -> frozenset[Uid]:
        """The UIDs that no session has been told are \\Recent; claims them for the caller unless read_only."""
        ...

    def all_cached(self, uids: list[Uid], what: Cached) -> list[bytes] | None:
        """What `cached` would give for all of them, in ascending order, if that can be had at once; else None."""
        ...

    def all_fields(self, uids: list[Uid], names: bytes) -> list[bytes] | None:
        """What `keep_fields` was given for all of them, in ascending order, if that can be had at once; else None."""
        ...

    def keep_fields(self, uids: Sequence[Uid], texts: Sequence[bytes], names: bytes) -> None:
        """Answers to a header list, which `names` stands for; they may be forgotten."""
        ...

    def cached(self, uids: Sequence[Uid], what: Cached) -> Iterator[tuple[Uid, bytes]]:
        """Ready-made wire text in the order of `uids`; messages that vanished are left out. Parses and caches what is
        missing."""
        ...

    def content(self, uid: Uid) -> bytes | None:
        """The whole message with CRLF; None if it vanished."""
        ...

    def append(self, content: bytes, flags: frozenset[str], internal_date_s: float | None, origin: object) -> Uid:
        """Durable only after `Store.flush`. Raises OverQuota, StorageFailed."""
        ...

    def many_changes(self, count: int) -> AbstractContextManager[None]:
        """Around calls that change so many messages in all: what the store then looks at once it need not each time."""
        ...

    def store_flags(
        self, uids: Sequence[Uid], change: FlagChange, flags: frozenset[str], origin: object
    ) -> Sequence[MessageRow]:
        """Returns the rows that exist, after the change; listeners hear of those that really changed."""
        ...

    def expunge(self, uids: Sequence[Uid], origin: object) -> Sequence[Uid]:
        """Remove these messages (the caller has checked \\Deleted)."""
        ...

    def copy(self, uids: Sequence[Uid], target: str, origin: object) -> Sequence[tuple[Uid, Uid]]:
        """(source, new) pairs in order; all or nothing. Raises MailboxNotFound, OverQuota, StorageFailed."""
        ...

    def move(self, uids: Sequence[Uid], target: str, origin: object) -> Sequence[tuple[Uid, Uid]]:
        """As copy, and the sources are expunged; each message is at every moment in at least one of the two."""
        ...

    def refresh(self) -> None:
        """Notice what foreign programs did (new files, renamed flags, removed files)."""
        ...

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hear of changes; returns the function that stops it. The mailbox stays open as long as somebody listens."""
        ...


class Store(Protocol):
    """All mail of one user."""

    def mailboxes(self) -> Sequence[MailboxInfo]: ...
    def open(self, name: str) -> Mailbox:
        """INBOX always exists. Raises MailboxNotFound, StorageFailed. Opening twice gives the same object."""
        ...

    def create(self, name: str, special_use: str = "") -> None: ...
    def delete(self, name: str) -> None: ...
    def rename(self, old: str, new: str) -> None: ...
    def subscribe(self, name: str, subscribed: bool) -> None: ...
    def subscriptions(self) -> Sequence[str]: ...
    def status(self, name: str) -> MailboxStatus: ...
    def quota(self) -> tuple[int, int]:
        """(octets used, limit); limit 0 means none."""
        ...

    def deliver(self, content: bytes, delivery: DeliveryId, mailbox: str, maybe_delivered: bool) -> bool:
        """Write one message as a delivery agent: durable after `flush`; exactly once per `delivery`. With
        `maybe_delivered` look first (a name with wrong size or checksum is replaced; an expunged one stays expunged).
        False if it was already there. Raises OverQuota, StorageFailed."""
        ...

    def withdraw(self, deliveries: Sequence[DeliveryId]) -> None:
        """These deliveries were not acknowledged because the flush failed: take them back as far as possible. The queue
        will ask for them again, and what is left over must not count as delivered then."""
        ...

    def retired(self, deliveries: Sequence[DeliveryId]) -> None:
        """These deliveries will never be asked for again."""
        ...

    async def flush(self) -> None:
        """Everything written to this store so far is on stable storage when this returns. Raises StorageFailed."""
        ...

    def close(self) -> None: ...
