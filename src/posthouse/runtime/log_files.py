"""The log files: where they are, how they are opened, and the line format of syslog.

Opening is done with master's rights (before control's jail, and by master itself when files were rotated), because the
directory of a log belongs to root; control only ever holds descriptors.
"""

import os
import time
from typing import Final

from posthouse.config.parameter import Settings
from posthouse.config.parameters.master import (
    MAILLOG_FILE,
    MAILLOG_FILE_PERMISSIONS,
    MAILLOG_FILE_PREFIXES,
)
from posthouse.core.logline import Level
from posthouse.runtime.schema import LogRecord

STANDARD_OUTPUT: Final = "/dev/stdout"
ERROR_SUFFIX: Final = ".err"


class LogFileError(Exception):
    """A log file that cannot be used; the text names it and the reason."""


def paths(settings: Settings) -> tuple[str, ...]:
    """The log file and the file of errors beside it; empty when the log goes to syslog."""
    main = settings[MAILLOG_FILE]
    if not main:
        return ()
    prefixes = settings[MAILLOG_FILE_PREFIXES]
    if not any(main == one or main.startswith(f"{one.rstrip('/')}/") for one in prefixes):
        raise LogFileError(f"maillog_file {main} begins with none of maillog_file_prefixes: {', '.join(prefixes)}")
    if main == STANDARD_OUTPUT:
        return (main,)
    return main, os.path.splitext(main)[0] + ERROR_SUFFIX


def open_file(path: str, settings: Settings) -> int:
    """A descriptor for appending. A symbolic link is refused: whoever could plant one would choose what root writes."""
    if path == STANDARD_OUTPUT:
        return os.dup(1)
    mode = int(settings[MAILLOG_FILE_PERMISSIONS], 8)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY
    before = os.umask(0)
    try:
        return os.open(path, flags, mode)
    except OSError as error:
        raise LogFileError(f"cannot open the log file {path}: {error.strerror}") from error
    finally:
        os.umask(before)


def is_error(record: LogRecord) -> bool:
    return record.level <= Level.ERROR


class LineFormat:
    """`Nov 23 12:00:00 host postfix/smtpd[123]: text`, as syslogd writes it. Dovecot's lines carry no pid there."""

    def __init__(self, host: str) -> None:
        self._host = host.partition(".")[0]
        self._second = -1
        self._stamp = ""

    def stamp(self, at_s: float) -> str:
        second = int(at_s)
        if second != self._second:
            local = time.localtime(second)
            self._second = second
            # RFC 3164 s4.1.2: the day of the month is padded with a space.
            self._stamp = time.strftime("%b", local) + f" {local.tm_mday:2d} " + time.strftime("%H:%M:%S", local)
        return self._stamp

    def line(self, record: LogRecord) -> str:
        pid = "" if record.ident == "dovecot" else f"[{record.pid}]"
        return f"{self.stamp(record.at_s)} {self._host} {record.ident}{pid}: {record.text}\n"

    def datagram(self, record: LogRecord, facility: int) -> str:
        """For /dev/log; the host name is syslogd's business."""
        pid = "" if record.ident == "dovecot" else f"[{record.pid}]"
        return f"<{facility * 8 + record.level}>{self.stamp(record.at_s)} {record.ident}{pid}: {record.text}"
