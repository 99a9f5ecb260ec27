"""NAME
    posthouse reload - read the configuration again
SYNOPSIS
    posthouse [-c DIR] reload
DESCRIPTION
    Names every problem of the configuration; errors end it here, and the running system keeps what it has. Front ends
    are replaced and finish their sessions; queue, mailboxes and authentication take the new settings in place.
DIAGNOSTICS
    Status 0 if the order was given (the log tells the rest), 1 if it was not.
"""

import os
import signal
import sys
from collections.abc import Sequence

from posthouse.cli import check
from posthouse.config.loading import load
from posthouse.config.parameters.master import RUN_DIRECTORY
from posthouse.runtime.pid_file import running_pid


def run(configuration_directory: str, words: Sequence[str]) -> int:
    if words:
        print(f"posthouse reload: unexpected argument {words[0]!r}", file=sys.stderr)
        return 64
    if check.run(configuration_directory):
        print("posthouse: not reloaded, because the configuration has errors", file=sys.stderr)
        return 1
    pid = running_pid(load(configuration_directory).main[RUN_DIRECTORY])
    if pid is None:
        print("posthouse: the Posthouse mail system is not running", file=sys.stderr)
        return 1
    try:
        os.kill(pid, signal.SIGHUP)
    except PermissionError:
        print(f"posthouse: process {pid} belongs to somebody else", file=sys.stderr)
        return 1
    return 0
