"""INBOX as one POP3 session sees it: fixed at login, deletions only noted until QUIT (RFC 1939 s4, s5, s6)."""

from posthouse.core.identifiers import Uid
from posthouse.store.interface import SEEN, FlagChange, Mailbox, MessageRow


class Maildrop:
    """Message number n is rows[n - 1] for the whole session; what arrives meanwhile waits for the next one.

    There is no exclusive lock (pop3_lock_session = no, Dovecot's default): a message that somebody else removed is
    missed when it is fetched.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        # Listening keeps the mailbox open; the news themselves are of no interest here.
        mailbox.refresh()
        self._stop = mailbox.listen(lambda _event: None)
        self.rows = tuple(mailbox.rows())
        self.deleted: set[Uid] = set()
        self.fetched: set[Uid] = set()

    def count_and_octets(self) -> tuple[int, int]:
        """STAT: what is not marked as deleted."""
        if not self.deleted:
            return len(self.rows), sum(row.size for row in self.rows)
        left = [row.size for row in self.rows if row.uid not in self.deleted]
        return len(left), sum(left)

    def listing(self) -> list[tuple[int, MessageRow]]:
        return [(number, row) for number, row in enumerate(self.rows, 1) if row.uid not in self.deleted]

    def mark_seen(self) -> None:
        """RETR makes messages \\Seen, all at once at the end."""
        unseen = [row.uid for row in self.rows if row.uid in self.fetched and SEEN not in row.flags]
        self.fetched.clear()
        if unseen:
            _ = self.mailbox.store_flags(unseen, FlagChange.ADD, frozenset({SEEN}), self)

    def close(self) -> None:
        self._stop()
