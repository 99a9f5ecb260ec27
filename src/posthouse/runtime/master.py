"""master: starts the processes of the process table, keeps them running, replaces and stops them.

Single-threaded, without asyncio, protocol code or secrets. It makes every socket before the first child exists and
keeps them, so that a child may die without a client seeing a refused connection. What a child may do is decided here,
before the child runs its first line of service code.
"""

import contextlib
import functools
import gc
import heapq
import itertools
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import setproctitle

from posthouse import __version__
from posthouse.config.configuration import Configuration, Packed
from posthouse.config.parameter import Settings
from posthouse.config.parameters.master import (
    PER_CORE_PROCESS_LIMIT,
    PROCESS_DRAIN_LIMIT,
    PROCESS_START_LIMIT,
    PROCESS_STOP_LIMIT,
    RUN_DIRECTORY,
    SERVICE_THROTTLE_TIME,
    SYSLOG_NAME,
)
from posthouse.core.logline import Level, LogLine, Message
from posthouse.runtime import child as child_process
from posthouse.runtime import listeners, log_files, memory, ready, sockets
from posthouse.runtime.clock import SystemClock
from posthouse.runtime.control_channel import (
    MAX_DESCRIPTORS,
    AuthServer,
    ChannelClosed,
    ConnectAuthServer,
    ControlChannel,
    Drain,
    Failed,
    FromChild,
    FromMaster,
    LogFiles,
    OpenLogFiles,
    Ready,
    Reload,
    Restart,
    Stop,
)
from posthouse.runtime.ipc import prepare_codecs
from posthouse.runtime.log_shipping import LogPipe
from posthouse.runtime.logging import LogBuffer, internal_error
from posthouse.runtime.pid_file import PidFile
from posthouse.runtime.preload import preload
from posthouse.runtime.privileges import Identity
from posthouse.runtime.process import IpcListener
from posthouse.runtime.schema import AUTH_LOGIN, CONTROL, Endpoint
from posthouse.runtime.spec import ProcessSpec, Replacement, Workers
from posthouse.runtime.supervision import Child, Phase, Slot

_MAX_ERROR_OUTPUT: Final = 8192
_DESCRIPTORS: Final = 65536
_PAUSE_AFTER_BUG_S: Final = 0.1
"""If the same bug strikes in every turn, it may not eat a core."""
_KILL_GRACE_S: Final = 2.0
"""Between the time limit that a child knows and SIGKILL."""
_ORDER_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)


class StartError(Exception):
    """The system cannot start; the text says why."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What master is told by the command that starts it. `identities` is empty when everything runs as the caller;
    `close_jail` is called in the child."""

    specs: Sequence[ProcessSpec]
    identities: Mapping[str, Identity]
    root_endpoints: tuple[Endpoint, ...]
    everybodys_endpoints: tuple[Endpoint, ...]
    load: Callable[[], Configuration]
    close_jail: Callable[[ProcessSpec, Configuration, Identity | None], str]
    opens: Callable[[ProcessSpec, Configuration], Sequence[str]] = lambda *_: ()
    """Files that a process reads at a reload and may not open by itself."""
    auth_server: Callable[[Configuration], str] = lambda _: ""
    """The Unix socket of a foreign auth server, to which only master may connect."""
    sockets: Mapping[tuple[str, int], socket.socket] = field(default_factory=dict)
    """Bound by the command already, by (host, port)."""
    on_ready: Callable[[], None] = lambda: None
    on_turn: Callable[[], None] = lambda: None
    """Called once per turn of the loop (a sandbox looks after the command it runs)."""


class Master:
    """Owns every listener and IPC socket, and all children. `run` is the whole life."""

    def __init__(self, configuration: Configuration, installation: Installation) -> None:
        self._configuration = configuration
        self._installation = installation
        settings = configuration.main
        self._run_directory = settings[RUN_DIRECTORY]
        self._clock = SystemClock()
        self._log = LogPipe(
            f"{self._run_directory}/{CONTROL.server}.0/{CONTROL.name}.master",
            LogBuffer(self._clock, settings[SYSLOG_NAME]),
        )
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._specs: list[ProcessSpec] = []
        self._workers: dict[str, int] = {}
        self._slots: list[Slot] = []
        self._children: dict[int, Child] = {}
        self._ipc: dict[tuple[str, int], list[tuple[sockets.SocketPlan, socket.socket]]] = {}
        self._listeners: dict[tuple[str, str, int], tuple[listeners.ListenerPlan, socket.socket]] = {}
        self._wakeup: tuple[socket.socket, socket.socket] | None = None
        self._lock: PidFile | None = None
        self._is_ready = False
        self._reload_wanted = False
        """SIGHUP came before everything was running."""
        self._stopping: list[str] | None = None
        self._failure = ""
        self._reloading: set[Slot] = set()

    # ── life ──

    def run(self) -> int:
        """Until SIGTERM or SIGINT. If it cannot start: StartError, or what listeners, sockets and pid file raise."""
        setproctitle.setproctitle("posthouse: master")
        os.makedirs(self._run_directory, mode=sockets.DIRECTORY_MODE, exist_ok=True)
        os.chmod(self._run_directory, sockets.DIRECTORY_MODE)
        self._lock = PidFile.take(self._run_directory)
        try:
            self._prepare()
            self._catch_signals()
            for slot in self._slots:
                slot.child = self._fork(slot)
            while self._children or self._stopping is None:
                self._turn()
                if self._stopping is not None and not self._children:
                    break
        finally:
            self._release()
        if self._failure:
            raise StartError(self._failure)
        return 0

    def _prepare(self) -> None:
        """The image, then every socket: from here on nothing but forks is left to fail."""
        _raise_descriptor_limit()
        preload()
        self._specs = list(self._installation.specs)
        for spec in self._specs:
            child_process.load_main(spec)
        cores = len(os.sched_getaffinity(0))
        limit = self._configuration.main[PER_CORE_PROCESS_LIMIT]
        self._workers = {
            spec.name: min(cores, limit) if spec.workers is Workers.PER_CORE else 1 for spec in self._specs
        }
        self._slots = [Slot(spec, worker) for spec in self._specs for worker in range(self._workers[spec.name])]
        self._open_listeners(self._configuration)
        prepare_codecs(link.endpoint for spec in self._specs for link in spec.links)
        for settings in self._all_settings():
            settings.parse_everything()
        owners = {
            spec.name: one.owner if (one := self._installation.identities.get(spec.name)) else None
            for spec in self._specs
        }
        plans = sockets.plan(
            self._specs,
            owners,
            self._installation.root_endpoints,
            self._installation.everybodys_endpoints,
            CONTROL,
        )
        self._ipc = sockets.make_sockets(self._run_directory, plans, self._workers)
        # What exists now is shared by all children and never collected: their garbage collectors do not touch (and
        # so do not copy) these pages.
        gc.collect()
        memory.fill_holes()
        gc.freeze()
        memory.forget_library_pages()

    def _all_settings(self) -> Iterator[Settings]:
        yield self._configuration.main
        yield self._configuration.dovecot
        for one, _ in self._listeners.values():
            yield one.settings

    def _release(self) -> None:
        for pid in list(self._children):  # only after an exception of our own
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        for _, sock in self._listeners.values():
            sock.close()
        for made in self._ipc.values():
            for one, sock in made:
                del one
                with contextlib.suppress(OSError):
                    os.unlink(sock.getsockname())
                sock.close()
        self._log.close()
        if self._lock is not None:
            self._lock.release()

    def _turn(self) -> None:
        self._installation.on_turn()
        timeout: float | None = None
        if self._timers:
            timeout = max(0.0, self._timers[0][0] - time.monotonic())
        if not self._log.is_empty:
            timeout = 0.05 if timeout is None else min(timeout, 0.05)
        for key, events in self._selector.select(timeout):
            self._guarded(functools.partial(key.data, events))
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            self._guarded(heapq.heappop(self._timers)[2])
        self._log.flush()

    def _guarded(self, action: Callable[[], object]) -> None:
        """A bug here must not end a dozen healthy processes."""
        try:
            action()
        except Exception as error:  # the edge of master
            self._log.emit(internal_error("master", "in the loop", error))
            time.sleep(_PAUSE_AFTER_BUG_S)

    def _later(self, pause_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + pause_s, next(self._numbers), action))

    # ── signals ──

    def _catch_signals(self) -> None:
        reading, writing = socket.socketpair()
        reading.setblocking(False)
        writing.setblocking(False)
        self._wakeup = (reading, writing)
        for number in _ORDER_SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        self._selector.register(reading, selectors.EVENT_READ, self._on_signals)

    def _on_signals(self, _: int) -> None:
        assert self._wakeup is not None
        with contextlib.suppress(BlockingIOError):
            for number in set(self._wakeup[0].recv(4096)):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._say(Level.INFO, f"terminating on signal {number}")
                    self.stop()
                elif number == signal.SIGHUP:
                    self.reload()
                elif number == signal.SIGUSR1:
                    self._reopen_logs()
                elif number == signal.SIGCHLD:
                    self._reap()

    # ── listeners ──

    def _open_listeners(self, configuration: Configuration) -> None:
        """All or nothing: raises ListenError with the old listeners untouched."""
        wanted = {one.key: one for one in listeners.plan(configuration)}
        opened: dict[tuple[str, str, int], socket.socket] = {}
        kept = {key: sock for key, (_, sock) in self._listeners.items()}
        try:
            for key, one in wanted.items():
                if key not in kept:
                    given = self._installation.sockets.get((one.host, one.port))
                    opened[key] = listeners.bind(one) if given is None else listeners.take(given)
        except listeners.ListenError:
            for sock in opened.values():
                sock.close()
            raise
        for key, sock in kept.items():
            if key not in wanted:
                sock.close()
        self._listeners = {key: (one, opened.get(key) or kept[key]) for key, one in wanted.items()}

    def _listeners_of(self, spec: ProcessSpec) -> frozenset[tuple[str, str, int]]:
        """A process gets its listeners at its start: with others it has to be another one."""
        return frozenset(key for key, (one, _) in self._listeners.items() if one.service in spec.listens)

    # ── children ──

    def _fork(self, slot: Slot) -> Child:
        ours, theirs = ControlChannel.pair()
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(writing, True)
        sys.stdout.flush()
        sys.stderr.flush()
        before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        pid = os.fork()
        if pid == 0:
            self._become_child(slot, ours, theirs, reading, writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        os.close(writing)
        child = Child(slot.spec, slot.worker, pid, ours, reading, time.monotonic(), self._listeners_of(slot.spec))
        self._children[pid] = child
        self._selector.register(ours, selectors.EVENT_READ, lambda events: self._on_channel(child, events))
        self._selector.register(reading, selectors.EVENT_READ, lambda _: self._on_output(child))
        self._later(self._configuration.main[PROCESS_START_LIMIT], lambda: self._check_started(child))
        return child

    def _become_child(
        self, slot: Slot, ours: ControlChannel, theirs: ControlChannel, reading: int, writing: int
    ) -> None:
        """Keep what the process table gives to this process, close everything else, never return."""
        try:
            master_pid = os.getppid()
            signal.set_wakeup_fd(-1)
            for number in _ORDER_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            for descriptor in (null, writing, reading):
                os.close(descriptor)
            ours.close()
            self._selector.close()
            assert self._wakeup is not None
            for sock in self._wakeup:
                sock.close()
            self._log.close()
            for other in self._children.values():
                other.channel.close()
                if other.stderr >= 0:
                    os.close(other.stderr)
            spec = slot.spec
            mine = []
            for one, sock in self._listeners.values():
                if one.service in spec.listens:
                    mine.append(listeners.listener(one, sock))
                else:
                    sock.close()
            ipc = []
            for key, made in self._ipc.items():
                for planned, sock in made:
                    if key == (spec.name, slot.worker):
                        ipc.append(IpcListener(planned.endpoint, planned.client, sock))
                    else:
                        sock.close()
            for sock in self._installation.sockets.values():
                sock.close()
            kept = [theirs.fileno(), *(one.sock.fileno() for one in mine), *(one.sock.fileno() for one in ipc)]
            if self._lock is not None:
                kept.append(self._lock.fileno())
            child_process.close_all_but(kept)
            identity = self._installation.identities.get(spec.name)
            birth = child_process.Birth(
                spec,
                slot.worker,
                dict(self._workers),
                self._configuration,
                tuple(mine),
                tuple(ipc),
                self._run_directory,
                theirs,
                master_pid,
                lambda: self._installation.close_jail(spec, self._configuration, identity),
            )
            child_process.run(birth)
        finally:
            os._exit(child_process.EXIT_FAILURE)

    def _send(self, child: Child, message: FromMaster, descriptors: tuple[int, ...] = ()) -> None:
        if not child.channel_open:
            return
        child.channel.send(message, descriptors)
        self._watch(child)

    def _watch(self, child: Child) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.channel.has_output else 0)
        self._selector.modify(child.channel, events, lambda what: self._on_channel(child, what))

    def _on_channel(self, child: Child, events: int) -> None:
        if not child.channel_open:  # reaped in the same turn
            return
        if events & selectors.EVENT_WRITE:
            child.channel.flush()
            self._watch(child)
        if not events & selectors.EVENT_READ:
            return
        try:
            messages = child.channel.receive()
        except ChannelClosed:
            self._selector.unregister(child.channel)
            child.channel_open = False
            return
        for message in messages:
            self._on_message(child, message)

    def _on_message(self, child: Child, message: FromChild | FromMaster) -> None:
        match message:
            case Ready(jail):
                self._on_child_ready(child, jail)
            case Failed(reason):
                child.failure = reason
            case Restart(reason):
                child.failure = reason
                self._say(Level.WARNING, f"warning: {child.name} asks to be started again: {reason}")
            case OpenLogFiles() if child.spec.name == CONTROL.server:
                self._reopen_logs()
            case ConnectAuthServer() if child.spec.name == AUTH_LOGIN.server:
                self._connect_auth_server(child)
            case _:
                self._say(Level.WARNING, f"warning: {child.name} sent {type(message).__name__}")

    def _on_child_ready(self, child: Child, jail: str) -> None:
        if child.phase is not Phase.STARTING:
            return
        child.phase = Phase.RUNNING
        if jail:
            self._say(Level.INFO, f"{child.name} ready, pid {child.pid}, {jail}")
        slot = self._slot(child)
        if slot.replacement is child:
            slot.replacement = None
            old, slot.child = slot.child, child
            if old is not None:
                self._drain(slot, old)
        self._reloading.discard(slot)
        if not self._is_ready and self._stopping is None and self._all_running():
            self._is_ready = True
            self._say(
                Level.INFO,
                f"daemon started -- version {__version__}, configuration {self._configuration.directory}",
            )
            ready.notify("READY=1", f"MAINPID={os.getpid()}")
            self._installation.on_ready()
            if self._reload_wanted:
                self.reload()
        elif self._is_ready and not self._reloading:
            ready.notify("READY=1")

    def _all_running(self) -> bool:
        return all(slot.child is not None and slot.child.phase is Phase.RUNNING for slot in self._slots)

    def _check_started(self, child: Child) -> None:
        if self._children.get(child.pid) is child and child.phase is Phase.STARTING:
            self._say(Level.ERROR, f"error: {child.name} (pid {child.pid}) is not ready in time; killing it")
            child.failure = child.failure or "not ready in time"
            self._kill(child)

    def _on_output(self, child: Child) -> bool:
        """What a child writes to standard error (a crash in C code, an interpreter message) belongs into the log. Says
        whether there may be more."""
        if child.stderr < 0:
            return False
        try:
            data = os.read(child.stderr, 4096)
        except BlockingIOError:
            return False
        child.output += data
        self._log_output(child, final=not data)
        if not data:
            self._close_output(child)
        return bool(data)

    def _close_output(self, child: Child) -> None:
        if child.stderr >= 0:
            self._selector.unregister(child.stderr)
            os.close(child.stderr)
            child.stderr = -1

    def _log_output(self, child: Child, *, final: bool) -> None:
        lines = child.output.split(b"\n")
        child.output = b"" if final or len(lines[-1]) > _MAX_ERROR_OUTPUT else lines.pop()
        for line in lines:
            if line.strip():
                text = line[:_MAX_ERROR_OUTPUT].decode("utf-8", "backslashreplace")
                self._say(Level.WARNING, f"warning: {child.name} (pid {child.pid}) says: {text}")

    def _slot(self, child: Child) -> Slot:
        return next(one for one in self._slots if one.spec is child.spec and one.worker == child.worker)

    def _kill(self, child: Child) -> None:
        if self._children.get(child.pid) is child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)

    def _reap(self) -> None:
        for pid in list(self._children):
            try:
                found, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                found, status = pid, 0
            if found:
                self._on_exit(self._children.pop(pid), status)

    def _on_exit(self, child: Child, status: int) -> None:
        if child.channel_open:
            with contextlib.suppress(ChannelClosed):  # its last words
                for message in child.channel.receive():
                    self._on_message(child, message)
            self._selector.unregister(child.channel)
            child.channel_open = False
        child.channel.close()
        while self._on_output(child):
            pass
        self._close_output(child)  # even if a grandchild still holds the other end
        slot = self._slot(child)
        slot.finishing.discard(child)
        if child.phase not in (Phase.STOPPING, Phase.DRAINING) or status != 0:
            self._say_exit(child, status)
        was_current = slot.child is child
        if was_current:
            slot.child = None
        was_replacement = slot.replacement is child
        if was_replacement:
            slot.replacement = None
            self._reloading.discard(slot)
        if self._stopping is not None:
            self._continue_stop()
        elif was_replacement:
            # The new configuration cannot be used by this process: the old one goes on with the old one.
            self._say(Level.ERROR, f"error: {child.name} cannot start with the new configuration: {child.failure}")
        elif was_current and child.phase is Phase.STARTING and not self._is_ready:
            self._failure = f"{child.name} cannot start: {child.failure or _describe(status)}"
            self.stop()
        elif was_current:
            self._restart(slot, time.monotonic() - child.started_s)

    def _say_exit(self, child: Child, status: int) -> None:
        self._say(Level.WARNING, f"warning: process {child.name} pid {child.pid} {_describe(status)}")

    def _restart(self, slot: Slot, lived_s: float) -> None:
        pause = slot.pause_before_restart(lived_s, self._configuration.main[SERVICE_THROTTLE_TIME])
        if pause:
            self._say(
                Level.WARNING, f"warning: {slot.spec.name} {slot.worker}: bad command startup -- throttling {pause:g}s"
            )
        self._later(pause, lambda: self._start_again(slot))

    def _start_again(self, slot: Slot) -> None:
        if self._stopping is None and slot.child is None:
            slot.child = self._fork(slot)

    # ── reload ──

    def reload(self) -> None:
        """Read the configuration again. Wrong ones change nothing but the log."""
        if self._stopping is not None:
            return
        if not self._is_ready:
            self._reload_wanted = True
            return
        ready.notify_reloading()
        try:
            configuration = self._installation.load()
            errors = [one for one in configuration.problems if one.severity == "error"]
            for problem in configuration.problems:
                level = Level.ERROR if problem.severity == "error" else Level.WARNING
                self._say(level, f"{problem.severity}: {problem}")
            if errors:
                self._say(Level.ERROR, "error: the configuration is not reloaded, because it has errors")
                ready.notify("READY=1")
                return
            self._open_listeners(configuration)
        except Exception as error:  # whatever is wrong with it, mail goes on
            self._say(Level.ERROR, f"error: the configuration is not reloaded: {error}")
            ready.notify("READY=1")
            return
        self._configuration = configuration
        self._say(Level.INFO, f"reload -- version {__version__}, configuration {configuration.directory}")
        packed = configuration.pack()
        for slot in self._slots:
            is_in_place = slot.spec.on_reload is Replacement.IN_PLACE
            if is_in_place and (slot.child is None or slot.child.listeners == self._listeners_of(slot.spec)):
                if slot.child is not None:
                    self._send_reload(slot.child, packed, self._installation.opens(slot.spec, configuration))
            elif slot.child is not None:
                if slot.replacement is not None:  # of a reload a moment ago
                    self._order_stop(slot.replacement)
                    slot.finishing.add(slot.replacement)
                slot.replacement = self._fork(slot)
                self._reloading.add(slot)
        if not self._reloading:
            ready.notify("READY=1")

    def _send_reload(self, child: Child, packed: Packed, paths: Sequence[str]) -> None:
        # Opened, not read: what stands in them is no business of master, nor of the children that it forks later.
        opened: dict[str, int] = {}
        for path in paths[:MAX_DESCRIPTORS]:
            with contextlib.suppress(OSError):  # who reads it says so
                opened[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._send(child, Reload(packed, tuple(opened)), tuple(opened.values()))
        for descriptor in opened.values():
            os.close(descriptor)

    def _drain(self, slot: Slot, child: Child) -> None:
        limit = self._configuration.main[PROCESS_DRAIN_LIMIT]
        child.phase = Phase.DRAINING
        slot.finishing.add(child)
        self._send(child, Drain(limit))
        self._later(limit + child_process.ORPHAN_LIMIT_S + _KILL_GRACE_S, lambda: self._kill(child))

    def _connect_auth_server(self, child: Child) -> None:
        """The one socket that the configuration names; connecting to a Unix socket never waits."""
        path = self._installation.auth_server(self._configuration)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.connect(path)
            except OSError as error:
                self._send(child, AuthServer(error.strerror or str(error)))
            else:
                self._send(child, AuthServer(), (sock.fileno(),))

    def _reopen_logs(self) -> None:
        """After logrotate moved the files (SIGUSR1, or control noticed)."""
        control = next((slot.child for slot in self._slots if slot.spec.name == CONTROL.server), None)
        if control is None:
            return
        opened: list[int] = []
        try:
            names = log_files.routes(self._configuration).files
            opened = [log_files.open_file(one, self._configuration.main) for one in names]
            self._send(control, LogFiles(names), tuple(opened))
        except log_files.LogFileError as error:
            self._say(Level.ERROR, f"error: {error}")
        finally:
            for descriptor in opened:
                os.close(descriptor)

    # ── stopping ──

    def stop(self) -> None:
        """In reverse order of the table, each row when the one before it is gone; control is last and writes it all."""
        if self._stopping is not None:
            return
        ready.notify("STOPPING=1")
        self._stopping = [spec.name for spec in self._specs]
        self._continue_stop()

    def _continue_stop(self) -> None:
        assert self._stopping is not None
        while self._stopping:
            alive = [one for one in self._children.values() if one.spec.name == self._stopping[-1]]
            for one in alive:
                if one.phase is not Phase.STOPPING:
                    self._order_stop(one)
            if alive:
                return
            self._stopping.pop()
            if len(self._stopping) == 1:
                self._log.flush()

    def _order_stop(self, child: Child) -> None:
        limit = self._configuration.main[PROCESS_STOP_LIMIT]
        child.phase = Phase.STOPPING
        self._send(child, Stop(limit))
        self._later(limit + _KILL_GRACE_S, lambda: self._kill(child))

    # ── the log ──

    def _say(self, level: Level, words: str) -> None:
        line: LogLine = Message(level, "master", words)
        self._log.emit(line)


def _raise_descriptor_limit() -> None:
    """A worker holds thousands of connections; the customary soft limit of 1024 is for programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard
    if os.geteuid() == 0 and 0 <= hard < _DESCRIPTORS:
        wanted = hard = _DESCRIPTORS
    if soft != wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _describe(status: int) -> str:
    """As Postfix's master says it."""
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    return f"exit status {os.WEXITSTATUS(status)}"
