"""The log files: where they are, how they are opened, and the line format of syslog.

Opening is done with master's rights (before control's jail, and by master itself when files were rotated), because the
directory of a log belongs to root; control only ever holds descriptors.
"""

import os
import time
from typing import Final

import msgspec

from posthouse.config.configuration import Configuration
from posthouse.config.parameter import Settings
from posthouse.config.parameters.login import DEBUG_LOG_PATH, INFO_LOG_PATH, LOG_PATH, LOG_TIMESTAMP
from posthouse.config.parameters.master import (
    MAILLOG_FILE,
    MAILLOG_FILE_PERMISSIONS,
    MAILLOG_FILE_PREFIXES,
)
from posthouse.core.logline import Level
from posthouse.runtime.schema import LogRecord

STANDARD_OUTPUT: Final = "/dev/stdout"
ERROR_SUFFIX: Final = ".err"
_WORDS: Final = ("Debug: ", "Info: ", "Warning: ", "Error: ", "Fatal: ", "Panic: ")


class LogFileError(Exception):
    """A log file that cannot be used; the text names it and the reason."""


class Routes(msgspec.Struct, frozen=True):
    """Where lines go; "" is syslog. Those of Dovecot's services have places of their own if dovecot.conf names files,
    else they stand with the others."""

    everything: str
    errors: str
    dovecot_errors: str
    dovecot_info: str
    dovecot_debug: str
    dovecot_stamp: str

    @property
    def files(self) -> tuple[str, ...]:
        named = (self.everything, self.errors, self.dovecot_errors, self.dovecot_info, self.dovecot_debug)
        return tuple(dict.fromkeys(path for path in named if path))

    def of_dovecot(self, level: int) -> str:
        """Warnings and worse go to log_path, the rest to info_log_path."""
        if level <= Level.WARNING:
            return self.dovecot_errors
        return self.dovecot_info if level <= Level.INFO else self.dovecot_debug


def routes(configuration: Configuration) -> Routes:
    """Raises LogFileError."""
    main, dovecot = configuration.main, configuration.dovecot
    path = main[MAILLOG_FILE]
    prefixes = main[MAILLOG_FILE_PREFIXES]
    if path and not any(path == one or path.startswith(f"{one.rstrip('/')}/") for one in prefixes):
        raise LogFileError(f"maillog_file {path} begins with none of maillog_file_prefixes: {', '.join(prefixes)}")
    errors = "" if not path or path == STANDARD_OUTPUT else os.path.splitext(path)[0] + ERROR_SUFFIX
    # As Dovecot: an empty info_log_path is log_path, an empty debug_log_path is info_log_path.
    log_path = dovecot[LOG_PATH]
    info_path = dovecot[INFO_LOG_PATH] or log_path
    debug_path = dovecot[DEBUG_LOG_PATH] or info_path
    return Routes(
        path,
        errors,
        _dovecot_file(log_path),
        _dovecot_file(info_path),
        _dovecot_file(debug_path),
        dovecot[LOG_TIMESTAMP],
    )


def _dovecot_file(name: str) -> str:
    if name in ("", "syslog"):
        return ""
    if name == "/dev/stderr":
        return STANDARD_OUTPUT  # what master has there is the same place
    if not name.startswith("/"):
        raise LogFileError(f"log_path {name} of dovecot.conf: syslog or an absolute path is expected")
    return name


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


def dovecot_line(record: LogRecord, stamp: str) -> str:
    """As Dovecot writes it into a file of its own: "<log_timestamp>imap-login: Info: Login: user=<bob> …"."""
    program, _, text = record.text.partition(": ")
    if record.level >= Level.INFO and not text.startswith(_WORDS):
        text = f"{'Info' if record.level == Level.INFO else 'Debug'}: {text}"
    return f"{time.strftime(stamp, time.localtime(record.at_s))}{program}: {text}\n"


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
