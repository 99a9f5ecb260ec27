"""What a server answers: replies of one or several lines, with limits (RFC 5321 s4.2, RFC 2034)."""

import re
from collections import deque
from typing import Final

import msgspec

MAXIMAL_LINE_OCTETS: Final = 2048
"""Postfix's line_length_limit; RFC 5321 s4.5.3.1.5 asks for 512. What is longer is cut off, not kept."""
MAXIMAL_PENDING_OCTETS: Final = 64 * 1024
"""Unfinished input; a server that sends this much without a line end is no mail server."""

_LINE: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?\Z", re.DOTALL)
_STATUS: Final = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s|\Z)")


class ProtocolError(Exception):
    """The server does not speak SMTP; the words are for the log and the DSN."""


class ServerReply(msgspec.Struct, frozen=True):
    """`lines` are without code and line end; `text` is what people are shown: whole lines, joined by spaces."""

    code: int
    lines: tuple[str, ...]
    text: str

    @property
    def positive(self) -> bool:
        return self.code < 300

    @property
    def status(self) -> str:
        """The enhanced status of the last line; of its class only, if there is none or it contradicts the code."""
        match = _STATUS.match(self.lines[-1])
        kind = str(self.code)[0]
        if match and match[1][0] == kind:
            return match[1]
        return f"{kind if kind in '245' else '5'}.0.0"


class ReplyReader:
    """Octets in, replies out."""

    def __init__(self, line_limit: int = 100) -> None:
        self._line_limit = line_limit
        self._pending = b""
        self._lines: list[bytes] = []
        self.replies: deque[ServerReply] = deque()

    @property
    def has_unread(self) -> bool:
        """Anything behind the replies that were taken?"""
        return bool(self._pending or self._lines or self.replies)

    def receive_data(self, data: bytes) -> None:
        """Raises ProtocolError; replies before the bad one are still there."""
        if self._pending:
            data = self._pending + data
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            line = data[start:end]
            start = end + 1
            self._take(line.removesuffix(b"\r")[:MAXIMAL_LINE_OCTETS])
        self._pending = data[start:]
        if len(self._pending) > MAXIMAL_PENDING_OCTETS:
            raise ProtocolError("reply line too long")

    def _take(self, line: bytes) -> None:
        match = _LINE.match(line)
        if match is None:
            raise ProtocolError(f"not an SMTP reply: {line[:100].decode('ascii', 'backslashreplace')}")
        self._lines.append(line)
        if match[2] == b"-":
            if len(self._lines) >= self._line_limit:
                raise ProtocolError("reply has too many lines")
            return
        lines, self._lines = self._lines, []
        # Some servers change the code within one reply; the last line counts (Postfix does the same).
        shown = [one.decode("utf-8", "replace") for one in lines]
        self.replies.append(ServerReply(int(match[1]), tuple(one[4:] for one in shown), " ".join(shown)))
