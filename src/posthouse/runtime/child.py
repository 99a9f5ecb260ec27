"""The life of a child, from the fork to its end: what `runtime.process` promises to every ProcessMain.

Between fork and event loop: forget master's descriptors, `before_jail()` with master's rights, then the identity and
the jail, for good. Then the loop, `start()`, and orders from master over the control channel. A child leaves with
os._exit: it must never unwind into master's code.
"""

import asyncio
import contextlib
import ctypes
import gc
import importlib
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

import setproctitle

from posthouse.config.configuration import Configuration
from posthouse.config.parameters.master import PROCESS_SCHEDULING, SYSLOG_NAME
from posthouse.core.logline import Level, LogLine, Message
from posthouse.runtime.clock import SystemClock
from posthouse.runtime.control_channel import (
    AuthServer,
    ChannelClosed,
    ConnectAuthServer,
    ControlChannel,
    Drain,
    Failed,
    LogFiles,
    OpenLogFiles,
    Ready,
    Reload,
    Restart,
    Stop,
)
from posthouse.runtime.log_shipping import LogPipe, LogShipper
from posthouse.runtime.logging import LogBuffer, internal_error
from posthouse.runtime.memory import QuietTrim
from posthouse.runtime.process import Context, IpcListener, Listener, ProcessMain, socket_path
from posthouse.runtime.schema import CONTROL
from posthouse.runtime.spec import Jail, ProcessSpec

ORPHAN_LIMIT_S: Final = 5.0
"""How long a child whose master is gone may take to close down in order."""
EXIT_FAILURE: Final = 1
EXIT_RESTART: Final = 75
"""EX_TEMPFAIL: it asked to be started again."""
_PR_SET_PDEATHSIG: Final = 1
# Sessions make many short-lived objects and few cycles; the image is frozen. Collecting less often costs little memory.
_GC_THRESHOLDS: Final = (20_000, 20, 50)


@dataclass(frozen=True, slots=True)
class Birth:
    """All that a child is given. `close_jail` gives up identity and rights and says in words what holds."""

    spec: ProcessSpec
    worker: int
    workers: Mapping[str, int]
    configuration: Configuration
    listeners: tuple[Listener, ...]
    ipc_listeners: tuple[IpcListener, ...]
    run_directory: str
    channel: ControlChannel
    master_pid: int
    close_jail: Callable[[], str]


def close_all_but(kept: Iterable[int]) -> None:
    """Whatever else the process inherited (a library's, the terminal of a command): a descriptor in the wrong hands
    undoes the jail. Those that Python objects own are closed by their owners before: nothing is closed twice."""
    low = 3
    for descriptor in sorted(kept):
        os.closerange(low, descriptor)
        low = descriptor + 1
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(low, limit if limit > 0 else 1 << 20)


def load_main(spec: ProcessSpec) -> type[ProcessMain]:
    module, _, name = spec.main.partition(":")
    found: type[ProcessMain] = getattr(importlib.import_module(module), name)
    return found


def run(birth: Birth) -> NoReturn:
    """Never returns, whatever happens."""
    status = EXIT_FAILURE
    try:
        status = _live(birth)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else EXIT_FAILURE
    except BaseException:  # the last edge of the process
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(status)


def _schedule(birth: Birth) -> None:
    """What a recipient's programs inherit from local is none of our business."""
    if birth.configuration.main[PROCESS_SCHEDULING] == "batch" and birth.spec.jail is not Jail.RECIPIENT:
        with contextlib.suppress(OSError):  # a container may forbid it; everything works without
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _live(birth: Birth) -> int:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    # Ctrl-C reaches the whole group of the terminal; the order to stop comes from master.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # master blocks all signals around the fork
    os.umask(0o077)
    setproctitle.setproctitle(f"posthouse: {birth.spec.name} {birth.worker}")
    _schedule(birth)
    buffer = LogBuffer(SystemClock(), birth.configuration.main[SYSLOG_NAME])
    shipper = LogShipper(buffer)
    context = Context(
        birth.spec.name,
        birth.worker,
        birth.workers,
        birth.configuration,
        birth.listeners,
        birth.ipc_listeners,
        birth.run_directory,
        SystemClock(),
        shipper.emit,
    )
    try:
        process = load_main(birth.spec)(context)
        process.before_jail()
        jail = birth.close_jail()
    except Exception as error:  # whatever a service raises here, it cannot start
        _report_early(birth, buffer, "cannot start", error)
        return EXIT_FAILURE
    _die_with_master(birth.master_pid)
    gc.set_threshold(*_GC_THRESHOLDS)
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    status = loop.run_until_complete(_Life(loop, birth, context, process, shipper=shipper, jail=jail).run())
    with contextlib.suppress(Exception):
        loop.close()
    return status


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it works; asyncio's own loop does the same, slower."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _die_with_master(master_pid: int) -> None:
    # After the change of identity, which clears it. The end of the control channel says the same to a healthy child;
    # the signal reaches one that is busy.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != master_pid:
        os._exit(EXIT_FAILURE)


def _report_early(birth: Birth, buffer: LogBuffer, what: str, error: Exception) -> None:
    pipe = LogPipe(socket_path(birth.run_directory, CONTROL, birth.spec.name), buffer)
    pipe.emit(internal_error(birth.spec.name, what, error))
    if birth.spec.name != CONTROL.server:
        pipe.finish()
    birth.channel.send(Failed(f"{type(error).__name__}: {error}"))


class _Life:
    """The part with an event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        birth: Birth,
        context: Context,
        process: ProcessMain,
        *,
        shipper: LogShipper,
        jail: str,
    ) -> None:
        self._birth = birth
        self._context = context
        self._process = process
        self._shipper = shipper
        self._jail = jail
        self._channel = birth.channel
        self._end: asyncio.Future[int] = loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._drain: asyncio.Task[None] | None = None
        self._stop_limit_s = ORPHAN_LIMIT_S
        self._status = 0

    @property
    def _name(self) -> str:
        return self._birth.spec.name

    def _emit(self, line: LogLine) -> None:
        self._context.emit(line)

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_loop_error)
        if self._name != CONTROL.server:
            self._shipper.start(self._context.peer(CONTROL))
        loop.add_reader(self._channel.fileno(), self._on_order)
        loop.add_signal_handler(signal.SIGTERM, self._on_sigterm)
        self._context.request_restart = self._request_restart
        self._context.request_log_files = self._request_log_files
        self._context.request_auth_server = self._request_auth_server
        starting = loop.create_task(self._process.start())
        await asyncio.wait((starting, self._end), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            if (error := starting.exception()) is not None:
                self._emit(internal_error(self._name, "cannot start", error))
                self._send(Failed(f"{type(error).__name__}: {error}"))
                await self._shipper.finish()
                return EXIT_FAILURE
            self._send(Ready(self._jail))
            QuietTrim(loop)
            await self._end
        else:
            starting.cancel()
            await asyncio.wait((starting,), timeout=1)
        await self._close_down()
        return self._status

    async def _close_down(self) -> None:
        if self._drain is not None:
            self._drain.cancel()
        try:
            async with asyncio.timeout(self._stop_limit_s):
                await self._process.stop()
        except TimeoutError:
            self._emit(Message(Level.WARNING, self._name, "warning: the time to stop in order is up"))
        except Exception as error:  # the edge of the process
            self._emit(internal_error(self._name, "stopping", error))
            self._status = self._status or EXIT_FAILURE
        await self._shipper.finish()

    # ── orders ──

    def _on_order(self) -> None:
        try:
            messages = self._channel.receive()
        except ChannelClosed:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._finish(0, ORPHAN_LIMIT_S)
            return
        for message in messages:
            match message:
                case Stop(limit_s):
                    self._finish(0, limit_s)
                case Drain(limit_s):
                    self._begin_drain(limit_s)
                case Reload(packed, opened):
                    descriptors = dict(zip(opened, self._channel.take_descriptors(len(opened)), strict=True))
                    self._run(self._reload(Configuration.unpack(packed), descriptors), "reload")
                case AuthServer(error):
                    given = self._channel.take_descriptors(0 if error else 1)
                    self._process.auth_server(given[0] if given else -1, error)
                case LogFiles(paths):
                    self._process.log_files(dict(zip(paths, self._channel.take_descriptors(len(paths)), strict=True)))
                case _:
                    self._emit(Message(Level.WARNING, self._name, f"warning: unexpected order {message!r}"))

    def _on_sigterm(self) -> None:
        self._finish(0, ORPHAN_LIMIT_S)

    def _finish(self, status: int, limit_s: float) -> None:
        if not self._end.done():
            self._stop_limit_s = limit_s
            self._status = status
            self._end.set_result(status)

    def _begin_drain(self, limit_s: float) -> None:
        if self._drain is None:
            setproctitle.setproctitle(f"posthouse: {self._name} {self._birth.worker} (finishing)")
            self._drain = asyncio.get_running_loop().create_task(self._drain_and_stop(limit_s))

    async def _drain_and_stop(self, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await self._process.drain()
        except TimeoutError:
            pass
        except Exception as error:  # the edge of the process
            self._emit(internal_error(self._name, "draining", error))
        self._finish(0, ORPHAN_LIMIT_S)

    async def _reload(self, configuration: Configuration, opened: Mapping[str, int]) -> None:
        configuration.opened = opened
        try:
            await self._process.reload(configuration)
        finally:
            configuration.opened = {}
            for descriptor in opened.values():
                os.close(descriptor)
        self._context.configuration = configuration

    def _run(self, work: Coroutine[object, object, None], what: str) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # the edge of the process
                self._emit(internal_error(self._name, what, error))

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ── messages to master ──

    def _send(self, message: Ready | Failed | Restart | OpenLogFiles | ConnectAuthServer) -> None:
        self._channel.send(message)
        if self._channel.has_output:  # only if master does not read for a long time
            asyncio.get_running_loop().call_later(0.1, self._channel.flush)

    def _request_restart(self, reason: str) -> None:
        self._send(Restart(reason))
        self._finish(EXIT_RESTART, ORPHAN_LIMIT_S)

    def _request_log_files(self) -> None:
        self._send(OpenLogFiles())

    def _request_auth_server(self) -> None:
        self._send(ConnectAuthServer())

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, what: Mapping[str, object]) -> None:  # noqa: ARG002
        # One callback, one session: it has lost its way and its transport is closed by asyncio; the thousands of others
        # in this process go on. What must not go on calls request_restart.
        error = what.get("exception")
        shown = str(what.get("message", "in the event loop"))
        self._emit(internal_error(self._name, shown, error if isinstance(error, BaseException) else None))
