"""doveadm log, reload, stop."""

import os
import signal
from typing import Final

from posthouse.cli.doveadm.call import Call
from posthouse.cli.doveadm.endings import EX_TEMPFAIL, OK, Ended, Fatal
from posthouse.config.parameters.master import RUN_DIRECTORY
from posthouse.runtime import log_files
from posthouse.runtime.pid_file import running_pid

LEVELS: Final = ("Debug", "Info", "Warning", "Error", "Fatal")
ERROR_LINES: Final = 1000
"""Of the file of errors that are shown, as many as Dovecot keeps."""


def _paths(call: Call) -> list[str]:
    """The log, then the errors."""
    try:
        return list(log_files.paths(call.configuration().main))
    except log_files.LogFileError as error:
        raise Fatal(str(error)) from error


def log_find(call: Call) -> int:
    paths = _paths(call)
    if not paths:
        raise Fatal("the log goes to syslog (maillog_file is not set): its daemon knows where")
    for level in LEVELS:
        call.out.write(f"{level}: {paths[0]}\n")
    return OK


def log_errors(call: Call) -> int:
    paths = _paths(call)
    if len(paths) < 2:
        raise Fatal("there is no file of errors, because the log goes to syslog (maillog_file is not set)")
    try:
        with open(paths[1], encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()[-ERROR_LINES:]
    except FileNotFoundError:
        return OK
    except OSError as error:
        raise Fatal(f"open({paths[1]}) failed: {error.strerror}") from error
    for line in lines:
        call.out.write(line)
    return OK


def log_reopen(call: Call) -> int:
    return _signal(call, signal.SIGUSR1)


def reload(call: Call) -> int:
    """As `posthouse reload`: with errors in the configuration nothing happens."""
    from posthouse.cli import reload as command

    return EX_TEMPFAIL if command.run(call.directory, []) else OK


def stop(call: Call) -> int:
    from posthouse.cli import stop as command

    return EX_TEMPFAIL if command.run(call.directory, []) else OK


def _signal(call: Call, number: signal.Signals) -> int:
    pid = running_pid(call.configuration().main[RUN_DIRECTORY])
    if pid is None:
        raise Ended(EX_TEMPFAIL, "Fatal: Posthouse is not running")
    try:
        os.kill(pid, number)
    except PermissionError as error:
        raise Fatal(f"process {pid} belongs to somebody else") from error
    return OK
