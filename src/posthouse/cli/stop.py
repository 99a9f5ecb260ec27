"""NAME
    posthouse stop - stop the mail system in order
SYNOPSIS
    posthouse [-c DIR] stop
DESCRIPTION
    Sessions are told, deliveries under way end or go back to the queue, durable state is flushed; then every process
    ends. A process that takes longer than process_stop_time_limit is killed: that loses no acknowledged mail either.
DIAGNOSTICS
    Status 0 when it has stopped, 1 if it was not running or may not be stopped by this user.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

from posthouse.config.loading import load
from posthouse.config.parameters.master import PROCESS_STOP_LIMIT, RUN_DIRECTORY
from posthouse.runtime.pid_file import running_pid
from posthouse.services.table import PROCESSES

_POLL_S: Final = 0.02


def run(configuration_directory: str, words: Sequence[str]) -> int:
    if words:
        print(f"posthouse stop: unexpected argument {words[0]!r}", file=sys.stderr)
        return 64
    settings = load(configuration_directory).main
    run_directory = settings[RUN_DIRECTORY]
    pid = running_pid(run_directory)
    if pid is None:
        print("posthouse: the Posthouse mail system is not running", file=sys.stderr)
        return 1
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError:
        print(f"posthouse: process {pid} belongs to somebody else", file=sys.stderr)
        return 1
    give_up = time.monotonic() + (settings[PROCESS_STOP_LIMIT] + 2) * len(PROCESSES) + 10
    while running_pid(run_directory) == pid:
        if time.monotonic() > give_up:
            print(f"posthouse: process {pid} does not end", file=sys.stderr)
            return 1
        time.sleep(_POLL_S)
    return 0
