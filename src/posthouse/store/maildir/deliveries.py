"""Deliveries into one user's Maildir: written once, found again after a crash, and not resurrected.

The queue keeps a message until it has recorded that it was delivered; until then it may ask for the same delivery
again. The file name carries the delivery, so that it is found whatever flags or directory it got. If the user removes
or moves it meanwhile, a tombstone in the index says so, and it is on disk before the file goes.
"""

import contextlib
import enum
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from posthouse.core.identifiers import DeliveryId
from posthouse.runtime.crashpoints import reach
from posthouse.store.crashpoints import StoreStep
from posthouse.store.interface import MailboxNotFound
from posthouse.store.maildir import layout
from posthouse.store.maildir.index import Index
from posthouse.store.maildir.layout import TMP
from posthouse.store.maildir.messagefile import create_file, read_file, to_file, wire_length
from posthouse.store.maildir.names import arrival_time, base_of, delivery_of
from posthouse.store.naming import INBOX, canonical

if TYPE_CHECKING:
    from posthouse.store.maildir.mailbox import MaildirMailbox
    from posthouse.store.maildir.store import MaildirStore

MAX_RETIRED: Final = 10_000
"""Deliveries of former processes that the queue told us are retired; beyond it they leave needless tombstones."""
FORGOTTEN_AFTER_S: Final = 600.0
"""The queue retires what it recorded within a second."""
TOMBSTONES_FOR_S: Final = 10 * 86400.0
"""Longer than any message stays in a queue."""


class Earlier(enum.Enum):
    """What an earlier attempt of the same delivery has left in the mailbox."""

    NONE = "nothing"
    GOOD = "the message, or its tombstone"


class Deliveries:
    """Of one store."""

    def __init__(self, store: "MaildirStore") -> None:
        self._store = store
        self.unretired: dict[DeliveryId, tuple[str, str]] = {}
        """Made by this process: mailbox and base of the file name."""
        self._retired: set[DeliveryId] = set()
        self._buried: set[DeliveryId] = set()
        self._doomed: list[tuple[MaildirMailbox, str]] = []
        self._waiting: dict[str, set[str]] = {}
        """By directory of the mailbox: removed files that still have their names, hidden from everybody here."""
        self._views: dict[str, dict[DeliveryId, str]] = {}
        """By mailbox: where deliveries of former times stand. Made when one is first asked for."""

    def resume(self, index: Index) -> None:
        """The index was opened."""
        with index.grouped():
            if buried := index.buried():
                index.unbury((), self._store.environment.now() - TOMBSTONES_FOR_S)
                self._buried |= buried

    # ── writing ──

    def deliver(self, content: bytes, delivery: DeliveryId, mailbox: str, maybe_delivered: bool) -> bool:
        store = self._store
        name = INBOX if mailbox == INBOX else canonical(mailbox)
        directory = store.root if name == INBOX else f"{store.root}/{self._entry(name)}"
        data = to_file(content)
        known = maybe_delivered or delivery in self.unretired or delivery in self._buried
        there = self._look_for(delivery, name, directory, data) if known else Earlier.NONE
        if there is Earlier.GOOD:
            return False
        if there is Earlier.NONE:
            store.check_quota(len(data))
        wire = wire_length(data)
        now_s = store.environment.now()
        if isinstance(there, str):
            # Readers keep its UID and its flags.
            file = there
            base = base_of(file[4:])
        else:
            base = store.environment.names.of_delivery(delivery, now_s, len(data), wire)
            file = f"new/{base}"
        temporary = f"{directory}/{TMP}/{base}"
        store.about_to_write()
        try:
            descriptor = create_file(temporary, data)
        except FileNotFoundError:
            self._make(name, directory)
            descriptor = create_file(temporary, data)
        reach(StoreStep.DELIVERY_WRITTEN)
        try:
            os.rename(temporary, f"{directory}/{file}")
        except OSError:
            os.close(descriptor)
            os.unlink(temporary)
            raise
        reach(StoreStep.DELIVERY_NAMED)
        store.wrote(descriptor, f"{directory}/{file[:3]}")
        self.unretired[delivery] = (name, base)
        if (view := self._views.get(name)) is not None:
            view[delivery] = file
        if isinstance(there, str):
            return True
        # The message is delivered; what goes wrong now must not make the queue deliver it again.
        if store.size.limit:
            store.quietly(lambda: store.size.add(len(data), 1))
        folder = store.open_folder(name)
        if folder is not None:
            store.quietly(lambda: folder.arrived(file, wire, now_s, again=known))
        return True

    def _entry(self, name: str) -> str:
        entry = self._store._entry(name)
        if entry is None:
            raise MailboxNotFound(f"Mailbox doesn't exist: {name}")
        return entry

    def _make(self, name: str, directory: str) -> None:
        """The first message of a user makes the Maildir; folders are made by CREATE."""
        layout.make(directory, folder=name != INBOX)
        store = self._store
        store.environment.volumes.forget(store.root)
        store.touched(directory, os.path.dirname(directory))

    # ── looking for what was written before ──

    def _look_for(self, delivery: DeliveryId, name: str, directory: str, data: bytes) -> Earlier | str:
        """What an earlier attempt has left. A file whose content differs is removed here: after a power cut one can
        have its name and nothing in it. The name of a file: its content must be written anew under this name."""
        store = self._store
        if store.need_index().is_buried(delivery):
            return Earlier.GOOD
        for _ in range(2):
            file = self._view(name, directory).get(delivery)
            if file is None:
                return Earlier.NONE
            path = f"{directory}/{file}"
            try:
                is_same = read_file(path) == data
                is_suspect = self._suspect(path)
            except FileNotFoundError:
                # Renamed by a reader since we looked.
                self._views.pop(name, None)
                continue
            if is_same and not is_suspect:
                self.unretired[delivery] = (name, base_of(file[4:]))
                return Earlier.GOOD
            store.environment.report(f"{path}: an incomplete delivery is written anew")
            if is_same:
                return file
            self._remove(name, directory, file)
            self._views.pop(name, None)
        return Earlier.NONE

    def _suspect(self, path: str) -> bool:
        """Written before a flush failed: what we read may be in the page cache only."""
        failed_s = self._store.volume.failed_at_s
        return failed_s > 0 and os.stat(path).st_mtime <= failed_s

    def _view(self, name: str, directory: str) -> dict[DeliveryId, str]:
        view = self._views.get(name)
        if view is None:
            view = self._views[name] = {}
            for part in ("new", "cur"):
                with contextlib.suppress(FileNotFoundError):
                    for file in os.listdir(f"{directory}/{part}"):
                        if (found := delivery_of(file)) is not None:
                            view[found[0]] = f"{part}/{file}"
        return view

    def forget_views(self) -> None:
        self._views.clear()

    def _remove(self, name: str, directory: str, file: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{directory}/{file}")
        self._store.touched(f"{directory}/new", f"{directory}/cur")
        folder = self._store.open_folder(name)
        if folder is not None:
            folder.refresh_now()

    def withdraw(self, deliveries: Sequence[DeliveryId]) -> None:
        """Raises OSError if a file cannot be removed; it stays known: the next attempt finds and replaces it."""
        for delivery in deliveries:
            name, base = self.unretired.get(delivery, ("", ""))
            entry = self._store._entry(name) if name else None
            if entry is not None:
                directory = f"{self._store.root}/{entry}" if entry else self._store.root
                self._views.pop(name, None)
                file = self._view(name, directory).get(delivery)
                if file is not None and base_of(file[4:]) == base:
                    self._exhume(delivery)
                    self._remove(name, directory, file)
            self.unretired.pop(delivery, None)
        self._views.clear()

    def _exhume(self, delivery: DeliveryId) -> None:
        """A MOVE that failed behind its tombstone leaves a file with one. It goes, on disk, before the file does: else
        the next attempt would be told that everything is done, and nothing would be left."""
        index = self._store.need_index()
        if delivery in self._buried or index.is_buried(delivery):
            with index.grouped():
                index.unbury([delivery])
            index.commit_durably()
            self._buried.discard(delivery)

    def retired(self, deliveries: Sequence[DeliveryId]) -> None:
        known_since_s = self._store.environment.known_since_s
        for delivery in deliveries:
            _, base = self.unretired.pop(delivery, ("", ""))
            if arrival_time(base) <= known_since_s and len(self._retired) < MAX_RETIRED:
                self._retired.add(delivery)
        buried = self._buried.intersection(deliveries)
        index = self._store.index_or_none
        if buried and index is not None:
            with index.grouped():
                index.unbury(buried)
            self._buried -= buried

    # ── tombstones ──

    def may_return(self, base: str) -> DeliveryId | None:
        """The delivery of this file, if the queue may still ask for it."""
        found = delivery_of(base)
        if found is None:
            return None
        delivery, made_s = found
        if delivery in self.unretired:
            return delivery
        environment = self._store.environment
        if made_s > environment.known_since_s or delivery in self._retired:
            return None
        return delivery if made_s > environment.now() - environment.recovery_window_s else None

    @property
    def settled(self) -> bool:
        """Every delivery is retired, or the queue has not said so for so long that it never will (it was restarted)."""
        if not self.unretired:
            return True
        _, base = next(reversed(self.unretired.values()))
        return arrival_time(base) < self._store.environment.now() - FORGOTTEN_AFTER_S

    def forget(self) -> None:
        """The store is closed; from now on nobody knows which of these are retired."""
        if self.unretired:
            self._store.environment.known_since_s = self._store.environment.now()
            self.unretired.clear()

    def of_mailbox(self, name: str) -> list[DeliveryId]:
        return [delivery for delivery, (mailbox, _) in self.unretired.items() if mailbox == name]

    def bury(self, deliveries: Iterable[DeliveryId]) -> None:
        found = list(deliveries)
        index = self._store.need_index()
        with index.grouped():
            index.bury(found)
        self._buried.update(found)

    def doom(self, folder: "MaildirMailbox", files: Sequence[tuple[DeliveryId, str]]) -> None:
        """These files go as soon as their tombstones are on disk. For everybody here they are gone now."""
        index = self._store.need_index()
        with index.grouped():
            self.bury([delivery for delivery, _ in files])
            index.doom(f"{folder.entry}/{file}" if folder.entry else file for _, file in files)
        folder.doomed.update(file for _, file in files)
        self._doomed += [(folder, file) for _, file in files]
        for delivery, _ in files:
            self.unretired.pop(delivery, None)
        self._store.flush_soon()

    def doomed_in(self, entry: str) -> set[str]:
        """Files of one mailbox that are to go; the set outlives the mailbox object, which may be made anew."""
        return self._waiting.setdefault(entry, set())

    def mailbox_renamed(self, old: str, new: str) -> None:
        if (waiting := self._waiting.pop(old, None)) is not None:
            self._waiting[new] = waiting

    def take_doomed(self) -> list[tuple["MaildirMailbox", str]]:
        taken, self._doomed = self._doomed, []
        return taken

    def doom_later(self, doomed: Sequence[tuple["MaildirMailbox", str]]) -> None:
        self._doomed += doomed

    def remove_doomed(self, doomed: Sequence[tuple["MaildirMailbox", str]]) -> None:
        """Their tombstones are on disk."""
        if not doomed:
            return
        reach(StoreStep.TOMBSTONE_STORED)
        gone: list[tuple[MaildirMailbox, str]] = []
        for folder, file in doomed:
            try:
                self._remove_file(folder, file)
            except OSError as error:
                # Read-only, or a bad disk: nobody here sees the file any more, and it goes with the next flush or, if
                # there is none, when the index is opened again.
                self._doomed.append((folder, file))
                self._store.environment.report(f"{folder.directory}/{file}: cannot be removed yet: {error}")
            else:
                folder.doomed.discard(file)
                gone.append((folder, file))
                self._store.touched(f"{folder.directory}/new", f"{folder.directory}/cur")
        index = self._store.index_or_none
        if index is not None and gone:
            with index.grouped():
                index.forget_doomed(f"{folder.entry}/{file}" if folder.entry else file for folder, file in gone)

    def _remove_file(self, folder: "MaildirMailbox", file: str) -> None:
        try:
            os.unlink(f"{folder.directory}/{file}")
        except FileNotFoundError:
            self._remove_renamed(folder, file)

    @staticmethod
    def _remove_renamed(folder: "MaildirMailbox", file: str) -> None:
        """Another program gave it other flags while it waited."""
        base = base_of(file[4:])
        for part in ("cur", "new"):
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(f"{folder.directory}/{part}"):
                    if base_of(name) == base:
                        os.unlink(f"{folder.directory}/{part}/{name}")
