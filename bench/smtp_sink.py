"""Where relayed mail goes: smtp-sink of Debian's postfix package."""

import subprocess
from types import TracebackType

from bench.server import LOOPBACK, free_port, wait_for_greeting


class Sink:
    def __init__(self) -> None:
        self.port = free_port()
        command = ["smtp-sink", "-u", "mail", f"{LOOPBACK}:{self.port}", "1000"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> "Sink":
        wait_for_greeting(self.port, b"220")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)
