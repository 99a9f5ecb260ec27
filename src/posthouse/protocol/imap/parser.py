"""Octets in, complete commands out.

A command is one or more lines with literals between them (RFC 3501 s2.2.1, s4.3). `CommandReader` collects them under
named limits and says when the client waits for "+ ". It knows no command's grammar: that is `arguments.Arguments`, to
which the collected parts are handed. It keeps its place whatever comes in: what is too long is skipped octet by octet
without being stored, and answered once. Login uses the same reader before authentication.

    reader.receive_data(data)
    while (event := reader.next_event()) is not None: ...
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from posthouse.protocol.imap.arguments import Arguments

_LITERAL: Final = re.compile(rb"~?\{([0-9]{1,20})(\+?)\}\Z")
# RFC 3501 s9: tag = 1*<any ASTRING-CHAR except "+">; the command name is an atom.
_BEGIN: Final = re.compile(rb"""([^\x00-\x20\x7f-\xff()\{%*"\\+]{1,128}) +([A-Za-z0-9._-]{1,32})(?= |\Z)""")
_TAG: Final = re.compile(rb"""([^\x00-\x20\x7f-\xff()\{%*"\\+]{1,128})(?: |\Z)""")
_BEGIN_OCTETS: Final = 256
"""Tag and name are looked for in so much of a line that is too long, whether the rest has come or not."""
_UID_COMMAND: Final = re.compile(rb" +([A-Za-z]{1,32})(?= |\Z)")


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """What one client may make us remember. The defaults are Dovecot's where it has one."""

    line: int = 65536
    """Octets in one line and in all lines of a command together (imap_max_line_length)."""
    literal: int = 65536
    """Octets in all literals of a command that carries no message."""
    literals: int = 1024
    """Number of literals in one command."""
    message: int = 0
    """Octets in a literal of a command in `message_commands`; 0 means that `literal` applies to them too."""
    message_commands: frozenset[str] = frozenset({"APPEND"})


@dataclass(frozen=True, slots=True)
class Command:
    """A complete command. `name` is in capitals; "UID FETCH" is one name."""

    tag: bytes
    name: str
    parts: tuple[bytes, ...]
    """Line, literal, line, literal … line; lines without their CRLF."""
    offset: int
    """Where the arguments begin in the first line (at the space before them)."""

    def arguments(self) -> Arguments:
        return Arguments(self.parts, self.offset)


@dataclass(frozen=True, slots=True)
class LiteralWanted:
    """The client waits for "+ " before it sends `size` octets; or call `refuse_literal` and answer with a tagged NO."""

    tag: bytes
    name: str
    size: int
    parts: tuple[bytes, ...]
    offset: int

    def arguments(self) -> Arguments:
        """The arguments so far; reading the literal itself fails."""
        return Arguments(self.parts, self.offset)


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not a command: asked for with `expect_line` (AUTHENTICATE, IDLE)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that cannot become a command; `tag` is "*" where none could be read. Answer: tag BAD text, or
    tag NO [code] text if there is a code."""

    tag: bytes
    name: str
    text: str
    code: str = ""


Event = Command | LiteralWanted | Line | Refused

_NO_COMMAND: Final = "Error in IMAP command received by server."


class CommandReader:
    def __init__(self, limits: ReaderLimits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._searched = 0
        """No line end before this position of the buffer."""
        self._parts: list[bytes] = []
        self._tag = b"*"
        self._name = ""
        self._offset = 0
        self._line_octets = 0
        self._literal_octets = 0
        self._wanted = -1
        """Octets of the literal that is coming in; -1 while reading a line."""
        self._skip = 0
        """Octets of a refused literal still to be thrown away."""
        self._refusal: Refused | None = None
        """Answer at the end of the command that is being thrown away."""
        self._raw_line = False
        self._step: Callable[[], Event | bool] = self._read_line

    @property
    def buffered(self) -> int:
        """Octets received and not yet made into an event."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        self._buffer += data

    def unread(self) -> bytes:
        """Take back what was received behind the last event (login hands it on with the connection)."""
        data = bytes(self._buffer)
        self._buffer.clear()
        self._searched = 0
        return data

    def expect_line(self) -> None:
        """The next event is a `Line`, or `Refused` if it is too long."""
        self._raw_line = True

    def refuse_literal(self) -> None:
        """After `LiteralWanted`: the client is told NO and will not send it. The command is forgotten."""
        self._forget()

    def next_event(self) -> Event | None:
        """None: more octets are needed."""
        while True:
            outcome = self._step()
            if outcome is False:
                return None
            if outcome is not True:
                return outcome

    # Each step answers an event, True (go on) or False (more octets are needed).

    def _read_line(self) -> Event | bool:
        buffer = self._buffer
        end = buffer.find(b"\n", self._searched)
        limit = self._limits.line - self._line_octets
        if end < 0:
            if len(buffer) > limit + 1:
                self._begin_skipping(bytes(buffer[:_BEGIN_OCTETS]), "Too long argument.")
                self._step = self._throw_away
                return True
            self._searched = len(buffer)
            return False
        length = end - 1 if end and buffer[end - 1] == 13 else end
        line = bytes(buffer[:length])
        del buffer[: end + 1]
        self._searched = 0
        if self._raw_line:
            self._raw_line = False
            return Line(line) if length <= limit else Refused(b"*", "", "Too long line.")
        if length > limit:
            self._begin_skipping(line[:_BEGIN_OCTETS], "Too long argument.")
            return self._skip_literal_after(line)
        if not self._parts:
            refusal = self._read_begin(line)
            if refusal is not None:
                self._refusal = refusal
                return self._skip_literal_after(line)
        if b"\0" in line or b"\r" in line:
            self._begin_skipping(line, "NUL or bare CR in a command.")
            return self._skip_literal_after(line)
        self._parts.append(line)
        self._line_octets += length
        literal = _LITERAL.search(line) if line.endswith(b"}") else None
        if literal is None:
            command = Command(self._tag, self._name, tuple(self._parts), self._offset)
            self._forget()
            return command
        return self._begin_literal(line, int(literal[1]), synchronising=not literal[2])

    def _read_begin(self, line: bytes) -> Refused | None:
        begin = _BEGIN.match(line)
        if begin is None:
            tag = _TAG.match(line)
            return Refused(tag[1] if tag else b"*", "", _NO_COMMAND)
        self._tag = begin[1]
        self._name = begin[2].decode("ascii").upper()
        self._offset = begin.end()
        if self._name == "UID":
            second = _UID_COMMAND.match(line, begin.end())
            if second is not None:
                self._name = "UID " + second[1].decode("ascii").upper()
                self._offset = second.end()
        return None

    def _begin_literal(self, line: bytes, size: int, *, synchronising: bool) -> Event | bool:
        refusal = self._refuse_size(size)
        if refusal is not None:
            if synchronising:
                # The client has sent nothing yet, so the refusal is the whole answer (RFC 3501 s7.5).
                self._forget()
                return refusal
            self._refusal = refusal
            return self._skip_literal_after(line)
        self._literal_octets += size
        self._wanted = size
        self._step = self._read_literal
        if synchronising:
            return LiteralWanted(self._tag, self._name, size, tuple(self._parts), self._offset)
        return True

    def _refuse_size(self, size: int) -> Refused | None:
        limits = self._limits
        if len(self._parts) // 2 >= limits.literals:
            return self._bad("Too many literals.")
        if limits.message and self._name in limits.message_commands:
            if size > limits.message or self._literal_octets > limits.message + limits.literal:
                # RFC 7889 s4: the message is larger than we would take.
                return Refused(self._tag, self._name, "Message is too large.", code="TOOBIG")
        elif self._literal_octets + size > limits.literal:
            return self._bad("Too long argument.")
        return None

    def _read_literal(self) -> bool:
        if len(self._buffer) < self._wanted:
            return False
        self._parts.append(bytes(memoryview(self._buffer)[: self._wanted]))
        del self._buffer[: self._wanted]
        self._wanted = -1
        self._step = self._read_line
        return True

    def _bad(self, text: str) -> Refused:
        return Refused(self._tag, self._name, f"Error in IMAP command {self._name}: {text}")

    def _begin_skipping(self, line: bytes, text: str) -> None:
        if not self._parts:
            refusal = self._read_begin(line)
            if refusal is not None:
                self._refusal = refusal
                return
        self._refusal = self._bad(text)

    def _skip_literal_after(self, line: bytes) -> Event | bool:
        """A refused line may announce a literal that comes unasked: what is in it must never be read as commands."""
        is_command = not self._raw_line
        literal = _LITERAL.search(line) if is_command and line.endswith(b"}") else None
        self._parts.clear()
        if literal is not None and literal[2]:
            self._skip = int(literal[1])
            self._step = self._throw_away
            return True
        return self._refuse()

    def _throw_away(self) -> Event | bool:
        buffer = self._buffer
        if self._skip:
            taken = min(self._skip, len(buffer))
            del buffer[:taken]
            self._skip -= taken
            self._searched = 0
            if self._skip:
                return False
        end = buffer.find(b"\n", self._searched)
        if end < 0:
            # The end of the line is kept: it may announce a literal.
            if len(buffer) > 64:
                del buffer[:-64]
            self._searched = len(buffer)
            return False
        tail = bytes(buffer[max(0, end - 64) : end]).removesuffix(b"\r")
        del buffer[: end + 1]
        self._searched = 0
        return self._skip_literal_after(tail)

    def _refuse(self) -> Refused:
        refusal = self._refusal
        raw_line = self._raw_line
        self._forget()
        if raw_line:
            self._raw_line = False
            return Refused(b"*", "", "Too long line.")
        return refusal or Refused(b"*", "", _NO_COMMAND)

    def _forget(self) -> None:
        self._parts.clear()
        self._tag, self._name, self._offset = b"*", "", 0
        self._line_octets = self._literal_octets = 0
        self._wanted = -1
        self._skip = 0
        self._refusal = None
        self._step = self._read_line
