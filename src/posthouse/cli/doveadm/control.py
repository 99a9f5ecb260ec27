"""doveadm log, reload, stop."""

import os
import signal
from collections import deque
from typing import Final

from posthouse.cli.doveadm.call import Call
from posthouse.cli.doveadm.endings import EX_TEMPFAIL, OK, Ended, Fatal
from posthouse.config.parameters.master import RUN_DIRECTORY
from posthouse.core.logline import Level
from posthouse.runtime import log_files
from posthouse.runtime.pid_file import running_pid

LEVELS: Final = {
    "Debug": Level.DEBUG,
    "Info": Level.INFO,
    "Warning": Level.WARNING,
    "Error": Level.ERROR,
    "Fatal": Level.FATAL,
}
ERROR_LINES: Final = 1000
"""Of a file of errors that are shown, as many as Dovecot keeps."""


def _routes(call: Call) -> log_files.Routes:
    try:
        return log_files.routes(call.configuration())
    except log_files.LogFileError as error:
        raise Fatal(str(error)) from error


def log_find(call: Call) -> int:
    """Where lines of Dovecot's services go: files of their own, or where all lines go."""
    routes = _routes(call)
    for name, level in LEVELS.items():
        path = routes.of_dovecot(level) or routes.everything
        call.out.write(f"{name}: {path or 'syslog; its daemon knows the file'}\n")
    return OK


def log_errors(call: Call) -> int:
    routes = _routes(call)
    paths = [one for one in (routes.errors, routes.dovecot_errors) if one and one != log_files.STANDARD_OUTPUT]
    if not paths:
        raise Fatal("there is no file of errors, because the log goes to syslog (maillog_file is not set)")
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = deque(file, ERROR_LINES)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Fatal(f"open({path}) failed: {error.strerror}") from error
        call.out.writelines(lines)
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
