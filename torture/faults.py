"""How each fault of the plan is done, and undone."""

import contextlib
import errno
import os
import random
import signal
from collections.abc import Callable
from typing import Final

from torture.injection import ALL_CALLS, CHANGES, EVERYBODY, SHORT_WRITE, Calls, Injection
from torture.peers import Mood
from torture.plan import FAULTS, NEED_DISKS, NEED_SHIM, Event
from torture.world import World

Undo = Callable[[], None]
_CLOCK_JUMPS_S: Final = (-86_400.0, -3600.0, -2.0, 2.0, 3600.0, 86_400.0)
_STORE_ROLES: Final = ("mailbox", "local")
_VICTIMS: Final = ("queue", "mailbox", "smtpd", "smtp", "login", "tables", "auth", "control", "local")


def possible(world: World) -> tuple[str, ...]:
    """Without root there are no disks to fill, without a compiler no faults in system calls."""
    return tuple(
        fault
        for fault in FAULTS
        if not (fault in NEED_SHIM and world.injection is None)
        and not (fault in NEED_DISKS and not (world.spool_disk.is_own and world.store_disk.is_own))
    )


def begin(world: World, event: Event) -> Undo:
    """Starts the fault; what comes back ends it. A process that is gone already is no error."""
    return _Begin(world, event).begin()


class _Begin:
    def __init__(self, world: World, event: Event) -> None:
        self.world = world
        self.event = event
        self.chance = random.Random(event.seed)

    def begin(self) -> Undo:
        match self.event.fault:
            case "kill one":
                self._signal(self._some(1), signal.SIGKILL)
            case "kill several":
                self._signal(self._some(self.chance.randint(2, 5)), signal.SIGKILL)
            case "kill all":
                if self.world.is_running:
                    self.world.kill_everything()
            case "power cut":
                if self.world.is_running:
                    self.world.cut_power()
            case "stop and continue":
                pids = self._some(self.chance.randint(1, 3))
                self._signal(pids, signal.SIGSTOP)
                return lambda: self._signal(pids, signal.SIGCONT)
            case "end a worker":
                self._signal(self._some(1), signal.SIGTERM)
            case "reload":
                if self.world.is_running:
                    self._signal([self.world.pid], signal.SIGHUP)
            case "spool disk full":
                self.world.spool_disk.fill()
                return self.world.spool_disk.relieve
            case "store disk full":
                self.world.store_disk.fill()
                return self.world.store_disk.relieve
            case "names broken":
                self.world.names.mood = self.chance.choice((Mood.SILENT, Mood.SERVFAIL, Mood.GARBAGE))
                return self._names_well
            case "peer breaks off":
                self.world.sink.state.rude = self.chance.choice((0.2, 0.5, 1.0))
                return self._peer_well
            case "peer busy":
                self.world.sink.state.busy = True
                return self._peer_well
            case _:
                assert self.world.injection is not None
                self._inject(self.world.injection)
        return lambda: None

    def _inject(self, injection: Injection) -> None:
        """Ended by the round, which counts what struck."""
        queue, store = self._of("queue"), [pid for role in _STORE_ROLES for pid in self._of(role)]
        now_and_then = self.chance.choice((1, 2, 5, 17))
        match self.event.fault:
            case "spool read-only":
                injection.arm(queue, CHANGES, errno.EROFS)
            case "store read-only":
                injection.arm(store, CHANGES, errno.EROFS)
            case "queue input/output error":
                injection.arm(queue, ALL_CALLS, errno.EIO, every=now_and_then)
            case "store input/output error":
                injection.arm(store, ALL_CALLS, errno.EIO, every=now_and_then)
            case "everybody input/output error":
                injection.arm([EVERYBODY], ALL_CALLS, errno.EIO, every=self.chance.choice((5, 17, 50)))
            case "queue flush fails":
                injection.arm(queue, Calls.FLUSH, self.chance.choice((errno.EIO, errno.ENOSPC)), every=now_and_then)
            case "store flush fails":
                injection.arm(store, Calls.FLUSH | Calls.SYNCFS, errno.EIO, every=now_and_then)
            case "short writes":
                injection.arm([EVERYBODY], Calls.WRITE, SHORT_WRITE, every=self.chance.choice((1, 2, 3)))
            case "clock jumps":
                injection.shift_clock(self.chance.choice(_CLOCK_JUMPS_S))
            case other:
                raise ValueError(other)

    def _of(self, role: str) -> list[int]:
        if not self.world.is_running:
            return []
        return [pid for title, pid in self.world.processes().items() if title.split()[0] == role]

    def _some(self, count: int) -> list[int]:
        if not self.world.is_running:
            return []
        processes = self.world.processes()
        chosen = self.chance.sample(_VICTIMS, count)
        candidates = [(title, pid) for title, pid in sorted(processes.items()) if title.split()[0] in chosen]
        self.chance.shuffle(candidates)
        return [pid for _, pid in candidates[:count]]

    def _signal(self, pids: list[int], number: signal.Signals) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _names_well(self) -> None:
        self.world.names.mood = Mood.WELL

    def _peer_well(self) -> None:
        self.world.sink.state.rude = 0.0
        self.world.sink.state.busy = False
