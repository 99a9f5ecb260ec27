"""POP3 commands from octets (RFC 1939 s3), under a limit; used before and after login."""

from dataclasses import dataclass
from typing import Final

MAX_LINE: Final = 8192
"""RFC 2449 s4 wants 255 octets; a SASL response on the AUTH line can be longer (Dovecot has this limit)."""


@dataclass(frozen=True, slots=True)
class Pop3Command:
    """`verb` is in capitals; `argument` is the rest of the line without the space before it."""

    verb: str
    argument: bytes


@dataclass(frozen=True, slots=True)
class LineTooLong:
    """The line has been thrown away: answer -ERR."""


Event = Pop3Command | LineTooLong


class Pop3Reader:
    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._skipping = False

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        self._buffer += data

    def unread(self) -> bytes:
        """Take back what was received behind the last event (login hands it on with the connection)."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._searched = 0
        return data

    def next_line(self) -> bytes | LineTooLong | None:
        """One line without its end (AUTH continues with lines that are no commands); None: more octets are needed."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._searched)
        if end < 0:
            if len(buffer) > self._limit:
                buffer.clear()
                self._skipping = True
            self._searched = len(buffer)
            return None
        line = bytes(buffer[:end]).removesuffix(b"\r")
        del buffer[: end + 1]
        self._searched = 0
        if self._skipping or len(line) > self._limit:
            self._skipping = False
            return LineTooLong()
        return line

    def next_event(self) -> Event | None:
        line = self.next_line()
        if line is None or isinstance(line, LineTooLong):
            return line
        verb, _, argument = line.partition(b" ")
        return Pop3Command(verb.decode("latin-1").upper(), argument)
