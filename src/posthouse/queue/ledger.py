"""The durable half of the queue in one place: journal, fold, index and queue ids.

Everything that changes a message goes through `append` (the asker is told when it is on stable storage, or that it is
not) or `record` (a fact, such as the result of a delivery, that must get into the journal sooner or later).
"""

import asyncio
import functools
from collections.abc import Callable

from posthouse.core.clock import Clock
from posthouse.core.identifiers import QueueId, QueueIdSource
from posthouse.core.logline import Level
from posthouse.queue.fileops import FileOps
from posthouse.queue.index import IndexThread
from posthouse.queue.journal import Callback, Failure, Journal, Written, describe
from posthouse.queue.record import AnyRecord, Clean
from posthouse.queue.recovery import Recovered, Report, Spool
from posthouse.runtime.kernel_flush import KernelFlush

RECORD_AGAIN_S = 1.0
"""Pause before a fact is offered to a failing disk again."""


class Ledger:
    """Owns journal, state and index from the end of recovery to `close`."""

    def __init__(
        self,
        spool: Spool,
        recovered: Recovered,
        *,
        clock: Clock,
        ops: FileOps,
        report: Report,
        segment_octets: int,
        take_spare: Callable[[], str],
        take_reserve: Callable[[], str],
    ) -> None:
        self.spool = spool
        self.state = recovered.state
        self.state.end_recovery()
        self.clock = clock
        self.ops = ops
        self._report = report
        self._loop = asyncio.get_running_loop()
        self.batch_done: Callable[[], None] = lambda: None
        self.index = IndexThread(recovered.index)
        self.journal = Journal(
            spool.journal,
            ops,
            segment_octets=segment_octets,
            next_number=recovered.next_number,
            previous_end=recovered.previous_end,
            apply=self._apply,
            batch_done=self._batch_done,
            failed=self._failed,
            take_spare=take_spare,
            take_reserve=take_reserve,
            kernel_flush=KernelFlush.open(self._loop) if type(ops) is FileOps else None,
        )
        self._ids: QueueIdSource | None = None
        self._lease = self.state.lease
        self._closing = False

    async def begin(self) -> None:
        """Take a lease for our own queue ids (bounces, pickup); raises OSError if not even that can be written."""
        done: asyncio.Future[int] = self._loop.create_future()

        def taken(number: int, error: OSError | None) -> None:
            if error is None:
                done.set_result(number)
            else:
                done.set_exception(error)

        self.lease(taken)
        self._ids = QueueIdSource(await done)

    def lease(self, callback: Callable[[int, OSError | None], None]) -> None:
        """A number that was never given out before, and never will be again: its record is flushed first."""
        self._lease += 1
        number = self._lease
        self.journal.append_lease(number, functools.partial(callback, number))

    def next_queue_id(self) -> QueueId:
        assert self._ids is not None
        return self._ids.next(self.clock.now())

    def append(self, records: tuple[AnyRecord, ...], content: bytes, callback: Callback) -> None:
        self.journal.append(records, content, callback)

    def record(self, records: tuple[AnyRecord, ...], content: bytes, callback: Callable[[], None]) -> None:
        """What has happened cannot be refused: on a failing disk it is written again until it is there."""

        def written(error: OSError | None) -> None:
            if error is None:
                callback()
            elif not self._closing:
                self._loop.call_later(RECORD_AGAIN_S, append)

        def append() -> None:
            self.journal.append(records, content, written, is_fact=True)

        append()

    async def write(self, records: tuple[AnyRecord, ...], content: bytes = b"", *, is_fact: bool = False) -> None:
        """As `append`, to be awaited; raises OSError. A fact may use the reserve of a full file system."""
        done: asyncio.Future[None] = self._loop.create_future()

        def written(error: OSError | None) -> None:
            if not done.done():
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)

        self.journal.append(records, content, written, is_fact=is_fact)
        await done

    def _apply(self, records: tuple[AnyRecord, ...], written: Written) -> None:
        self.state.apply(records, written.lsn, written.end, written.content, self.clock.monotonic())

    def _batch_done(self) -> None:
        self.batch_done()

    def _failed(self, failure: Failure) -> None:
        where = f"segment {failure.segment:012x}, sealed at {failure.end}" if failure.end else "no segment"
        self._report(
            Level.ERROR,
            f"error: the journal cannot be written ({describe(failure.error)}; {where}): "
            "nothing of this batch was acknowledged",
        )

    async def close(self, *, clean: bool) -> None:
        """`clean`: no delivery is under way, so that the next start need not be careful."""
        self._closing = True
        if clean:
            try:
                await self.write((Clean(),), is_fact=True)
            except OSError:
                pass  # then the next start is careful
        await self.journal.close()
        await self.index.close()
