"""The rows of one open mailbox in memory, ascending by UID; a snapshot costs nothing until something changes."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from posthouse.core.identifiers import Uid
from posthouse.store.interface import SEEN, FlagChange, MessageRow


class RowTable:
    """Rows are replaced, never changed, so a snapshot stays what it was."""

    def __init__(self, rows: Iterable[MessageRow] = ()) -> None:
        self._rows = list(rows)
        self._uids = [row.uid for row in self._rows]
        self._lent = False

    def __len__(self) -> int:
        return len(self._rows)

    def snapshot(self) -> Sequence[MessageRow]:
        self._lent = True
        return self._rows

    def uids(self) -> Sequence[Uid]:
        return self._uids

    def get(self, uid: Uid) -> MessageRow | None:
        at = bisect_left(self._uids, uid)
        return self._rows[at] if at < len(self._uids) and self._uids[at] == uid else None

    def select(self, uids: Sequence[Uid]) -> list[MessageRow]:
        """The rows of those that exist, in the order asked."""
        if len(uids) > 64:
            wanted = dict(zip(self._uids, self._rows, strict=True))
            return [wanted[uid] for uid in uids if uid in wanted]
        return [row for uid in uids if (row := self.get(uid)) is not None]

    def add(self, row: MessageRow) -> None:
        self._own()
        self._rows.append(row)
        self._uids.append(row.uid)

    def replace(self, rows: Sequence[MessageRow]) -> None:
        self._own()
        for row in rows:
            at = bisect_left(self._uids, row.uid)
            self._rows[at] = row

    def remove(self, uids: Sequence[Uid]) -> list[MessageRow]:
        """The removed rows, ascending."""
        if not uids:
            return []
        gone = set(uids)
        removed = [row for row in self._rows if row.uid in gone] if len(gone) > 8 else self.select(sorted(gone))
        if removed:
            self._rows = [row for row in self._rows if row.uid not in gone]
            self._uids = [row.uid for row in self._rows]
            self._lent = False
        return removed

    def unseen(self) -> int:
        return sum(SEEN not in row.flags for row in self._rows)

    def size(self) -> int:
        return sum(row.size for row in self._rows)

    def _own(self) -> None:
        if self._lent:
            self._rows = self._rows.copy()
            self._lent = False


_flag_sets: dict[frozenset[str], frozenset[str]] = {}
_MAX_FLAG_SETS = 4096


def interned(flags: frozenset[str]) -> frozenset[str]:
    """One object per set of flags: a mailbox of 100,000 messages has a few dozen different ones."""
    known = _flag_sets.get(flags)
    if known is None:
        if len(_flag_sets) >= _MAX_FLAG_SETS:
            _flag_sets.clear()
        _flag_sets[flags] = known = flags
    return known


def changed_flags(old: frozenset[str], change: FlagChange, flags: frozenset[str]) -> frozenset[str]:
    match change:
        case FlagChange.REPLACE:
            return flags
        case FlagChange.ADD:
            return interned(old | flags)
        case FlagChange.REMOVE:
            return interned(old - flags)
