"""The selected mailbox as one session sees it: message numbers that only change when the client is told.

The store changes at any moment; the client may learn of EXPUNGE only between certain commands (RFC 3501 s7.4.1). So a
session keeps a snapshot of the rows, remembers what it has heard since, and brings both together in `sync`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Final

from posthouse.core.identifiers import Uid
from posthouse.protocol.imap.flags import SYSTEM_FLAGS, FlagTexts, format_flags
from posthouse.protocol.imap.sequence import SequenceSet
from posthouse.store.interface import Mailbox, MailboxEvent, MessageRow

_UID_OF: Final = attrgetter("uid")
_SYSTEM: Final = frozenset(SYSTEM_FLAGS)


class SelectedMailbox:
    def __init__(
        self, mailbox: Mailbox, origin: object, texts: FlagTexts, news: Callable[[], None], *, read_only: bool
    ) -> None:
        self.mailbox = mailbox
        self.read_only = read_only
        self.texts = texts
        self._origin = origin
        self._news = news
        self._new = False
        self._changed: set[Uid] = set()
        self._expunged: set[Uid] = set()
        self.recent = set(mailbox.claim_recent(read_only))
        self.rows: Sequence[MessageRow] = mailbox.rows()
        """Message number n is rows[n - 1]. Rows are replaced, never changed."""
        self._keywords = frozenset(mailbox.keywords())
        # Last, because whoever listens keeps the mailbox open and must be able to stop.
        self._stop = mailbox.listen(self._hear)

    def close(self) -> None:
        self._stop()

    # ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────

    def spans(self, numbers: SequenceSet, *, uid: bool) -> list[tuple[int, int]]:
        """Index ranges (first, behind the last) into `rows`, ascending. Raises BadArguments for a number beyond."""
        rows = self.rows
        if not uid:
            return [(each.start - 1, each.stop - 1) for each in numbers.numbers(len(rows))]
        if not rows:
            return []
        found: list[tuple[int, int]] = []
        for low, high in numbers.uid_bounds(rows[-1].uid):
            first = bisect_left(rows, low, key=_UID_OF)
            behind = bisect_right(rows, high, key=_UID_OF)
            if first < behind:
                found.append((first, behind))
        return found

    def chosen(self, numbers: SequenceSet, *, uid: bool) -> list[MessageRow]:
        rows = self.rows
        return [row for first, behind in self.spans(numbers, uid=uid) for row in rows[first:behind]]

    def number_of(self, uid: Uid) -> int:
        """The message number, 0 if the client does not know this UID."""
        at = bisect_left(self.rows, uid, key=_UID_OF)
        return at + 1 if at < len(self.rows) and self.rows[at].uid == uid else 0

    # ── news ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _hear(self, event: MailboxEvent) -> None:
        if event.new:
            self._new = True
        if event.changed and event.origin is not self._origin:
            self._changed.update([row.uid for row in event.changed])
        if event.expunged:
            self._expunged.update(event.expunged)
        self._news()

    @property
    def has_news(self) -> bool:
        return self._new or bool(self._changed) or bool(self._expunged)

    def catch_up(self) -> None:
        """Present flags for the messages the client knows, without new ones and with those that are gone."""
        latest = self.mailbox.rows()
        known = self.rows
        if latest is known:
            return
        if not self._expunged:
            self.rows = latest if len(latest) == len(known) else latest[: len(known)]
            return
        current = {row.uid: row for row in latest}
        self.rows = [current.get(row.uid, row) for row in known]

    def sync(self, write: Callable[[bytes], None], *, may_expunge: bool) -> None:
        """Tell the client what happened: EXPUNGE (if the command allows it), FLAGS, EXISTS, RECENT, FETCH."""
        if self._expunged and may_expunge:
            self._tell_expunged(write)
        if self._new:
            self._tell_new(write)
        elif self._changed:
            self.catch_up()
        if self._changed:
            self._tell_changed(write)

    def _tell_expunged(self, write: Callable[[bytes], None]) -> None:
        gone = self._expunged
        self._expunged = set()
        numbers = [number for number, row in enumerate(self.rows, 1) if row.uid in gone]
        self.rows = [row for row in self.rows if row.uid not in gone]
        recent = len(self.recent)
        self.recent -= gone
        self._changed -= gone
        if not self._new:
            self.catch_up()
        # From the end, so that no number shifts under the client's feet while it reads.
        write(b"".join([b"* %d EXPUNGE\r\n" % number for number in reversed(numbers)]))
        if len(self.recent) != recent and not self._new:
            write(b"* %d RECENT\r\n" % len(self.recent))

    def _tell_new(self, write: Callable[[bytes], None]) -> None:
        self._new = False
        latest = self.mailbox.rows()
        known = len(self.rows)
        if self._expunged:
            current = {row.uid: row for row in latest}
            highest = self.rows[-1].uid if self.rows else 0
            arrived = latest[bisect_right(latest, highest, key=_UID_OF) :]
            self.rows = [*(current.get(row.uid, row) for row in self.rows), *arrived]
        else:
            self.rows = latest
        if len(self.rows) == known:
            return
        self.recent.update(self.mailbox.claim_recent(self.read_only))
        self.tell_keywords(write, self.rows[known:])
        write(b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(self.rows), len(self.recent)))

    def _tell_changed(self, write: Callable[[bytes], None]) -> None:
        # Of messages that are gone nothing is told but that, when it may be.
        changed = sorted(self._changed - self._expunged)
        self._changed = set()
        numbers = [number for uid in changed if (number := self.number_of(uid))]
        rows = [self.rows[number - 1] for number in numbers]
        self.tell_keywords(write, rows)
        write(b"".join(self.flag_lines(numbers, rows, uid=False)))

    def flag_lines(self, numbers: Sequence[int], rows: Sequence[MessageRow], *, uid: bool) -> Iterator[bytes]:
        """* n FETCH (FLAGS (…)), with the UID where the command named messages by it (RFC 3501 s6.4.8)."""
        recent = self.recent
        text = self.texts.text
        for number, row in zip(numbers, rows, strict=True):
            flags = text(row.flags, recent=row.uid in recent)
            if uid:
                yield b"* %d FETCH (UID %d %b)\r\n" % (number, row.uid, flags)
            else:
                yield b"* %d FETCH (%b)\r\n" % (number, flags)

    # ── flags ───────────────────────────────────────────────────────────────────────────────────────────────────

    def tell_keywords(self, write: Callable[[bytes], None], rows: Sequence[MessageRow]) -> None:
        """A keyword new to the client goes into FLAGS before it appears on a message (RFC 3501 s7.2.6)."""
        fresh: set[str] = set()
        for flags in {row.flags for row in rows}:
            fresh |= flags
        fresh -= _SYSTEM
        if not fresh <= self._keywords:
            self._keywords |= fresh
            write(self.flags_response())

    def flags_response(self) -> bytes:
        known = [*SYSTEM_FLAGS, *sorted(self._keywords)]
        flags = format_flags(known)
        if self.read_only:
            permanent = b"* OK [PERMANENTFLAGS ()] Read-only mailbox.\r\n"
        else:
            star = b"(\\*)" if flags == b"()" else flags[:-1] + b" \\*)"
            permanent = b"* OK [PERMANENTFLAGS %b] Flags permitted.\r\n" % star
        return b"* FLAGS %b\r\n%b" % (flags, permanent)
