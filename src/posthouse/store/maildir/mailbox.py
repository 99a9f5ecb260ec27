"""An open folder as sessions use it: store.interface.Mailbox on files."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, cast

from posthouse.core.identifiers import DeliveryId, ModSeq, Uid
from posthouse.runtime.crashpoints import reach
from posthouse.store.crashpoints import StoreStep
from posthouse.store.interface import Cached, FlagChange, Listener, MailboxStatus, MessageRow
from posthouse.store.maildir.failures import translated
from posthouse.store.maildir.folder import Folder
from posthouse.store.maildir.index import IndexRow
from posthouse.store.maildir.layout import TMP
from posthouse.store.maildir.messagefile import (
    create_file,
    flush_file,
    read_file,
    size_on_disk,
    to_file,
    to_wire,
    wire_length,
)
from posthouse.store.maildir.names import LETTERS, base_of, file_size, letters_of
from posthouse.store.rows import changed_flags, interned
from posthouse.store.wiretexts import WireTexts, wire_texts

TEXTS_AT_ONCE: Final = 256
"""Messages per question to the index: the caller may yield to the loop after each message, memory stays bounded."""


class MaildirMailbox(Folder):
    """Implements store.interface.Mailbox."""

    # ── looking ──

    @property
    def uid_next(self) -> Uid:
        return Uid(self.state.uid_next)

    @property
    def highest_modseq(self) -> ModSeq:
        return ModSeq(self.state.modseq)

    def keywords(self) -> tuple[str, ...]:
        extra = {keyword for keywords in self._extra.values() for keyword in keywords}
        return tuple(dict.fromkeys([*self.keyword_file.names(), *sorted(extra)]))

    @translated
    def rows(self) -> Sequence[MessageRow]:
        self.alive()
        return self.table.snapshot()

    @translated
    def row(self, uid: Uid) -> MessageRow | None:
        return self.table.get(uid)

    @translated
    def claim_recent(self, read_only: bool) -> frozenset[Uid]:
        self.alive()
        rows = self.table.snapshot()
        recent = [row.uid for row in reversed(rows) if row.uid >= self.state.recent_from]
        if not read_only:
            if self.state.recent_from != self.state.uid_next:
                self.state.recent_from = self.state.uid_next
                with self.store.need_index().grouped():
                    self.store.need_index().save(self.state)
            self.move_to_cur([uid for uid, file in self.files.items() if file.startswith("new/")])
        return frozenset(recent)

    def cached(self, uids: Sequence[Uid], what: Cached) -> Iterator[tuple[Uid, bytes]]:
        for at in range(0, len(uids), TEXTS_AT_ONCE):
            yield from self._cached(uids[at : at + TEXTS_AT_ONCE], what)

    @translated
    def all_cached(self, uids: list[Uid], what: Cached) -> list[bytes] | None:
        self.alive()
        return self.store.need_index().ready_texts(self.state.id, cast("list[int]", uids), what) if uids else []

    @translated
    def all_fields(self, uids: list[Uid], names: bytes) -> list[bytes] | None:
        self.alive()
        return self.store.need_index().ready_fields(self.state.id, cast("list[int]", uids), names) if uids else []

    def keep_fields(self, uids: Sequence[Uid], texts: Sequence[bytes], names: bytes) -> None:
        def keep() -> None:
            index = self.store.need_index()
            with index.grouped():
                index.add_fields(self.state.id, uids, texts, names)

        if not self.dead:
            self.store.quietly(keep)

    def _cached(self, uids: Sequence[Uid], what: Cached) -> Iterator[tuple[Uid, bytes]]:
        known = self._known_texts(uids, what)
        made: list[tuple[int, WireTexts]] = []
        try:
            for uid in uids:
                text = known.get(uid)
                if text is None:
                    content = self.content(uid)
                    if content is None:
                        continue
                    texts = wire_texts(content, what)
                    made.append((uid, texts))
                    text = texts.get(what)
                elif self.row(uid) is None:
                    continue
                yield uid, text
        finally:
            if made:
                self._keep_texts(made)

    @translated
    def _known_texts(self, uids: Sequence[Uid], what: Cached) -> dict[int, bytes]:
        self.alive()
        return self.store.need_index().texts(self.state.id, uids, what)

    @translated
    def _keep_texts(self, made: list[tuple[int, WireTexts]]) -> None:
        if self.dead:
            return
        with self.store.need_index().grouped():
            self.store.need_index().add_texts(
                self.state.id, [(uid, texts) for uid, texts in made if self.row(Uid(uid)) is not None]
            )

    @translated
    def content(self, uid: Uid) -> bytes | None:
        self.alive()
        row = self.table.get(uid)
        if row is None:
            return None
        file: str | None = self.files[uid]
        while file is not None:
            try:
                data = read_file(f"{self.directory}/{file}", file_size(file) or 0)
            except FileNotFoundError:
                before, file = file, self.find_again(uid)
                if file == before:
                    return None
            else:
                if not data and self.remove_torn(file):
                    self._expunged([uid], None)
                    return None
                content = to_wire(data)
                if len(content) != row.size:
                    self._correct_size(uid, len(content))
                return content
        return None

    def _correct_size(self, uid: Uid, size: int) -> None:
        """The file name (or another program's list) lied about it."""
        row = self.table.get(uid)
        if row is None:
            return
        self.state.octets += size - row.size
        self.table.replace([MessageRow(uid, row.flags, row.internal_date_s, size, row.modseq)])
        index = self.store.need_index()
        with index.grouped():
            index.update_size(self.state.id, uid, size)
            index.save(self.state)

    @translated
    def refresh(self) -> None:
        self.alive()
        self.refresh_now()

    def listen(self, listener: Listener) -> Callable[[], None]:
        return self.listeners.add(listener)

    @translated
    def status(self) -> MailboxStatus:
        self.alive()
        if not self.counters_are_true():
            self.load()
        state = self.state
        return MailboxStatus(
            state.messages,
            self.store.need_index().recent(state.id, state.recent_from),
            state.unseen,
            Uid(state.uid_next),
            self.uid_validity,
            ModSeq(state.modseq),
            state.octets,
        )

    # ── changing ──

    @translated
    def append(self, content: bytes, flags: frozenset[str], internal_date_s: float | None, origin: object) -> Uid:
        self.alive()
        data = to_file(content)
        self.store.check_quota(len(data))
        now_s = self.store.environment.now()
        wire = wire_length(data)
        base = self.store.environment.names.new(now_s, f",S={len(data)},W={wire}")
        letters, extra = self.keyword_file.letters(flags)
        file = f"cur/{base}:2,{letters}"
        temporary, path = f"{self.directory}/{TMP}/{base}", f"{self.directory}/{file}"
        self.store.about_to_write()
        descriptor = create_file(temporary, data)
        try:
            if internal_date_s is not None:
                os.utime(descriptor, (internal_date_s, internal_date_s))
            reach(StoreStep.APPEND_WRITTEN)
            os.rename(temporary, path)
        except OSError:
            os.close(descriptor)
            os.unlink(temporary)
            raise
        reach(StoreStep.APPEND_NAMED)
        self.store.wrote(descriptor, f"{self.directory}/cur")
        self.store.size.add(len(data), 1)
        date = now_s if internal_date_s is None else internal_date_s
        new = self._take([(file, extra, date, wire)], [flags])
        self.tell(new, origin=origin)
        return new[0].uid

    def _take(
        self, files: Sequence[tuple[str, frozenset[str], float, int]], flags: Sequence[frozenset[str]]
    ) -> list[MessageRow]:
        """Files that we made here just now: (name, keywords without a letter, date, wire size)."""
        index = self.store.need_index()
        with index.grouped():
            uid = self.take_uids(len(files))
            reach(StoreStep.UIDS_ASSIGNED)
            modseq = self.next_modseq()
            rows = [
                IndexRow(uid + number, file, " ".join(sorted(extra)), modseq, date, size)
                for number, (file, extra, date, size) in enumerate(files)
            ]
            return self.add_rows(rows, [interned(one) for one in flags])

    @translated
    def store_flags(
        self, uids: Sequence[Uid], change: FlagChange, flags: frozenset[str], origin: object
    ) -> Sequence[MessageRow]:
        self.alive()
        lost = self._rename_for_flags(uids, change, flags, origin)
        if lost:
            # Another program renamed or removed them: see what it did, then once more. What is lost even then keeps its
            # flags (a listing was disturbed, or the disk fails); who asks for it later finds out.
            self.find_again(lost[0])
            self._rename_for_flags([uid for uid in lost if self.row(uid) is not None], change, flags, origin)
        return self.table.select(uids)

    def _rename_for_flags(
        self, uids: Sequence[Uid], change: FlagChange, flags: frozenset[str], origin: object
    ) -> list[Uid]:
        """Returns those whose files were not where we thought."""
        table = self.table
        keywords = self.keyword_file
        index = self.store.need_index()
        before: list[MessageRow] = table.select(uids)
        renamed: list[tuple[MessageRow, str, frozenset[str]]] = []
        modseq: ModSeq | None = None
        lost: list[Uid] = []
        prefix = self.directory + "/"
        rename = os.rename
        self.store.about_to_write()
        with index.grouped(), self.many_changes(len(before)):
            try:
                for row in before:
                    wanted = changed_flags(row.flags, change, flags)
                    if wanted == row.flags:
                        continue
                    letters, extra = keywords.letters(wanted)
                    old = self.files[row.uid]
                    new = f"cur/{base_of(old[4:])}:2,{_with_strange(letters, letters_of(old))}"
                    if new != old:
                        try:
                            rename(prefix + old, prefix + new)
                        except FileNotFoundError:
                            lost.append(row.uid)
                            continue
                    if modseq is None:
                        modseq = self.next_modseq()
                    changed = MessageRow(row.uid, wanted, row.internal_date_s, row.size, modseq)
                    renamed.append((changed, new, extra))
            finally:
                # What was renamed before a failure is so, and the index must say it.
                if renamed:
                    self.store.touched(prefix + "cur", prefix + "new")
                    reach(StoreStep.FLAGS_RENAMED)
                    self.change_rows(renamed)
                    self.tell(changed=[row for row, _, _ in renamed], origin=origin)
        return lost

    @translated
    def expunge(self, uids: Sequence[Uid], origin: object) -> Sequence[Uid]:
        self.alive()
        rows = self.table.select(sorted(set(uids)))
        removed: list[Uid] = []
        with self.many_changes(len(rows)):
            try:
                self._let_go([row.uid for row in rows], removed)
            except OSError:
                # One cannot be removed: those before it are gone all the same, and everybody hears of it.
                self._expunged(removed, None)
                raise
            return self._expunged(removed, origin)

    def _expunged(self, removed: Sequence[Uid], origin: object) -> Sequence[Uid]:
        reach(StoreStep.EXPUNGED)
        with self.store.need_index().grouped():
            gone = self.remove_rows(removed)
        self.tell(expunged=gone, origin=origin)
        return gone

    def _let_go(self, uids: Sequence[Uid], removed: list[Uid]) -> None:
        """Remove the files; those whose delivery may be asked for again wait until their tombstones are on disk.

        `removed` gets those that are gone for everybody, also when OSError is raised for another.
        """
        self.store.about_to_write()
        waiting: list[tuple[DeliveryId, str]] = []
        waiting_uids: list[Uid] = []
        octets = 0
        try:
            for uid in uids:
                file = self.files.get(uid)
                octets_here = 0
                while file is not None:
                    octets_here = size_on_disk(self.directory, file) if self.store.size.limit else 0
                    delivery = self.store.may_return(base_of(file[4:]))
                    if delivery is not None:
                        waiting.append((delivery, file))
                        waiting_uids.append(uid)
                        break
                    try:
                        os.unlink(f"{self.directory}/{file}")
                        break
                    except FileNotFoundError:
                        before, file = file, self.find_again(uid)
                        if file == before:
                            break
                else:
                    continue
                octets += octets_here
                if not waiting_uids or waiting_uids[-1] != uid:
                    removed.append(uid)
        finally:
            if waiting:
                self.store.doom(self, waiting)
                removed += waiting_uids
            if removed:
                self.store.touched(f"{self.directory}/cur", f"{self.directory}/new")
                self.store.size.add(-octets, -len(removed))

    # ── copying ──

    @translated
    def copy(self, uids: Sequence[Uid], target: str, origin: object) -> Sequence[tuple[Uid, Uid]]:
        self.alive()
        into = self.store.folder(target)
        rows = self.table.select(uids)
        if self.store.size.limit:
            self.store.check_quota(sum(size_on_disk(self.directory, self.files[row.uid]) for row in rows))
        return self._transfer(rows, into, origin, self._link)

    @translated
    def move(self, uids: Sequence[Uid], target: str, origin: object) -> Sequence[tuple[Uid, Uid]]:
        self.alive()
        into = self.store.folder(target)
        rows = self.table.select(uids)
        self._settle(row.uid for row in rows)
        pairs = self._transfer(rows, into, origin, os.rename)
        moved = [old for old, _ in pairs]
        reach(StoreStep.MOVED)
        with self.store.need_index().grouped():
            gone = self.remove_rows(moved)
        self.tell(expunged=gone, origin=origin)
        return pairs

    def _settle(self, uids: Iterable[Uid]) -> None:
        """Messages whose delivery may be asked for again are about to go by a rename, so that they are in one place at
        every moment: first their content must be on disk, then the tombstones that answer the queue."""
        deliveries: list[DeliveryId] = []
        for uid in uids:
            file: str | None = self.files.get(uid)
            delivery = self.store.may_return(base_of(file[4:])) if file is not None else None
            if file is None or delivery is None:
                continue
            try:
                flush_file(f"{self.directory}/{file}")
            except FileNotFoundError:
                file = self.find_again(uid)
                if file is None:
                    continue
                flush_file(f"{self.directory}/{file}")
            deliveries.append(delivery)
        if deliveries:
            self.store.deliveries.bury(deliveries)
            self.store.need_index().commit_durably()
            reach(StoreStep.TOMBSTONE_STORED)

    def _transfer(
        self,
        rows: Sequence[MessageRow],
        into: "MaildirMailbox",
        origin: object,
        act: Callable[[str, str], None],
    ) -> list[tuple[Uid, Uid]]:
        """All or nothing: what was done before a failure is undone."""
        self.store.about_to_write()
        done: list[tuple[MessageRow, str, tuple[str, frozenset[str], float, int]]] = []
        octets = 0
        try:
            for row in rows:
                found = self._transfer_one(row, into, act)
                if found is not None:
                    done.append((row, *found))
                    octets += size_on_disk(into.directory, found[1][0]) if self.store.size.limit else 0
        except OSError:
            for row, source, (file, *_) in reversed(done):
                with contextlib.suppress(OSError):
                    if os.path.exists(source):
                        os.unlink(f"{into.directory}/{file}")
                    else:
                        os.rename(f"{into.directory}/{file}", source)
                        self.files[row.uid] = source[len(self.directory) + 1 :]
            raise
        if not done:
            return []
        self.store.touched(f"{into.directory}/cur", f"{self.directory}/cur", f"{self.directory}/new")
        if act == self._link:
            self.store.size.add(octets, len(done))
        reach(StoreStep.COPIED)
        new = into._take([item for _, _, item in done], [row.flags for row, _, _ in done])
        into.tell(new, origin=origin)
        return [(row.uid, copied.uid) for (row, _, _), copied in zip(done, new, strict=True)]

    def _transfer_one(
        self, row: MessageRow, into: "MaildirMailbox", act: Callable[[str, str], None]
    ) -> tuple[str, tuple[str, frozenset[str], float, int]] | None:
        letters, extra = into.keyword_file.letters(row.flags)
        file = self.files.get(row.uid)
        while file is not None:
            sizes = f",S={size_on_disk(self.directory, file)},W={row.size}"
            base = self.store.environment.names.new(self.store.environment.now(), sizes)
            target = f"cur/{base}:2,{_with_strange(letters, letters_of(file))}"
            source = f"{self.directory}/{file}"
            try:
                act(source, f"{into.directory}/{target}")
            except FileNotFoundError:
                before, file = file, self.find_again(row.uid)
                if file == before:
                    raise
            else:
                return source, (target, extra, row.internal_date_s, row.size)
        return None

    def _link(self, source: str, target: str) -> None:
        """A second name for the same file: messages never change, so sharing is safe (as Dovecot does by default)."""
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:
            self._write_copy(source, target)

    def _write_copy(self, source: str, target: str) -> None:
        """File systems without hard links, or too many of them."""
        status = os.stat(source)
        directory, _, name = target.rpartition("/")
        temporary = f"{directory[:-3]}{TMP}/{base_of(name)}"
        descriptor = create_file(temporary, read_file(source))
        try:
            os.utime(descriptor, ns=(status.st_mtime_ns, status.st_mtime_ns))
            os.rename(temporary, target)
        except OSError:
            os.close(descriptor)
            os.unlink(temporary)
            raise
        self.store.wrote(descriptor, directory)

    # ── ending ──

    def kill(self) -> None:
        """Deleted, or given up with its index: nothing can be done here any more."""
        gone = list(self._table.uids()) if self._table is not None else []
        self._extra = {}
        self.unwatch()
        self.dead = True
        if self._table is not None:
            self._table.remove(gone)
            self.files.clear()
        self.tell(expunged=gone)


def _with_strange(letters: str, old: str) -> str:
    """Capital letters that mean nothing to us (P for passed) stay where they were."""
    strange = [letter for letter in old if letter not in LETTERS and not "a" <= letter <= "z"]
    return "".join(sorted({*letters, *strange})) if strange else letters
