"""One folder: its numbers, its rows in memory, and keeping both in step with the files.

A folder exists in two states. Not loaded, it knows its numbers and counters, and can take new messages. Loaded, it has
every row and file name in memory and watches the directories.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from posthouse.core.identifiers import ModSeq, Uid, UidValidity
from posthouse.runtime.crashpoints import reach
from posthouse.store.crashpoints import StoreStep
from posthouse.store.interface import SEEN, MailboxEvent, MailboxNotFound, MessageRow
from posthouse.store.listeners import Listeners
from posthouse.store.maildir import layout
from posthouse.store.maildir.index import MODSEQ_BLOCK, UID_BLOCK, IndexRow, MailboxState
from posthouse.store.maildir.keywords import Keywords
from posthouse.store.maildir.messagefile import read_file, wire_length
from posthouse.store.maildir.names import arrival_time, base_of, file_size, is_ours, letters_of, wire_size
from posthouse.store.maildir.uidlist import UidList
from posthouse.store.maildir.watch import Watch
from posthouse.store.rows import RowTable, interned

if TYPE_CHECKING:
    from posthouse.store.maildir.store import MaildirStore

NO_EXTRA: Final[frozenset[str]] = frozenset()
MANY_CHANGES: Final = 300
MANY_SHARE: Final = 20
"""That many changes of our own, and at least that part of the mailbox: a listing costs less than the events."""
LISTINGS: Final = 3
"""A message missing from one listing may have been renamed while it was made; it is gone if it is missing from two."""


def _settle_s(mtime_ns: int) -> float:
    """How long after a change a directory's time cannot be trusted to change again: file systems with whole seconds,
    else a timer tick (10 ms at most)."""
    return 2.1 if mtime_ns % 1_000_000_000 == 0 else 0.02


class Folder:
    """Everything of MaildirMailbox that is not the interface."""

    def __init__(self, store: "MaildirStore", name: str, entry: str, state: MailboxState) -> None:
        self.store = store
        self.name = name
        self.entry = entry
        self.directory = f"{store.root}/{entry}" if entry else store.root
        self.state = state
        self.uid_validity = UidValidity(state.uid_validity)
        self.listeners = Listeners()
        self.used_s = time.monotonic()
        self.dead = False
        """The mailbox was deleted, or its index had to be given up: sessions must end."""
        self.durable_uid = state.uid_reserved
        self.durable_modseq = state.modseq_reserved
        self.doomed = store.deliveries.doomed_in(entry)
        """Files that wait for their tombstone to be on disk; for everybody else they are gone."""
        self.files: dict[Uid, str] = {}
        self._table: RowTable | None = None
        self._extra: dict[Uid, frozenset[str]] = {}
        self._bases: dict[str, Uid] | None = None
        self._keywords: Keywords | None = None
        self._watches: list[tuple[int, Watch]] = []
        self._seen = (0, 0)
        self._settled = False
        self._to_cur: list[Uid] = []

    @property
    def loaded(self) -> bool:
        return self._table is not None

    @property
    def table(self) -> RowTable:
        if self._table is None:
            self.load()
            assert self._table is not None
        return self._table

    @property
    def keyword_file(self) -> Keywords:
        if self._keywords is None:
            self._keywords = Keywords(self.directory)
        return self._keywords

    def alive(self) -> None:
        self.used_s = time.monotonic()
        if self.dead:
            raise MailboxNotFound("Mailbox was deleted")

    # ── loading ──

    def load(self, imported: UidList | None = None) -> None:
        if self._table is not None:
            return
        self.alive()
        index = self.store.need_index()
        self._watch()
        flags = self.keyword_file.flags
        rows: list[MessageRow] = []
        files: dict[Uid, str] = {}
        for uid, file, extra, modseq, date, size in index.rows(self.state.id):
            known = flags(letters_of(file))
            if extra:
                self._extra[uid] = frozenset(extra.split(" "))
                known = interned(known | self._extra[uid])
            rows.append(MessageRow(uid, known, date, size, modseq))
            files[uid] = file
        self._table = RowTable(rows)
        self.files = files
        self._bases = None
        before = self._times()
        if before != (self.state.new_mtime_ns, self.state.cur_mtime_ns) or before == (0, 0):
            self._scan(imported)
            self._clean_tmp()
        else:
            self._seen, self._settled = before, True

    def unload(self) -> None:
        """Give the memory back; what is known stays in the index."""
        if self._table is None:
            return
        if not self.dead:
            self._remember_times()
        self.unwatch()
        self._table, self._bases, self._keywords = None, None, None
        self.files = {}
        self._extra = {}
        self._to_cur = []

    def _remember_times(self) -> None:
        """If everything that happened in the directories is in the index, the next load need not look at them."""
        if not self._watches or self.store.environment.watcher is None:
            return
        now_s = time.time()
        times = self._times()
        self.store.environment.watcher.drain()
        if any(watch.names or watch.all for _, watch in self._watches):
            self.refresh_now()
            return
        if self._is_settled(times, now_s) and times != (self.state.new_mtime_ns, self.state.cur_mtime_ns):
            self.state.new_mtime_ns, self.state.cur_mtime_ns = times
            with self.store.need_index().grouped():
                self.store.need_index().save(self.state)

    def _watch(self) -> None:
        watcher = self.store.environment.watcher
        if watcher is None:
            return
        found = [watcher.add(f"{self.directory}/{part}", f"{part}/", self.on_hint) for part in ("new", "cur")]
        if None in found:
            for one in found:
                if one is not None:
                    watcher.remove(one[0])
            return
        self._watches = [one for one in found if one is not None]

    def unwatch(self) -> None:
        for number, _ in self._watches:
            if self.store.environment.watcher is not None:
                self.store.environment.watcher.remove(number)
        self._watches.clear()

    @contextlib.contextmanager
    def many_changes(self, count: int) -> Iterator[None]:
        """Around changes of our own (made and told inside): the kernel does not report each of them to us."""
        if count < MANY_CHANGES or count * MANY_SHARE < len(self.files) or not self._watches:
            yield
            return
        self.unwatch()
        try:
            yield
        finally:
            self._seen = (0, 0)
            if not self.dead and self._table is not None:
                self._watch()
                # What other programs did meanwhile: nobody else would wake those who wait.
                self.store.quietly(self.refresh_now)

    def _times(self) -> tuple[int, int]:
        try:
            return (os.stat(f"{self.directory}/new").st_mtime_ns, os.stat(f"{self.directory}/cur").st_mtime_ns)
        except FileNotFoundError:
            return (0, 0)

    @staticmethod
    def _is_settled(times: tuple[int, int], now_s: float) -> bool:
        return all(now_s - mtime_ns / 1e9 > _settle_s(mtime_ns) for mtime_ns in times)

    def give_up(self) -> None:
        """The index is lost: what is in memory must not be used any more."""
        self.unwatch()
        self.dead = True

    def renamed(self, name: str, entry: str) -> None:
        self.name = self.state.name = name
        self.store.deliveries.mailbox_renamed(self.entry, entry)
        self.entry = entry
        self.directory = f"{self.store.root}/{entry}"
        self._keywords = None

    # ── numbers ──

    def take_uids(self, count: int) -> int:
        """The first of `count` new UIDs; they may be shown at once, because the block is on disk."""
        state = self.state
        first = state.uid_next
        state.uid_next += count
        self._reserve()
        return first

    def next_modseq(self) -> ModSeq:
        self.state.modseq += 1
        self._reserve()
        return ModSeq(self.state.modseq)

    def _reserve(self) -> None:
        state = self.state
        if state.uid_reserved - state.uid_next < UID_BLOCK // 2:
            state.uid_reserved = state.uid_next + UID_BLOCK
            self.store.reserving.add(self)
        if state.modseq_reserved - state.modseq < MODSEQ_BLOCK // 2:
            state.modseq_reserved = state.modseq + MODSEQ_BLOCK
            self.store.reserving.add(self)
        if state.uid_next > self.durable_uid or state.modseq >= self.durable_modseq:
            index = self.store.need_index()
            index.save(state)
            index.commit_durably()
            reach(StoreStep.UIDS_RESERVED)
            self.reserved(state.uid_reserved, state.modseq_reserved)

    def reserved(self, uid: int, modseq: int) -> None:
        """These marks are on disk."""
        self.durable_uid = max(self.durable_uid, uid)
        self.durable_modseq = max(self.durable_modseq, modseq)

    # ── rows come, change and go ──

    def flags_of(self, file: str, uid: int) -> frozenset[str]:
        flags = self.keyword_file.flags(letters_of(file))
        extra = self._extra.get(Uid(uid))
        return interned(flags | extra) if extra else flags

    def add_rows(self, rows: Sequence[IndexRow], flags: Sequence[frozenset[str]]) -> list[MessageRow]:
        """Into the index and, if loaded, into memory; ascending by UID. Nobody is told yet."""
        index = self.store.need_index()
        state = self.state
        index.add_rows(state.id, rows)
        made: list[MessageRow] = []
        for row, known in zip(rows, flags, strict=True):
            uid = Uid(row.uid)
            message = MessageRow(uid, known, row.date, row.size, ModSeq(row.modseq))
            made.append(message)
            state.messages += 1
            state.unseen += SEEN not in known
            state.octets += row.size
            if self._table is not None:
                self._table.add(message)
                self.files[uid] = row.file
                if self._bases is not None:
                    self._bases[base_of(row.file[4:])] = uid
                if row.extra:
                    self._extra[uid] = frozenset(row.extra.split(" "))
        index.save(state)
        return made

    def change_rows(self, changed: Sequence[tuple[MessageRow, str, frozenset[str]]]) -> None:
        """Row after the change, file name, keywords without a letter. Nobody is told yet."""
        if not changed:
            return
        table = self.table
        index = self.store.need_index()
        for row, file, extra in changed:
            old = table.get(row.uid)
            if old is not None:
                self.state.unseen += (SEEN not in row.flags) - (SEEN not in old.flags)
            self.files[row.uid] = file
            if extra:
                self._extra[row.uid] = extra
            else:
                self._extra.pop(row.uid, None)
        table.replace([row for row, _, _ in changed])
        index.update_rows(
            self.state.id, ((file, " ".join(sorted(extra)), row.modseq, row.uid) for row, file, extra in changed)
        )
        index.save(self.state)

    def remove_rows(self, uids: Iterable[Uid]) -> tuple[Uid, ...]:
        """Nobody is told yet."""
        removed = self.table.remove(list(uids))
        if not removed:
            return ()
        state = self.state
        gone = tuple(row.uid for row in removed)
        for row in removed:
            state.messages -= 1
            state.unseen -= SEEN not in row.flags
            state.octets -= row.size
            file = self.files.pop(row.uid, "")
            self._extra.pop(row.uid, None)
            if self._bases is not None:
                self._bases.pop(base_of(file[4:]), None)
        self.next_modseq()
        index = self.store.need_index()
        index.remove_rows(state.id, gone)
        index.save(state)
        return gone

    def tell(
        self,
        new: Sequence[MessageRow] = (),
        changed: Sequence[MessageRow] = (),
        expunged: Sequence[Uid] = (),
        origin: object = None,
    ) -> None:
        if self.listeners and (new or changed or expunged):
            self.listeners.tell(MailboxEvent(tuple(new), tuple(changed), tuple(expunged), origin))

    # ── other programs ──

    def on_hint(self) -> None:
        """inotify saw something (mostly ourselves)."""
        if self._table is not None and not self.dead:
            self.store.quietly(self.refresh_now)

    def refresh_now(self) -> None:
        if self._table is None:
            return
        if self._to_cur:
            self.move_to_cur(())
        if self._watches and self.store.environment.watcher is not None:
            self.store.environment.watcher.drain()
            names: set[str] = set()
            for _, watch in self._watches:
                taken = watch.take()
                if taken is None:
                    self._scan()
                    return
                names |= taken
            if self._seen == (0, 0):
                self._scan()
            elif names:
                self._look_at(names)
            return
        if not self._settled or self._times() != self._seen:
            self._scan()

    def _base_map(self) -> dict[str, Uid]:
        if self._bases is None:
            self._bases = {base_of(file[4:]): uid for uid, file in self.files.items()}
        return self._bases

    def _look_at(self, names: set[str]) -> None:
        """Only these names have changed."""
        bases = self._base_map()
        appeared: list[str] = []
        gone: set[str] = set()
        for name in names:
            uid = bases.get(base_of(name[4:]))
            known = uid is not None and self.files.get(uid) == name
            if not known and (uid is None or name not in self.doomed):
                if os.path.exists(f"{self.directory}/{name}"):
                    appeared.append(name)
            elif known and not os.path.exists(f"{self.directory}/{name}"):
                gone.add(name)
        if gone and {base_of(name[4:]) for name in gone} - {base_of(name[4:]) for name in appeared}:
            # Removed, or renamed since the events were read: only a listing can tell.
            self._scan()
        elif appeared or gone:
            self._apply(appeared, gone)

    def _list(self) -> set[str]:
        present: set[str] = set()
        for part in ("new", "cur"):
            # new first: what is moved to cur meanwhile is seen there.
            try:
                names = os.listdir(f"{self.directory}/{part}")
            except FileNotFoundError:
                continue
            prefix = part + "/"
            present.update([prefix + name for name in names if name[0] != "."])
        return present

    def _scan(self, imported: UidList | None = None) -> None:
        """Compare all file names with those we know."""
        for _, watch in self._watches:
            watch.take()
        if not self.entry:
            layout.make(self.directory, folder=False)
        elif not os.path.isdir(f"{self.directory}/cur"):
            self.dead = True
            raise MailboxNotFound("Mailbox was deleted")
        self.keyword_file.reload()
        now_s = time.time()
        times = self._times()
        appeared, gone, vanished = self._compare()
        for _ in range(LISTINGS):
            if not vanished:
                break
            before = self._times()
            still_there = {base_of(file[4:]) for file in self._list()}
            if before == self._times() and not any(base_of(file[4:]) in still_there for file in vanished):
                break
            now_s = time.time()
            times = self._times()
            appeared, gone, vanished = self._compare()
        else:
            # Somebody renames faster than we list; what is missing is decided next time.
            gone -= vanished
            times = (0, 0)
        if appeared or gone:
            self._apply(list(appeared), gone, imported)
        self._seen = times
        self._settled = times != (0, 0) and self._is_settled(times, now_s)
        remembered = times if self._settled else (0, 0)
        if (self.state.new_mtime_ns, self.state.cur_mtime_ns) != remembered:
            self.state.new_mtime_ns, self.state.cur_mtime_ns = remembered
            with self.store.need_index().grouped():
                self.store.need_index().save(self.state)

    def _compare(self) -> tuple[set[str], set[str], set[str]]:
        """File names we do not know, those we know that are missing, and of these the ones not just renamed."""
        present = self._list()
        known = set(self.files.values())
        appeared = present - known - self.doomed
        gone = known - present
        renamed = {base_of(file[4:]) for file in appeared} if gone else set()
        return appeared, gone, {file for file in gone if base_of(file[4:]) not in renamed}

    def _apply(self, appeared: Iterable[str], gone: set[str], imported: UidList | None = None) -> None:
        bases = self._base_map()
        table = self.table
        fresh: dict[str, str] = {}
        renamed: list[tuple[MessageRow, str, frozenset[str]]] = []
        changed: list[MessageRow] = []
        modseq: ModSeq | None = None
        with self.store.need_index().grouped():
            for file in appeared:
                base = base_of(file[4:])
                uid = bases.get(base)
                if uid is None:
                    # The same message in new and cur (a link that is about to go): the one in cur has the flags.
                    if base not in fresh or file.startswith("cur/"):
                        fresh[base] = file
                    continue
                old = self.files[uid]
                if old not in gone and os.path.exists(f"{self.directory}/{old}"):
                    continue
                gone.discard(old)
                row = table.get(uid)
                if row is None:
                    continue
                flags = self.flags_of(file, uid)
                if flags != row.flags:
                    modseq = modseq or self.next_modseq()
                    row = MessageRow(uid, flags, row.internal_date_s, row.size, modseq)
                    changed.append(row)
                renamed.append((row, file, self._extra.get(uid, NO_EXTRA)))
            self.change_rows(renamed)
            expunged = self.remove_rows(
                [uid for file in gone if (uid := bases.get(base_of(file[4:]))) is not None and self.files[uid] == file]
            )
            new = self.index_files(fresh.values(), imported)
        self.tell(new, changed, expunged)

    def index_files(self, files: Iterable[str], imported: UidList | None = None) -> list[MessageRow]:
        """Give UIDs to files that have none: those in cur first (older), by time of arrival."""
        known = imported.uids if imported is not None else {}
        sizes = imported.wire_sizes if imported is not None else {}
        order = sorted(
            files,
            key=lambda file: (
                known.get(base_of(file[4:]), 1 << 32),
                file.startswith("new/"),
                arrival_time(file[4:]),
                file,
            ),
        )
        found = [row for file in order if (row := self._examine(file, sizes)) is not None]
        if not found:
            return []
        unnumbered = [row for row in found if base_of(row.file[4:]) not in known]
        modseq = self.next_modseq()
        uid = self.take_uids(len(unnumbered)) if unnumbered else 0
        for row in found:
            row.modseq = modseq
            old = known.get(base_of(row.file[4:]))
            if old is not None:
                row.uid = old
            else:
                row.uid = uid
                uid += 1
        return self.add_rows(found, [self.keyword_file.flags(letters_of(row.file)) for row in found])

    def _examine(self, file: str, sizes: dict[str, int]) -> IndexRow | None:
        """What the index wants to know of a file; its UID comes later. None if it is gone, or no message."""
        path = f"{self.directory}/{file}"
        try:
            status = os.stat(path)
            if status.st_size == 0 and file_size(file):
                self.remove_torn(file)
                return None
            date = status.st_mtime
            size = wire_size(file) or sizes.get(base_of(file[4:]))
            if size is None:
                size = wire_length(read_file(path))
        except (FileNotFoundError, IsADirectoryError):
            return None
        return IndexRow(0, file, "", 0, date, size)

    def remove_torn(self, file: str) -> bool:
        """An empty file: has a power cut left the name of a message of ours and nothing in it? Then nobody was told
        that the message is stored; what the queue still has it delivers again. Files of other programs stay."""
        if not file_size(file) or not is_ours(file[4:]):
            return False
        path = f"{self.directory}/{file}"
        os.unlink(path)
        self.store.touched(os.path.dirname(path))
        self.store.environment.report(f"{path} is empty, as a power cut leaves it: removed")
        return True

    def arrived(self, file: str, size: int, date: float, *, again: bool = False) -> None:
        """We delivered into a mailbox that is open: tell at once. `again`: it may have been here before, and its file
        been taken back while the directory could not be read."""
        gone: tuple[Uid, ...] = ()
        with self.store.need_index().grouped():
            if again and (before := self._base_map().get(base_of(file[4:]))) is not None:
                gone = self.remove_rows([before])
            row = IndexRow(self.take_uids(1), file, "", self.next_modseq(), date, size)
            new = self.add_rows([row], [frozenset()])
        self.tell(new, expunged=gone)

    def move_to_cur(self, uids: Iterable[Uid], at_once: int = 500) -> None:
        """A reader has seen these messages: they leave new, some now, the rest with the next refreshes."""
        self._to_cur.extend(uids)
        now, self._to_cur = self._to_cur[:at_once], self._to_cur[at_once:]
        moved: list[tuple[str, str, int, int]] = []
        for uid in now:
            file = self.files.get(uid, "")
            row = self.table.get(uid)
            if row is None or not file.startswith("new/"):
                continue
            target = f"cur/{base_of(file[4:])}:2,{letters_of(file)}"
            try:
                os.rename(f"{self.directory}/{file}", f"{self.directory}/{target}")
            except FileNotFoundError:
                continue
            self.files[uid] = target
            moved.append((target, " ".join(sorted(self._extra.get(uid, NO_EXTRA))), row.modseq, uid))
        if moved:
            self.store.touched(f"{self.directory}/new", f"{self.directory}/cur")
            index = self.store.need_index()
            with index.grouped():
                index.update_rows(self.state.id, moved)

    def find_again(self, uid: Uid) -> str | None:
        """The file of this message was not where we thought: look for it. None if it is gone."""
        self._scan()
        return self.files.get(uid)

    def _clean_tmp(self) -> None:
        """What a delivery left 36 hours ago will never be finished (the rule of the Maildir specification)."""
        limit_s = time.time() - 36 * 3600
        try:
            with os.scandir(os.path.join(self.directory, layout.TMP)) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < limit_s:
                        os.unlink(entry.path)
        except OSError:
            pass

    # ── counters of a folder that is not loaded ──

    def counters_are_true(self) -> bool:
        """Without loading, if the directories say so, or if only new messages came."""
        if self._table is not None:
            self.refresh_now()
            return True
        times = self._times()
        if times == (0, 0) or times[1] != self.state.cur_mtime_ns:
            return False
        if times[0] == self.state.new_mtime_ns:
            return True
        now_s = time.time()
        index = self.store.need_index()
        known = index.fresh_files(self.state.id)
        present = {f"new/{name}" for name in os.listdir(f"{self.directory}/new") if name[0] != "."}
        if not known.keys() <= present:
            return False
        with index.grouped():
            self.index_files(present - known.keys() - self.doomed)
            if self._is_settled(times, now_s):
                self.state.new_mtime_ns = times[0]
                index.save(self.state)
        return True
