"""Status responses (RFC 3501 s7.1): the last line of a command and the untagged ones."""

import enum
import re
from dataclasses import dataclass
from typing import Final

from posthouse.protocol.imap.mailbox_name import encode_mailbox_name

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")


class Condition(enum.Enum):
    OK = b"OK"
    NO = b"NO"
    BAD = b"BAD"


@dataclass(frozen=True, slots=True)
class Status:
    """`code` goes into brackets; RFC 5530 has the list."""

    condition: Condition
    text: str
    code: str = ""

    def line(self, tag: bytes) -> bytes:
        return b"%b %b %b\r\n" % (tag, self.condition.value, status_text(self.text, self.code))


def ok(text: str, code: str = "") -> Status:
    return Status(Condition.OK, text, code)


def no(text: str, code: str = "") -> Status:
    return Status(Condition.NO, text, code)


def bad(text: str) -> Status:
    return Status(Condition.BAD, text)


def status_text(text: str, code: str = "") -> bytes:
    """Seven bits and one line whatever a mailbox is called; a text that begins with "[" would be read as a code."""
    words = (
        encode_mailbox_name(_CONTROL.sub(" ", text))
        if not text.isascii() or not text.isprintable()
        else (text.encode("ascii"))
    )
    if code:
        return b"[%b] %b" % (code.encode("ascii"), words)
    return b" " + words if words.startswith(b"[") else words
