"""What all Maildir stores of one process share."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from posthouse.store.flush import Volumes
from posthouse.store.maildir.names import NameSource
from posthouse.store.maildir.watch import Watcher

DAY_S: Final = 86400.0


class Environment:
    """Made once per process, after the fork. `report` takes a line for the log (what an administrator should know).

    `known_since_s`: which deliveries made since then are retired is known; of those made before (by a former process,
    mostly) any one younger than `recovery_window_s` may be asked for again, so removing it leaves a tombstone.
    """

    def __init__(
        self,
        volumes: Volumes,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        report: Callable[[str], None] = lambda _: None,
        recovery_window_s: float = 5 * DAY_S,
        now: Callable[[], float] = time.time,
        watching: bool = True,
    ) -> None:
        self.volumes = volumes
        self.report = report
        self.now = now
        self.known_since_s = now()
        self.recovery_window_s = recovery_window_s
        self.names = NameSource()
        self.watcher = Watcher(loop) if watching else None

    def close(self) -> None:
        if self.watcher is not None:
            self.watcher.close()
        self.volumes.close()
