"""NAME
    control - the log, and counters per client
SYNOPSIS
    control [started by master]
DESCRIPTION
    Writes the lines of all processes to the log file or to syslog (postlogd), and counts connections and events
    per client for those who enforce limits (anvil). Every process connects here; nothing it says is trusted beyond its
    being a line of text or a number.

    The file is maillog_file; lines of severity error and worse also go to the file of the same name in .err. Both are
    opened by master and handed over, here at start and again after logrotate (noticed within a second, or at SIGUSR1 to
    master).
SECURITY
    Opens no files. Holds descriptors for appending to the log only.
DIAGNOSTICS
    The highest counts per client every anvil_status_update_time, as anvil(8) logs them. How many lines were lost is a
    warning, once there is room for it.
BUGS
    While the disk is full, up to BACKLOG_OCTETS of lines wait; then the oldest are dropped and counted.
SEE ALSO
    smtpd(8), posthouse-logrotate(1)
"""

import asyncio
import contextlib
import operator
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final

from posthouse.config.configuration import Configuration
from posthouse.config.parameter import Settings
from posthouse.config.parameters.master import (
    ANVIL_CLIENT_LIMIT,
    ANVIL_RATE_TIME_UNIT,
    ANVIL_STATUS_UPDATE_TIME,
    SYSLOG_FACILITY,
    SYSLOG_NAME,
)
from posthouse.core.logline import Level, LogLine, Message
from posthouse.runtime import log_files
from posthouse.runtime.client_counters import ClientCounters
from posthouse.runtime.ipc import Connection, Responder, SchemaError
from posthouse.runtime.logging import LogBuffer
from posthouse.runtime.process import Context, ProcessMain
from posthouse.runtime.schema import (
    CONTROL,
    CountConnect,
    CountDisconnect,
    CountEvent,
    Counts,
    LogLines,
    LogRecord,
    Record,
)

BACKLOG_OCTETS: Final = 8 * 1024 * 1024
GATHER_S: Final = 0.005
"""From the first lines of a moment until they are written."""
GATHER_LINES: Final = 10_000
"""So many are written at once."""
_ROTATION_CHECK_S: Final = 1.0
_ASK_AGAIN_S: Final = 10.0
"""When master could not open the new file, it says so each time it is asked."""
_LAST_LINES_S: Final = 2.0
"""How long a stop waits for the last lines of the others."""
SYSLOG_SOCKET: Final = "/dev/log"
FACILITIES: Final = {
    name: number
    for number, name in enumerate(
        (
            *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
            *("ntp", "security", "console", "solaris-cron"),
            *("local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"),
        )
    )
}


class Statistics(LogLine, frozen=True):
    """anvil's periodic report, in Postfix's words; log analysers read it."""

    program: ClassVar[str] = "anvil"
    doc: ClassVar[str] = "Every anvil_status_update_time and at the end: the highest counts since the last report."

    what: str

    def text(self) -> str:
        return f"statistics: {self.what}"


class LogFile:
    """One file for appending. What the disk does not take waits, up to a limit."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._waiting: deque[bytes] = deque()
        self._waiting_octets = 0
        self.dropped = 0

    def write(self, data: bytes) -> None:
        if self._waiting:
            self._keep(data)
            self.retry()
            return
        rest = self._write(data)
        if rest:
            self._keep(rest)

    def retry(self) -> None:
        while self._waiting:
            data = self._waiting.popleft()
            self._waiting_octets -= len(data)
            rest = self._write(data)
            if rest:
                self._waiting.appendleft(rest)
                self._waiting_octets += len(rest)
                return

    def _write(self, data: bytes) -> bytes:
        try:
            return data[os.write(self._descriptor, data) :]
        except OSError:
            return data

    def _keep(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_octets += len(data)
        while self._waiting_octets > BACKLOG_OCTETS and len(self._waiting) > 1:
            lost = self._waiting.popleft()
            self._waiting_octets -= len(lost)
            self.dropped += lost.count(b"\n")

    def was_moved(self) -> bool:
        """Is the path another file by now, or none? stat is all this needs, and the jail allows it."""
        if self.path == log_files.STANDARD_OUTPUT:
            return False
        held = os.fstat(self._descriptor)
        try:
            named = os.stat(self.path)
        except OSError:
            return True
        return (held.st_dev, held.st_ino) != (named.st_dev, named.st_ino)

    def replace(self, descriptor: int) -> None:
        self.retry()
        os.close(self._descriptor)
        self._descriptor = descriptor

    def close(self) -> None:
        self.retry()
        os.close(self._descriptor)


class Syslog:
    """/dev/log, connected again when syslogd was restarted; lines it does not take at once are counted and dropped."""

    def __init__(self, facility: int, path: str = SYSLOG_SOCKET) -> None:
        self._facility = facility
        self._path = path
        self._sock: socket.socket | None = None
        self.dropped = 0

    def write(self, line: str) -> None:
        data = line.encode("utf-8", "surrogateescape")
        for _ in range(2):
            try:
                if self._sock is None:
                    self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
                    self._sock.connect(self._path)
                self._sock.send(data)
                return
            except BlockingIOError:
                break
            except OSError:
                if self._sock is not None:
                    self._sock.close()
                self._sock = None
        self.dropped += 1

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    @property
    def facility(self) -> int:
        return self._facility


class Counting:
    """What one connected process has counted and not taken back: released when it is gone."""

    def __init__(self) -> None:
        self.open: Counter[tuple[str, str]] = Counter()


class ControlProcess(ProcessMain):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        context.emit = self._emit
        settings = context.settings
        self._buffer = LogBuffer(context.clock, settings[SYSLOG_NAME])
        self._format = log_files.LineFormat(socket.gethostname())
        self._files: dict[str, LogFile] = {}
        self._routes: log_files.Routes
        self._next_routes: log_files.Routes | None = None
        self._syslog: Syslog | None = None
        self._counters = ClientCounters(settings[ANVIL_RATE_TIME_UNIT], settings[ANVIL_CLIENT_LIMIT])
        self._connections = 0
        self._idle = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ask_again_s = 0.0
        self._gathered: list[LogRecord] = []
        self._writing: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def before_jail(self) -> None:
        time.tzset()
        self._open()

    def _open(self) -> None:
        settings = self.context.settings
        self._routes = log_files.routes(self.context.configuration)
        self._files = {one: LogFile(one, log_files.open_file(one, settings)) for one in self._routes.files}
        self._set_syslog(settings)

    def _set_syslog(self, settings: Settings) -> None:
        if self._routes.everything:
            if self._syslog is not None:
                self._syslog.close()
                self._syslog = None
        elif self._syslog is None:
            self._syslog = Syslog(FACILITIES.get(settings[SYSLOG_FACILITY], FACILITIES["mail"]))

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.context.serve(CONTROL, self._handle, on_connection=self._on_connection)
        self._tasks = [
            asyncio.get_running_loop().create_task(self._look_after_files()),
            asyncio.get_running_loop().create_task(self._report_peaks()),
        ]

    async def reload(self, configuration: Configuration) -> None:
        await super().reload(configuration)
        self._counters.unit_s = configuration.main[ANVIL_RATE_TIME_UNIT]
        self._counters.limit = configuration.main[ANVIL_CLIENT_LIMIT]
        with contextlib.suppress(log_files.LogFileError):  # master says so, and the old files stay
            self._next_routes = log_files.routes(configuration)
        self.context.request_log_files()

    def log_files(self, descriptors: Mapping[str, int]) -> None:
        self._ask_again_s = 0.0
        for path, descriptor in descriptors.items():
            if path in self._files:
                self._files[path].replace(descriptor)
            else:
                self._files[path] = LogFile(path, descriptor)
        for path in [one for one in self._files if one not in descriptors]:
            self._files.pop(path).close()
        self._routes = self._next_routes or self._routes
        self._next_routes = None
        self._set_syslog(self.context.settings)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        # Everybody but master has gone before; what they said last may still be unread.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_LINES_S):
                while self._connections > 1:
                    self._idle.clear()
                    await self._idle.wait()
        self._say_peaks()
        self._loop = None
        self._write_gathered()
        for one in self._files.values():
            one.retry()

    # ── lines ──

    def _emit(self, line: LogLine) -> None:
        self._buffer.emit(line)
        self._gather(self._buffer.take().records)

    def _gather(self, records: Sequence[LogRecord]) -> None:
        """Processes send their lines at the same moments: what comes together is written in the order of its times.
        Warnings are written at once, as they are sent at once."""
        self._gathered += records
        is_urgent = any(one.level <= Level.WARNING for one in records)
        if is_urgent or self._loop is None or len(self._gathered) >= GATHER_LINES:
            self._write_gathered()
        elif self._writing is None:
            self._writing = self._loop.call_later(GATHER_S, self._write_gathered)

    def _write_gathered(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        gathered, self._gathered = self._gathered, []
        gathered.sort(key=operator.attrgetter("at_s"))
        self._write(gathered)

    def _write(self, records: Iterable[LogRecord]) -> None:
        lines: dict[str, list[str]] = {}
        routes = self._routes
        for one in records:
            if one.ident == "dovecot" and (own := routes.of_dovecot(one.level)):
                lines.setdefault(own, []).append(log_files.dovecot_line(one, routes.dovecot_stamp))
            elif self._syslog is not None:
                self._syslog.write(self._format.datagram(one, self._syslog.facility))
            else:
                line = self._format.line(one)
                lines.setdefault(routes.everything, []).append(line)
                if routes.errors and log_files.is_error(one):
                    lines.setdefault(routes.errors, []).append(line)
        for path, chosen in lines.items():
            if path in self._files:
                self._files[path].write("".join(chosen).encode("utf-8", "surrogateescape"))

    async def _look_after_files(self) -> None:
        while True:
            await asyncio.sleep(_ROTATION_CHECK_S)
            now = self.context.clock.monotonic()
            if now >= self._ask_again_s and any(one.was_moved() for one in self._files.values()):
                self._ask_again_s = now + _ASK_AGAIN_S
                self.context.request_log_files()
            for one in (*self._files.values(), *((self._syslog,) if self._syslog else ())):
                if isinstance(one, LogFile):
                    one.retry()
                if one.dropped:
                    lost, one.dropped = one.dropped, 0
                    self._emit(Message(Level.WARNING, "postlogd", f"warning: {lost} log lines were lost"))

    # ── counters ──

    def _on_connection(self, connection: Connection) -> None:
        connection.peer = counting = Counting()
        self._connections += 1

        def gone(_: object) -> None:
            self._connections -= 1
            self._idle.set()
            for (service, client), count in counting.open.items():
                for _one in range(count):
                    self._counters.disconnect(service, client)

        connection.closed.add_done_callback(gone)

    def _handle(
        self,
        connection: Connection,
        record: Record,
        descriptors: list[int],  # noqa: ARG002 - this endpoint carries none
        respond: Responder | None,
    ) -> None:
        match record:
            case LogLines(records):
                self._gather(records)
            case CountConnect(service, client):
                assert respond is not None
                connection.peer.open[service, client] += 1
                respond(Counts(*self._counters.connect(service, client, self.context.clock.monotonic())))
            case CountDisconnect(service, client):
                counting: Counting = connection.peer
                if counting.open[service, client] > 0:
                    counting.open[service, client] -= 1
                    self._counters.disconnect(service, client)
                if not counting.open[service, client]:
                    del counting.open[service, client]
            case CountEvent(service, client, event):
                assert respond is not None
                respond(Counts(*self._counters.event(service, client, event, self.context.clock.monotonic())))
            case _:
                raise SchemaError(f"unexpected {type(record).__name__}")

    async def _report_peaks(self) -> None:
        while True:
            await asyncio.sleep(self.context.settings[ANVIL_STATUS_UPDATE_TIME])
            self._say_peaks()
            self._counters.expire(self.context.clock.monotonic())

    def _say_peaks(self) -> None:
        offset = self.context.clock.now() - self.context.clock.monotonic()
        unit = f"{self._counters.unit_s:g}s"
        for what, peak in self._counters.peaks.items():
            per_unit = f"/{unit}" if what.endswith("rate") else ""
            at = self._format.stamp(peak.at_s + offset)
            self._emit(Statistics(f"max {what} {peak.value}{per_unit} for ({peak.who}) at {at}"))
        self._counters.peaks.clear()
        size, at_s = self._counters.peak_size
        if size:
            self._emit(Statistics(f"max cache size {size} at {self._format.stamp(at_s + offset)}"))
            self._counters.peak_size = (0, 0.0)
