"""SMTP replies, and the two kinds of failure.

A reply code and its enhanced status travel together as separate fields from the place where the failure is
noticed to the wire, the log and the DSN (RFC 2034, RFC 3463); a pair that disagrees cannot be built.
"""

import re
from typing import Final, Self

import msgspec

_STATUS: Final = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}\Z")


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """One SMTP reply: `code`, `status` (enhanced, may be empty), and one text line per wire line.

    RFC 2034 s4: greeting, EHLO and 3xx replies have no enhanced status; every refusal must have one.
    """

    code: int
    status: str
    lines: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 200 <= self.code <= 599 or not self.lines:
            raise ValueError(f"not a reply: {self.code} {self.lines!r}")
        if self.status:
            if not _STATUS.match(self.status) or self.status[0] != str(self.code)[0]:
                raise ValueError(f"enhanced status {self.status} does not fit code {self.code}")
        elif self.code >= 400:
            raise ValueError(f"a refusal needs an enhanced status: {self.code} {self.lines[0]}")

    @classmethod
    def of(cls, code: int, status: str, *lines: str) -> Self:
        return cls(code, status, lines)

    @property
    def text(self) -> str:
        return " ".join(self.lines)

    def __str__(self) -> str:
        return f"{self.code} {self.status} {self.text}" if self.status else f"{self.code} {self.text}"

    def encode(self) -> bytes:
        """The reply as it goes on the wire, RFC 5321 s4.2.1 (multi-line form where there are several lines)."""
        prefix = f"{self.status} " if self.status else ""
        if len(self.lines) == 1:
            return f"{self.code} {prefix}{self.lines[0]}\r\n".encode("utf-8", "surrogateescape")
        last = len(self.lines) - 1
        return "".join(
            f"{self.code}{' ' if number == last else '-'}{prefix}{line}\r\n" for number, line in enumerate(self.lines)
        ).encode("utf-8", "surrogateescape")


class MailError(Exception):
    """A failure that already knows what to answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class TempFail(MailError):
    """Try again later: the responsibility stays where it is (4xx)."""

    def __init__(self, reply: Reply) -> None:
        if not 400 <= reply.code <= 499:
            raise ValueError(f"TempFail with {reply}")
        super().__init__(reply)


class PermFail(MailError):
    """Do not try again: reject at SMTP time, or bounce (5xx)."""

    def __init__(self, reply: Reply) -> None:
        if not 500 <= reply.code <= 599:
            raise ValueError(f"PermFail with {reply}")
        super().__init__(reply)


# The answers every service may need; RFC 3463 s3.
LOCAL_ERROR: Final = Reply.of(451, "4.3.0", "Error: local problem; try again later")
NO_SPACE: Final = Reply.of(452, "4.3.1", "Insufficient system storage")
NO_SUCH_USER: Final = Reply.of(550, "5.1.1", "Recipient address rejected: User unknown")
