"""One user's Maildir: store.interface.Store.

Nothing touches the disk before it is needed: a delivery to a user who is not logged in writes the message file and does
not open the index.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import apsw

from posthouse.core.identifiers import DeliveryId
from posthouse.runtime.crashpoints import reach
from posthouse.store.crashpoints import StoreStep
from posthouse.store.flush import Volume
from posthouse.store.interface import (
    InvalidName,
    MailboxExists,
    MailboxInfo,
    MailboxNotFound,
    MailboxStatus,
    StorageFailed,
    StoreError,
)
from posthouse.store.maildir import index as index_file
from posthouse.store.maildir import layout, special_use, subscriptions
from posthouse.store.maildir.deliveries import Deliveries
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.failures import translated
from posthouse.store.maildir.folder import Folder
from posthouse.store.maildir.index import MODSEQ_BLOCK, UID_BLOCK, Index, IndexDamaged, MailboxState
from posthouse.store.maildir.location import MailLocation
from posthouse.store.maildir.mailbox import MaildirMailbox
from posthouse.store.maildir.names import file_size
from posthouse.store.maildir.quota import MaildirSize
from posthouse.store.maildir.textfiles import read_text, write_text
from posthouse.store.maildir.uidlist import FILES as UID_LISTS
from posthouse.store.maildir.uidlist import BadUidList, UidList, parse_uidlist
from posthouse.store.naming import INBOX, canonical, listing, superiors

LOCK_FILE: Final = "posthouse.lock"
VALIDITY_FILE: Final = "posthouse.uidvalidity"
_FLOCK: Final = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class FlushMark(NamedTuple):
    """What becomes true with a flush."""

    failures: int
    reserved: list[tuple[Folder, int, int]]
    doomed: list[tuple[MaildirMailbox, str]]


class MaildirStore:
    """Implements store.interface.Store. `limit` is the quota in octets, 0 for none."""

    def __init__(self, location: MailLocation, environment: Environment, limit: int = 0) -> None:
        self.root = location.root
        self.environment = environment
        self.size = MaildirSize(self.root, limit)
        self.deliveries = Deliveries(self)
        self.reserving: set[Folder] = set()
        """Folders whose next block of numbers gets on disk with the next flush."""
        self.used_s = time.monotonic()
        self._index_directory = location.index or location.root
        self._folders: dict[str, MaildirMailbox] = {}
        self._index: Index | None = None
        self._lock = -1
        self._volume: Volume | None = None
        self._failures = 0
        self._written = False
        self._flushing: asyncio.Task[None] | None = None

    # ── what is written, and flushing it ──

    @property
    def volume(self) -> Volume:
        if self._volume is None:
            self._volume = self.environment.volumes.at(self.root)
        return self._volume

    def about_to_write(self) -> None:
        if not self._written:
            self._failures = self.volume.failures
            self._written = True

    def wrote(self, descriptor: int, *directories: str) -> None:
        self.volume.wrote(descriptor, *directories)

    def touched(self, *paths: str) -> None:
        self.about_to_write()
        self.volume.touched(*paths)

    async def flush(self) -> None:
        mark = self.begin_flush()
        try:
            await self.volume.flush(mark.failures)
        except BaseException:
            self.abandon_flush(mark)
            raise
        self.end_flush(mark)

    def flush_now(self) -> None:
        """For programs without an event loop."""
        mark = self.begin_flush()
        try:
            self.volume.flush_now(mark.failures)
        except StorageFailed:
            self.abandon_flush(mark)
            raise
        self.end_flush(mark)

    def begin_flush(self) -> "FlushMark":
        """The volume is to be flushed after this, and `end_flush` called if that went well: for whoever flushes many
        stores at once."""
        self.about_to_write()
        if self._index is not None:
            self._index.commit()
            if self._index.error is not None:
                raise self.index_failed(self._index.error)
            if self._index.take_changed():
                self.volume.touched(self._index.log_path)
        mark = FlushMark(
            self._failures,
            [(folder, folder.state.uid_reserved, folder.state.modseq_reserved) for folder in self.reserving],
            self.deliveries.take_doomed(),
        )
        self.reserving.clear()
        self._written = False
        return mark

    def end_flush(self, mark: "FlushMark") -> None:
        """Raises StorageFailed if the kernel had told somebody else that our data is lost."""
        if self.volume.failures != mark.failures:
            self.abandon_flush(mark)
            raise StorageFailed("Internal error: cannot flush to disk", "an earlier flush of the same data failed")
        reach(StoreStep.STORE_FLUSHED)
        for folder, uid, modseq in mark.reserved:
            folder.reserved(uid, modseq)
        self.deliveries.remove_doomed(mark.doomed)

    def abandon_flush(self, mark: "FlushMark") -> None:
        """It failed, or nobody waited for it: what it would have made true waits for the next one."""
        self.reserving.update(folder for folder, _, _ in mark.reserved)
        self.deliveries.doom_later(mark.doomed)

    def flush_soon(self) -> None:
        """Somebody waits for the disk who cannot await; without a loop it happens here."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush_now()
            return
        if self._flushing is None or self._flushing.done():
            self._flushing = loop.create_task(self._flush_quietly())

    async def _flush_quietly(self) -> None:
        try:
            await self.flush()
        except StoreError as error:
            self.environment.report(f"{self.root}: {getattr(error, 'detail', '') or error}")

    # ── the index ──

    def need_index(self) -> Index:
        if self._index is None:
            self._take_lock()
            try:
                self._index = self._open_index()
            except apsw.Error as error:
                self._release_lock()
                raise StorageFailed(
                    "Internal error: cannot open the index",
                    f"{self.root}: {error}",
                    no_space=isinstance(error, apsw.FullError),
                ) from error
            except OSError:
                self._release_lock()
                raise
            self._resume(self._index)
        return self._index

    def _open_index(self) -> Index:
        path = f"{self._index_directory}/{index_file.FILE}"
        os.makedirs(self._index_directory, layout.DIRECTORY_MODE, exist_ok=True)
        try:
            return Index(path, self.environment.volumes.executor)
        except IndexDamaged as error:
            aside = index_file.set_aside(path, self.environment.now())
            self.environment.report(
                f"{path} is damaged ({error}): set aside as {aside}, rebuilding it from the messages"
            )
            return Index(path, self.environment.volumes.executor)

    def _resume(self, index: Index) -> None:
        """Finish what a crash interrupted."""
        pairs = index.announced_rename()
        if pairs:
            done = [(old, new) for old, new in pairs if not self._exists(old) and self._exists(new)]
            with index.grouped():
                index.rename_mailboxes(done)
                index.rename_done()
        doomed = index.doomed()
        if doomed:
            index.commit_durably()
            gone = []
            for path in doomed:
                try:
                    os.unlink(f"{self.root}/{path}")
                except FileNotFoundError:
                    gone.append(path)
                except OSError as error:
                    mailbox, part, name = ("", *path.split("/"))[-3:]
                    self.deliveries.doomed_in(mailbox).add(f"{part}/{name}")
                    self.environment.report(f"{self.root}/{path}: cannot be removed yet: {error}")
                else:
                    gone.append(path)
            with index.grouped():
                index.forget_doomed(gone)
        self.deliveries.resume(index)
        with contextlib.suppress(FileNotFoundError), os.scandir(self.root) as entries:
            for entry in entries:
                if entry.name.startswith(layout.TRASHED):
                    self.environment.volumes.executor.submit(shutil.rmtree, entry.path, ignore_errors=True)

    @property
    def index_or_none(self) -> Index | None:
        return self._index

    def _take_lock(self) -> None:
        """One process at a time works with the index (another worker may still be closing it)."""
        if self._lock >= 0:
            return
        os.makedirs(self._index_directory, layout.DIRECTORY_MODE, exist_ok=True)
        path = f"{self._index_directory}/{LOCK_FILE}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError | PermissionError):
                raise StorageFailed("Mailbox is in use, try again", f"{path} is locked by another process") from error
            raise
        self._lock = descriptor

    def _release_lock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def index_failed(self, error: BaseException) -> StorageFailed:
        """What is in memory is not what is in the index: give both up; sessions end, the next open starts anew."""
        index, self._index = self._index, None
        folders, self._folders = self._folders, {}
        for folder in folders.values():
            folder.give_up()
        self.reserving.clear()
        if index is not None:
            with contextlib.suppress(apsw.Error, OSError):
                index.close()()
            self._release_lock()
            if isinstance(error, apsw.CorruptError | apsw.NotADBError):
                with contextlib.suppress(OSError):
                    aside = index_file.set_aside(index.path, self.environment.now())
                    self.environment.report(f"{index.path} is damaged ({error}): set aside as {aside}")
        return StorageFailed(
            "Internal error: index of the mailbox failed",
            f"{self.root}/{index_file.FILE}: {error}",
            no_space=isinstance(error, apsw.FullError),
        )

    def quietly(self, work: Callable[[], None]) -> None:
        """Work that nobody waits for: failures go to the log."""
        try:
            work()
        except (OSError, apsw.Error) as error:
            failure = self.index_failed(error) if isinstance(error, apsw.Error) else error
            self.environment.report(f"{self.root}: {failure}")
        except StoreError as error:
            self.environment.report(f"{self.root}: {getattr(error, 'detail', '') or error}")

    # ── folders ──

    def _entry(self, name: str) -> str | None:
        """The directory of an existing mailbox ("" for INBOX), None if there is none."""
        if name == INBOX:
            return ""
        try:
            entry = layout.entry_of(name)
        except InvalidName:
            entry = ""
        if entry and os.path.isdir(f"{self.root}/{entry}/cur"):
            return entry
        return layout.scan(self.root).get(name)

    def _exists(self, name: str) -> bool:
        return self._entry(name) is not None

    def folder(self, name: str) -> MaildirMailbox:
        """Not loaded unless it already is. Raises MailboxNotFound."""
        self.used_s = time.monotonic()
        name = canonical(name)
        known = self._folders.get(name)
        if known is not None and not known.dead:
            return known
        entry = self._entry(name)
        if entry is None:
            raise MailboxNotFound(f"Mailbox doesn't exist: {name}")
        directory = f"{self.root}/{entry}" if entry else self.root
        layout.make(directory, folder=bool(entry))
        index = self.need_index()
        state = index.mailbox(name)
        imported: UidList | None = None
        if state is None:
            state, imported = self._first_time(name, directory)
        folder = self._folders[name] = MaildirMailbox(self, name, entry, state)
        if imported is not None:
            folder.load(imported)
        return folder

    def _first_time(self, name: str, directory: str) -> tuple[MailboxState, UidList | None]:
        """A mailbox the index does not know: with Dovecot's (or Courier's) UIDs if there are any."""
        index = self.need_index()
        imported = self._import_uids(directory)
        validity = imported.uid_validity if imported else self._new_uid_validity()
        first = imported.uid_next if imported else 1
        state = MailboxState(
            0, name, validity, first, first - 1 + UID_BLOCK, 1, MODSEQ_BLOCK, self._first_recent(directory, imported)
        )
        index.add_mailbox(state)
        index.commit_durably()
        return state, imported

    def _import_uids(self, directory: str) -> UidList | None:
        for file in UID_LISTS:
            text = read_text(f"{directory}/{file}")
            if text is not None:
                try:
                    return parse_uidlist(text)
                except BadUidList as error:
                    self.environment.report(f"{directory}/{file} is not usable ({error}): messages get new UIDs")
        return None

    @staticmethod
    def _first_recent(directory: str, imported: UidList | None) -> int:
        """Messages that no reader has moved to cur are recent; they will get the highest UIDs."""
        first = imported.uid_next if imported else 1
        if imported is None:
            # Files in cur are numbered first.
            with contextlib.suppress(FileNotFoundError):
                first += sum(name[0] != "." for name in os.listdir(f"{directory}/cur"))
        return first

    def _new_uid_validity(self) -> int:
        """Higher than any that was given before (also to mailboxes deleted since, or in a lost index), on disk before
        it is shown."""
        path = f"{self._index_directory}/{VALIDITY_FILE}"
        highest = self.need_index().highest_uid_validity()
        for text, base in ((read_text(path), 10), (read_text(f"{self.root}/dovecot-uidvalidity"), 16)):
            with contextlib.suppress(ValueError):
                highest = max(highest, int((text or "0").strip()[:10], base))
        validity = max(int(self.environment.now()), highest + 1)
        if validity > 0xFFFFFFFF:
            validity = highest + 1
        # Not waited for: it counts only if the index is lost and the clock stands behind.
        write_text(path, f"{validity}\n", durable=False)
        return validity

    def _paths(self) -> Iterator[str]:
        """The directories of all mailboxes."""
        yield self.root
        for entry in layout.scan(self.root).values():
            yield f"{self.root}/{entry}"

    # ── store.interface.Store ──

    @translated
    def mailboxes(self) -> Sequence[MailboxInfo]:
        return listing(layout.scan(self.root), subscriptions.load(self.root), special_use.load(self.root))

    @translated
    def open(self, name: str) -> MaildirMailbox:
        folder = self.folder(name)
        folder.alive()
        folder.load()
        return folder

    @translated
    def create(self, name: str, special_use: str = "") -> None:
        name = canonical(name)
        entry = layout.entry_of(name)
        if name == INBOX or self._exists(name):
            raise MailboxExists("Mailbox already exists")
        layout.make(f"{self.root}/{entry}", folder=True)
        reach(StoreStep.FOLDER_MADE)
        self.touched(self.root, f"{self.root}/{entry}")
        self.need_index().remove_mailbox(name)
        if special_use:
            self._set_special_use({name: special_use})

    def _set_special_use(self, changes: dict[str, str]) -> None:
        uses = special_use.load(self.root)
        after = {name: use for name, use in {**uses, **changes}.items() if use}
        if after != uses:
            special_use.save(self.root, after)

    @translated
    def delete(self, name: str) -> None:
        name = canonical(name)
        if name == INBOX:
            raise InvalidName("INBOX can't be deleted.")
        entry = self._entry(name)
        if entry is None:
            raise MailboxNotFound(f"Mailbox doesn't exist: {name}")
        index = self.need_index()
        path = f"{self.root}/{entry}"
        files = [file for part in ("new", "cur") for file in os.listdir(f"{path}/{part}")]
        self._bury_folder(name, files)
        trashed = f"{self.root}/{layout.TRASHED}{time.time_ns()}"
        os.rename(path, trashed)
        reach(StoreStep.FOLDER_TRASHED)
        self.touched(self.root)
        with index.grouped():
            index.remove_mailbox(name)
        folder = self._folders.pop(name, None)
        if folder is not None:
            folder.kill()
            self.reserving.discard(folder)
        self.size.add(-sum(file_size(file) or 0 for file in files), -len(files))
        self._set_special_use({name: ""})
        self.environment.volumes.executor.submit(shutil.rmtree, trashed, ignore_errors=True)

    def _bury_folder(self, name: str, files: Iterable[str]) -> None:
        """Deliveries that may come again must not make the folder's messages appear anew."""
        buried = [one for file in files if (one := self.may_return(file)) is not None]
        buried += self.deliveries.of_mailbox(name)
        if buried:
            self.deliveries.bury(buried)
            self.need_index().commit_durably()
            reach(StoreStep.TOMBSTONE_STORED)

    @translated
    def rename(self, old: str, new: str) -> None:
        old, new = canonical(old), canonical(new)
        entry = layout.entry_of(new)
        if new == INBOX or self._exists(new):
            raise MailboxExists("Target mailbox already exists")
        if old == INBOX:
            # RFC 9051 s6.3.6: the messages move, INBOX stays and is empty, what is below INBOX stays.
            layout.make(f"{self.root}/{entry}", folder=True)
            self.touched(self.root, f"{self.root}/{entry}")
            self.need_index().remove_mailbox(new)
            inbox = self.open(INBOX)
            inbox.move([row.uid for row in inbox.rows()], new, None)
            return
        if old in superiors(new):
            raise InvalidName("Can't rename a mailbox below itself")
        existing = layout.scan(self.root)
        moving = {name: new + name[len(old) :] for name in existing if name == old or name.startswith(old + "/")}
        if not moving:
            raise MailboxNotFound(f"Mailbox doesn't exist: {old}")
        if any(target in existing for target in moving.values()):
            raise MailboxExists("Target mailbox already exists")
        entries = {name: layout.entry_of(target) for name, target in moving.items()}
        for name in moving:
            path = f"{self.root}/{existing[name]}"
            self._bury_folder(name, (file for part in ("new", "cur") for file in os.listdir(f"{path}/{part}")))
        index = self.need_index()
        index.announce_rename(list(moving.items()))
        reach(StoreStep.RENAME_ANNOUNCED)
        for name in moving:
            os.rename(f"{self.root}/{existing[name]}", f"{self.root}/{entries[name]}")
        reach(StoreStep.FOLDER_RENAMED)
        self.touched(self.root)
        with index.grouped():
            index.rename_mailboxes(moving.items())
            index.rename_done()
        for name, target in moving.items():
            folder = self._folders.pop(name, None)
            if folder is not None:
                folder.renamed(target, entries[name])
                self._folders[target] = folder
        uses = special_use.load(self.root)
        self._set_special_use(
            {name: "" for name in moving} | {target: uses[name] for name, target in moving.items() if name in uses}
        )

    @translated
    def subscribe(self, name: str, subscribed: bool) -> None:
        name = canonical(name)
        os.makedirs(self.root, layout.DIRECTORY_MODE, exist_ok=True)
        if subscriptions.change(self.root, name, subscribed):
            self.touched(self.root)

    @translated
    def subscriptions(self) -> Sequence[str]:
        return sorted(subscriptions.load(self.root))

    @translated
    def status(self, name: str) -> MailboxStatus:
        return self.folder(name).status()

    @translated
    def quota(self) -> tuple[int, int]:
        return self.size.used(self._paths()), self.size.limit

    @translated
    def recount_quota(self) -> None:
        """Other programs may have changed files without saying so."""
        self.size.recount(self._paths())

    def check_quota(self, octets: int) -> None:
        if self.size.limit:
            self.size.check(octets, self._paths())

    def may_return(self, base: str) -> DeliveryId | None:
        return self.deliveries.may_return(base)

    def doom(self, folder: MaildirMailbox, files: Sequence[tuple[DeliveryId, str]]) -> None:
        self.deliveries.doom(folder, files)

    @translated
    def deliver(self, content: bytes, delivery: DeliveryId, mailbox: str, maybe_delivered: bool) -> bool:
        self.used_s = time.monotonic()
        return self.deliveries.deliver(content, delivery, mailbox, maybe_delivered)

    @translated
    def withdraw(self, deliveries: Sequence[DeliveryId]) -> None:
        self.deliveries.withdraw(deliveries)

    def retired(self, deliveries: Sequence[DeliveryId]) -> None:
        self.quietly(lambda: self.deliveries.retired(deliveries))

    def open_folder(self, name: str) -> MaildirMailbox | None:
        """The mailbox if it is loaded: then a delivery is told to its listeners at once."""
        folder = self._folders.get(name)
        return folder if folder is not None and folder.loaded and not folder.dead else None

    # ── idle times and the end ──

    @property
    def idle(self) -> bool:
        """Nobody listens and no delivery is under way: closing it costs nothing but the time to open it again."""
        return self.deliveries.settled and not any(folder.listeners for folder in self._folders.values())

    def tidy(self, unused_s: float) -> None:
        """Give back the memory of mailboxes that nobody has used for so long."""
        limit_s = time.monotonic() - unused_s
        self.deliveries.forget_views()
        for folder in self._folders.values():
            if folder.loaded and not folder.listeners and folder.used_s < limit_s:
                self.quietly(folder.unload)

    def rest(self, unused_s: float) -> None:
        """Nobody asks the index just now."""
        if self._index is not None:
            self._index.rest(unused_s)

    def close(self) -> None:
        """Waits for the disk; see `close_in_parts` for the event loop."""
        for part in self.close_in_parts():
            part()

    def close_in_parts(self) -> list[Callable[[], None]]:
        """Ends the use; what is left to do waits for the disk and may run in a thread, before anybody opens this store
        again."""
        self.deliveries.forget()
        if self._index is None:
            self._release_lock()
            return []
        for folder in self._folders.values():
            self.quietly(folder.unload)
            folder.dead = True
        self._folders.clear()
        index, self._index = self._index, None
        if index is None:
            return []
        finish = index.close()

        def rest() -> None:
            try:
                finish()
            finally:
                self._release_lock()

        return [rest]
