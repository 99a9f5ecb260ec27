"""Reading the arguments of a command, left to right.

One cursor over the parts that `parser.CommandReader` collected. Methods take what they name and move on, or raise
`BadArguments`, which the session answers with BAD. Grammar: RFC 3501 s9.
"""

import re
from typing import Final

# ATOM-CHAR: any CHAR except atom-specials "(" ")" "{" SP CTL list-wildcards quoted-specials resp-specials.
_ATOM: Final = re.compile(rb"""[^\x00-\x20\x7f-\xff()\{%*"\\\]]+""")
# ASTRING-CHAR = ATOM-CHAR / resp-specials. Octets above 127 are taken as well, as Dovecot does; what they mean is
# decided where the text is used (a mailbox name refuses them, a search key reads them in its charset).
_ASTRING: Final = re.compile(rb"""[^\x00-\x20\x7f()\{%*"\\]+""")
_LIST_MAILBOX: Final = re.compile(rb"""[^\x00-\x20\x7f()\{"\\]+""")
_QUOTED: Final = re.compile(rb'"([^"\\\x00\r\n]*(?:\\[^\x00\r\n][^"\\\x00\r\n]*)*)"')
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_LITERAL: Final = re.compile(rb"~?\{[0-9]{1,20}\+?\}\Z")
_NUMBER: Final = re.compile(rb"[0-9]{1,20}(?![0-9])")
_FLAG: Final = re.compile(rb"""\\?[^\x00-\x20\x7f-\xff()\{%*"\\\]]+""")
_SEQUENCE_SET: Final = re.compile(rb"[0-9*:,$]+")
_SPACE: Final = re.compile(rb" +")

MAX_FLAG_LENGTH: Final = 255
"""A keyword must fit the formats that store it by name (dovecot-keywords has one per line)."""


class BadArguments(Exception):
    """The command is not well-formed: answered with BAD. The text goes to the client."""


class Arguments:
    __slots__ = ("_line", "_next", "_parts", "position")

    def __init__(self, parts: tuple[bytes, ...], offset: int) -> None:
        self._parts = parts
        self._line = parts[0]
        self._next = 1
        self.position = offset

    def at_end(self) -> bool:
        return self.position >= len(self._line) and self._next >= len(self._parts)

    def end(self) -> None:
        """Nothing may follow (white space at the end is forgiven)."""
        _ = self.maybe_space()
        if not self.at_end():
            raise BadArguments("Too many arguments.")

    def peek(self) -> bytes:
        """The next octet, b"" at the end of a line."""
        return self._line[self.position : self.position + 1]

    def peek_upper(self, length: int) -> bytes:
        return self._line[self.position : self.position + length].upper()

    def maybe(self, text: bytes) -> bool:
        """Take this text if it comes next."""
        if self._line.startswith(text, self.position):
            self.position += len(text)
            return True
        return False

    def expect(self, text: bytes) -> None:
        if not self.maybe(text):
            raise BadArguments("Invalid arguments.")

    def maybe_space(self) -> bool:
        # More than one space is forgiven, as everywhere.
        match = _SPACE.match(self._line, self.position)
        if match is None:
            return False
        self.position = match.end()
        return True

    def space(self) -> None:
        if not self.maybe_space():
            raise BadArguments("Missing arguments." if self.at_end() else "Invalid arguments.")

    def take(self, pattern: re.Pattern[bytes]) -> bytes:
        match = pattern.match(self._line, self.position)
        if match is None:
            raise BadArguments("Missing arguments." if self.at_end() else "Invalid arguments.")
        self.position = match.end()
        return match[0]

    def atom(self) -> bytes:
        return self.take(_ATOM)

    def keyword(self) -> str:
        """An atom that names something in the protocol, in capitals."""
        return self.take(_ATOM).decode("ascii").upper()

    def number(self) -> int:
        """number = 32 bits (RFC 3501 s9); 63 bits where later standards allow it, so that is the limit here."""
        value = int(self.take(_NUMBER))
        if value >= 1 << 63:
            raise BadArguments("Number is too large.")
        return value

    def maybe_string(self) -> bytes | None:
        """A quoted string or literal, None if something else comes next."""
        first = self.peek()
        if first == b'"':
            match = _QUOTED.match(self._line, self.position)
            if match is None:
                raise BadArguments("Missing '\"'.")
            self.position = match.end()
            text = match[1]
            return _ESCAPED.sub(rb"\1", text) if b"\\" in text else text
        if first in (b"{", b"~") and _LITERAL.match(self._line, self.position):
            if self._next + 1 > len(self._parts) - 1:
                raise BadArguments("Invalid arguments.")
            literal = self._parts[self._next]
            self._line = self._parts[self._next + 1]
            self._next += 2
            self.position = 0
            return literal
        return None

    def string(self) -> bytes:
        text = self.maybe_string()
        if text is None:
            raise BadArguments("Missing arguments." if self.at_end() else "Invalid arguments.")
        return text

    def literal(self) -> bytes:
        if self.peek() not in (b"{", b"~"):
            raise BadArguments("Invalid arguments.")
        return self.string()

    def astring(self) -> bytes:
        text = self.maybe_string()
        return self.take(_ASTRING) if text is None else text

    def nstring(self) -> bytes | None:
        """A string or NIL; an atom is taken too, as Dovecot does for ID."""
        text = self.maybe_string()
        if text is None:
            text = self.take(_ASTRING)
            return None if text.upper() == b"NIL" else text
        return text

    def list_mailbox(self) -> bytes:
        text = self.maybe_string()
        return self.take(_LIST_MAILBOX) if text is None else text

    def sequence_set(self) -> bytes:
        return self.take(_SEQUENCE_SET)

    def flag(self) -> str:
        flag = self.take(_FLAG)
        if len(flag) > MAX_FLAG_LENGTH:
            raise BadArguments("Keyword is too long.")
        return flag.decode("ascii")

    def flag_list(self) -> list[str]:
        """( [flag *(SP flag)] )"""
        self.expect(b"(")
        flags: list[str] = []
        _ = self.maybe_space()
        while not self.maybe(b")"):
            if flags:
                self.space()
                if self.maybe(b")"):
                    break
            flags.append(self.flag())
        return flags
