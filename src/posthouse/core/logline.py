"""Log lines as values: one class per line, rendered by one method, escaped in one place.

The formats are Postfix's and Dovecot's, because log analysers and ban tools read them. A line about a message starts
with its queue id. Text from outside is made harmless by `escape`, once, when the line is rendered.
"""

import enum
import re
from typing import ClassVar, Final

import msgspec

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def escape(text: str) -> str:
    """Remote text made safe for one log line: control characters and stray surrogates become \\xNN or \\uNNNN."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub(
        lambda match: f"\\x{ord(match[0]):02x}" if ord(match[0]) < 256 else f"\\u{ord(match[0]):04x}", text
    )


class Level(enum.IntEnum):
    """info: normal life of mail. warning: we coped. error: an operator must look. fatal: this process stops and
    master restarts it. panic: our bug."""

    DEBUG = 7
    INFO = 6
    WARNING = 4
    ERROR = 3
    FATAL = 2
    PANIC = 0


class LogLine(msgspec.Struct, frozen=True):
    """Base of all log lines. Subclasses set `program` (the part after the syslog_name, "smtpd", "qmgr"; or, with
    `dovecot` true, the service as Dovecot prints it, "imap-login") and implement `text()`."""

    program: ClassVar[str] = ""
    level: ClassVar[Level] = Level.INFO
    doc: ClassVar[str] = ""
    dovecot: ClassVar[bool] = False

    def text(self) -> str:
        raise NotImplementedError


class Message(LogLine, frozen=True):
    """A line without a class of its own: start-up, warnings, errors. `severity` overrides the class's level."""

    severity: Level
    service: str
    words: str
    is_dovecot: bool = False

    def text(self) -> str:
        return self.words
