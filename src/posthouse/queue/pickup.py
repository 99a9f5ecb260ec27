"""pickup(8): local submissions from the maildrop directory into the journal, each exactly once.

A file is journalled, then removed, then (when the removal is on disk) its message is delivered. A crash in between
leaves a message that remembers its file: the next start removes the file and goes on. Only regular files with one link
and the directory's own group are taken: those were made there, by the user who owns them.
"""

import asyncio
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from posthouse.core.address import Address
from posthouse.core.envelope import Arrival, Envelope, Recipient
from posthouse.core.identifiers import QueueId
from posthouse.core.logline import Level, LogLine, Message
from posthouse.core.reply import MailError, Reply
from posthouse.queue.content import ContentFiles, LargeContent
from posthouse.queue.crashpoints import QueueStep
from posthouse.queue.inotify import DirectoryWatch
from posthouse.queue.ledger import Ledger
from posthouse.queue.loglines import PickedUp
from posthouse.queue.maildrop import BadDrop, Drop, parse_drop
from posthouse.queue.manager import Manager
from posthouse.queue.reception import Reception
from posthouse.queue.recovery import Spool
from posthouse.queue.submission import Submitted, normalize
from posthouse.runtime.crashpoints import reach

BATCH_OCTETS: Final = 16 * 1024 * 1024
"""Content read from the maildrop in one go; the rest follows when that is in the journal."""
UNWATCHED_SCAN_S: Final = 1.0
"""Pause between two looks while the kernel gives no notice (it limits how many watches a user may have)."""
AGAIN_S: Final = 5.0
"""Pause after a file that could not be accepted for now."""


@dataclass(slots=True)
class PickupSettings:
    scan_interval_s: float
    scan_limit: int
    recipient_limit: int
    message_size_limit: int
    large_size: int
    myorigin: str


@dataclass(slots=True)
class _File:
    name: str
    source: str
    uid: int
    arrived_s: float
    drop: Drop | None
    problem: str = ""


class Pickup:
    """Owns the maildrop directory's reading side."""

    def __init__(
        self,
        ledger: Ledger,
        files: ContentFiles,
        reception: Reception,
        manager: Manager,
        settings: PickupSettings,
        emit: Callable[[LogLine], None],
        complete: Callable[[Submitted], tuple[bytes, str]],
    ) -> None:
        """`complete` puts Received: and missing fields in; gives the message and its Message-ID. Raises MailError."""
        self._spool: Spool = ledger.spool
        self._ledger = ledger
        self._files = files
        self._reception = reception
        self._manager = manager
        self.settings = settings
        self._emit = emit
        self._complete = complete
        self._changed = asyncio.Event()
        self._changed.set()
        self._watch: DirectoryWatch | None = None
        self._refused: set[str] = set()
        """Files we said something about; said once."""
        self._unremoved: dict[str, _File] = {}
        """Files that are in the journal and still in the directory, by source: removed before anything else happens."""

    def start(self) -> None:
        try:
            self._watch = DirectoryWatch(self._spool.maildrop, self._changed.set)
        except OSError as error:
            words = f"no notice of new files ({error.strerror}): looking every {UNWATCHED_SCAN_S:g}s"
            self._emit(Message(Level.INFO, "pickup", words))

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def wake(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                pause_s = self.settings.scan_interval_s
                async with asyncio.timeout(pause_s if self._watch else min(pause_s, UNWATCHED_SCAN_S)):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            more, again = await self._scan()
            if again:
                asyncio.get_running_loop().call_later(AGAIN_S, self._changed.set)
            elif more:
                self._changed.set()

    def forget_sources(self, sources: list[str]) -> None:
        """At start: these files are in the journal already."""
        for source in sources:
            name, inode, _ = source.rsplit(":", 2)
            path = Path(self._spool.maildrop, name)
            try:
                if path.lstat().st_ino == int(inode):
                    path.unlink()
            except (OSError, ValueError):
                continue  # removed before the crash

    # ── one look ──

    async def _scan(self) -> tuple[bool, bool]:
        """(is there more, must something be tried again)."""
        if self._unremoved and not await self._remove_taken([]):
            return False, True
        try:
            found, more = await self._files.run(self._read_batch)
        except OSError as error:
            self._emit(Message(Level.WARNING, "pickup", f"warning: the maildrop cannot be read: {error}"))
            return False, True
        good = [file for file in found if file.drop is not None]
        for file in found:
            if file.drop is None:
                self._complain(file)
        if not good:
            return more and bool(found), False
        replies = await asyncio.gather(*(self._submit(file) for file in good))
        taken = [file for file, reply in zip(good, replies, strict=True) if reply is None]
        refusals = {
            file.name: (file, reply)
            for file, reply in zip(good, replies, strict=True)
            if reply is not None and reply.code >= 500
        }
        refused = [file for file, _ in refusals.values()]
        again = len(taken) + len(refused) < len(good)
        reach(QueueStep.MAILDROP_JOURNALLED)
        for name, (_, reply) in refusals.items():
            self._emit(Message(Level.WARNING, "pickup", f"warning: maildrop file {name} is set aside: {reply}"))
        self._unremoved.update((file.source, file) for file in taken)
        return more, not await self._remove_taken(refused) or again

    async def _remove_taken(self, refused: list[_File]) -> bool:
        """Only what is gone from the directory for good is delivered: else a crash would send it twice."""
        taken = list(self._unremoved.values())
        try:
            await self._files.run(lambda: self._remove(taken, refused))
        except OSError as error:
            self._emit(Message(Level.WARNING, "pickup", f"warning: the maildrop cannot be changed: {error}"))
            return False
        reach(QueueStep.MAILDROP_REMOVED)
        sources = {file.source for file in taken}
        self._unremoved.clear()
        self._manager.begin(sources)
        return True

    def _complain(self, file: _File) -> None:
        if file.name not in self._refused and len(self._refused) < self.settings.scan_limit:
            self._refused.add(file.name)
            self._emit(Message(Level.WARNING, "pickup", f"warning: maildrop file {file.name}: {file.problem}"))

    def _submit(self, file: _File) -> "asyncio.Future[Reply | None]":
        answer: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
        drop = file.drop
        assert drop is not None
        settings = self.settings
        queue_id = self._ledger.next_queue_id()
        sender = self._address(drop.sender) if drop.sender else None
        now_s = self._ledger.clock.now()
        submitted = Submitted(queue_id, file.uid, sender, drop.full_name, now_s, normalize(drop.content))
        try:
            content, message_id = self._complete(submitted)
        except MailError as error:
            answer.set_result(error.reply)
            return answer
        if settings.message_size_limit and len(content) > settings.message_size_limit + 64 * 1024:
            words = f"warning: {queue_id}: message is larger than message_size_limit"
            self._emit(Message(Level.WARNING, "pickup", words))
            answer.set_result(Reply.of(552, "5.3.4", "Message size exceeds fixed limit"))
            return answer
        envelope = Envelope(
            sender,
            tuple(Recipient(self._address(one), "", drop.notify) for one in drop.recipients),
            "7BIT" if content.isascii() else "8BITMIME",
            drop.smtputf8,
            drop.ret,
            drop.envid,
        )
        arrival = Arrival(file.arrived_s, "pickup", protocol="local", submitter_uid=file.uid, message_id=message_id)
        self._emit(PickedUp(queue_id, file.uid, str(sender) if sender else ""))
        self._enter(file, queue_id, envelope, arrival, content, answer)
        return answer

    def _enter(
        self,
        file: _File,
        queue_id: QueueId,
        envelope: Envelope,
        arrival: Arrival,
        content: bytes,
        answer: "asyncio.Future[Reply | None]",
    ) -> None:
        def enter(what: bytes | LargeContent) -> None:
            self._reception.enter(queue_id, envelope, arrival, what, answer.set_result, source=file.source)

        if len(content) <= self.settings.large_size:
            enter(content)
            return

        def begun(error: BaseException | None) -> None:
            if error is not None:
                answer.set_result(Reply.of(451, "4.3.0", "cannot write the message"))
            else:
                # A failed write fails the flush that `enter` waits for.
                self._files.append(large, content, lambda _: None)
                enter(large)

        large = self._files.begin(begun)

    def _address(self, text: str) -> Address:
        address = Address.split(text)
        return address if address.domain else address.with_domain(self.settings.myorigin)

    # ── in a thread ──

    def _read_batch(self) -> tuple[list[_File], bool]:
        directory = self._spool.maildrop
        group = os.stat(directory).st_gid
        found: list[_File] = []
        octets = 0
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in self._refused:
                    continue
                if len(found) >= self.settings.scan_limit or octets > BATCH_OCTETS:
                    return found, True
                file = self._read(directory, entry.name, group)
                if file is not None:
                    found.append(file)
                    octets += len(file.drop.content) if file.drop else 0
        return found, False

    def _read(self, directory: str, name: str, group: int) -> _File | None:
        try:
            # Not through links, and never waiting for somebody to open the other end of a pipe.
            descriptor = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            return _File(name, "", -1, 0.0, None, f"cannot be opened: {error.strerror}")
        try:
            facts = os.fstat(descriptor)
            source = f"{name}:{facts.st_ino}:{facts.st_mtime_ns}"
            if source in self._unremoved:
                return None
            if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1 or facts.st_gid != group:
                return _File(name, source, facts.st_uid, 0.0, None, "not a file that was written there: ignored")
            limit = self.settings.message_size_limit or 1 << 30
            if facts.st_size > limit + BATCH_OCTETS:
                return _File(name, source, facts.st_uid, 0.0, None, "larger than message_size_limit: ignored")
            with os.fdopen(descriptor, "rb", closefd=False) as stream:
                data = stream.read(facts.st_size)
            drop = parse_drop(data, recipient_limit=self.settings.recipient_limit)
            return _File(name, source, facts.st_uid, facts.st_mtime, drop)
        except BadDrop as error:
            return _File(name, "", -1, 0.0, None, f"{error}: ignored")
        finally:
            os.close(descriptor)

    def _remove(self, taken: list[_File], refused: list[_File]) -> None:
        directory, ops = self._spool.maildrop, self._ledger.ops
        for file in taken:
            try:
                ops.unlink(f"{directory}/{file.name}")
            except FileNotFoundError:
                continue  # its owner changed his mind a moment too late
        for file in refused:
            ops.rename(f"{directory}/{file.name}", f"{self._spool.corrupt}/{file.name}")
        ops.sync_directory(directory)
