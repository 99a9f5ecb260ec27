"""From log lines to the control process: rendered here, batched, written there.

Each process keeps at most `MAX_BACKLOG` lines while control is away; then the oldest are dropped and counted.
"""

import os
import traceback
from collections import deque
from typing import Final

from posthouse.core.clock import Clock
from posthouse.core.logline import Level, LogLine, Message, escape
from posthouse.runtime.schema import LogLines, LogRecord

MAX_BACKLOG: Final = 10_000


def internal_error(process: str, what: str, error: BaseException | None) -> Message:
    """Our bug, with the whole traceback on one (escaped) line: it must reach the log, whatever reads it."""
    if error is None:
        return Message(Level.ERROR, process, what)
    trace = " | ".join(
        part.strip() for line in traceback.format_exception(error) for part in line.splitlines() if part.strip()
    )
    return Message(Level.PANIC, process, f"panic: {what}: {trace}")


class LogBuffer:
    """Collects records; `take()` gives the batch to send. Rendering happens once, in the process that knows."""

    def __init__(self, clock: Clock, syslog_name: str) -> None:
        self._clock = clock
        self._syslog_name = syslog_name
        self._pid = os.getpid()
        self._records: deque[LogRecord] = deque(maxlen=MAX_BACKLOG)
        self.dropped = 0

    def emit(self, line: LogLine) -> Level:
        """The answer is how bad it is."""
        if isinstance(line, Message):
            level, program, is_dovecot = line.severity, line.service, line.is_dovecot
        else:
            level, program, is_dovecot = line.level, line.program, line.dovecot
        text = escape(line.text())
        if is_dovecot:
            ident, text = "dovecot", f"{program}: {text}"
        else:
            ident = f"{self._syslog_name}/{program}"
        if len(self._records) == MAX_BACKLOG:
            self.dropped += 1
        self._records.append(LogRecord(self._clock.now(), int(level), ident, self._pid, text))
        return level

    def __len__(self) -> int:
        return len(self._records)

    def take(self, limit: int = 1000) -> LogLines:
        records = self._records
        return LogLines(tuple(records.popleft() for _ in range(min(limit, len(records)))))
