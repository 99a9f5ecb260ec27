"""Messages and journals for tests below the queue process."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from posthouse.core.address import Address
from posthouse.core.envelope import Arrival
from posthouse.core.identifiers import QueueId
from posthouse.core.logline import Level
from posthouse.queue.fileops import FileOps
from posthouse.queue.fold import QueueState
from posthouse.queue.housekeeping import Spares
from posthouse.queue.journal import Failure, Journal, Written
from posthouse.queue.message import Message, QueuedRecipient
from posthouse.queue.record import AnyRecord, Enter
from posthouse.queue.recovery import Recovered, Spool, recover
from posthouse.runtime.kernel_flush import KernelFlush

SEGMENT_OCTETS = 1 << 20


def message(queue_id: str, *to: str, size: int = 0, arrived_s: float = 1000.0) -> Message:
    recipients = {
        number: QueuedRecipient(Address.split(one)) for number, one in enumerate(to or ("rcpt@example.test",))
    }
    return Message(
        QueueId(queue_id),
        Address("sender", "example.org"),
        recipients,
        len(recipients),
        Arrival(arrived_s, "smtp"),
        arrived_s,
        size,
    )


def enter(queue_id: str, content: bytes, *to: str) -> Enter:
    return Enter(message(queue_id, *to, size=len(content)), 0, len(content))


class Reports:
    """What recovery says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, level: Level, words: str) -> None:
        self.lines.append(f"{level.name}: {words}")


class Book:
    """A journal with its fold, without the process around it."""

    def __init__(self, directory: Path, *, ops: FileOps | None = None, segment_octets: int = SEGMENT_OCTETS) -> None:
        self.spool = Spool(str(directory))
        self.reports = Reports()
        self.recovered: Recovered = recover(self.spool, self.reports)
        self.state: QueueState = self.recovered.state
        self.failures: list[Failure] = []
        self.batches = 0
        self.spares = Spares(self.spool.journal, 0)
        self.journal = Journal(
            self.spool.journal,
            ops or FileOps(),
            segment_octets=segment_octets,
            next_number=self.recovered.next_number,
            previous_end=self.recovered.previous_end,
            apply=self._apply,
            batch_done=self._count,
            failed=self.failures.append,
            take_reserve=self.spares.take_reserve,
            kernel_flush=KernelFlush.open(asyncio.get_running_loop()) if ops is None else None,
        )

    def _apply(self, records: tuple[AnyRecord, ...], written: Written) -> None:
        self.state.apply(records, written.lsn, written.end, written.content, 0.0)

    def _count(self) -> None:
        self.batches += 1

    async def write(self, *records: AnyRecord, content: bytes = b"", is_fact: bool = False) -> None:
        """Raises OSError."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def written(error: OSError | None) -> None:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self.journal.append(tuple(records), content, written, is_fact=is_fact)
        await done

    async def close(self) -> None:
        await self.journal.close()
        self.recovered.index.close()


def book_of(directory: Path, fill: "Callable[[Book], object]") -> None:
    """Write a journal and stop as a crash would: nothing but the journal knows."""

    async def run() -> None:
        book = Book(directory)
        await fill(book)  # type: ignore[misc]
        await book.close()

    asyncio.run(run())
