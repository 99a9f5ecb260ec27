"""Addresses of a header field as ENVELOPE shows them (RFC 3501 s7.4.2): what can be understood of any octets.

Well-formed lists go through one regular expression; the rest through a forgiving reader of RFC 5322 s3.4 and s4.4
(routes, comments, groups, dots in phrases). What is missing is named as Dovecot names it (MISSING_MAILBOX,
MISSING_DOMAIN, SYNTAX_ERROR), which clients have learned to show.
"""

import re
from typing import Final, NamedTuple

MAX_ADDRESSES: Final = 1000
"""Addresses shown of one field: clients show a few, and a hostile message must not fill the index."""

_MISSING_MAILBOX: Final = b"MISSING_MAILBOX"
_MISSING_DOMAIN: Final = b"MISSING_DOMAIN"
_SYNTAX_ERROR: Final = b"SYNTAX_ERROR"


class MailAddress(NamedTuple):
    """One element of an ENVELOPE address list; None is NIL. A group begins with (mailbox=its name, host=None) and
    ends with nothing but None."""

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


_GROUP_END: Final = MailAddress(None, None, None, None)

# One plain mailbox and its comma: an optional phrase of plain words or one quoted string, and <local@domain>, or the
# bare address. Dots and specials in the phrase, comments and escapes take the long way.
_PLAIN: Final = re.compile(
    rb"""[ \t]*
    (?:
      (?: "([^"\\\r\n\x00]*)" | ((?:[^\x00-\x20()<>@,;:\\".\[\]\x7f]+(?:[ ][^\x00-\x20()<>@,;:\\".\[\]\x7f]+)*)?) )
      [ \t]*<([^\x00-\x20()<>@,;:\\"\[\]\x7f.]+(?:\.[^\x00-\x20()<>@,;:\\"\[\]\x7f.]+)*)
      @([^\x00-\x20()<>@,;:\\"\[\]\x7f.]+(?:\.[^\x00-\x20()<>@,;:\\"\[\]\x7f.]+)*)>
    |
      ([^\x00-\x20()<>@,;:\\"\[\]\x7f.]+(?:\.[^\x00-\x20()<>@,;:\\"\[\]\x7f.]+)*)
      @([^\x00-\x20()<>@,;:\\"\[\]\x7f.]+(?:\.[^\x00-\x20()<>@,;:\\"\[\]\x7f.]+)*)
    )
    [ \t]*(?:,|\Z)""",
    re.VERBOSE,
)
_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_ATOM: Final = re.compile(rb"""[^\x00-\x20()<>@,;:\\"\[\]\x7f.]+""")
_QUOTED: Final = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"?', re.DOTALL)
_LITERAL: Final = re.compile(rb"\[[^\]]*\]?")
_SEPARATOR: Final = re.compile(rb"[,;]")
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_COMMENT_MARK: Final = re.compile(rb"[()\\]")


def parse_addresses(value: bytes) -> list[MailAddress]:
    """`value` is unfolded. Never fails: an unreadable list gives what could be read."""
    found: list[MailAddress] = []
    position = 0
    length = len(value)
    match = _PLAIN.match
    while position < length:
        plain = match(value, position)
        if plain is None:
            return _Reader(value).addresses()
        quoted, words, mailbox, host, bare, bare_host = plain.groups()
        if bare is not None:
            found.append(MailAddress(None, None, bare, bare_host))
        else:
            found.append(MailAddress(quoted or words or None, None, mailbox, host))
        position = plain.end()
        if len(found) >= MAX_ADDRESSES:
            break
    return found


class _Reader:
    """The forgiving way; one pass, every step moves on."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._position = 0
        self._comment = b""
        self._group_name = b""

    def addresses(self) -> list[MailAddress]:
        found: list[MailAddress] = []
        in_group = False
        self._skip()
        while self._position < len(self._value) and len(found) < MAX_ADDRESSES:
            here = self._peek()
            if here == b",":
                self._position += 1
            elif here == b";":
                self._position += 1
                if in_group:
                    found.append(_GROUP_END)
                    in_group = False
            else:
                address = self._address()
                if address is None:
                    if not in_group:
                        in_group = True
                    found.append(MailAddress(None, None, self._group_name, None))
                else:
                    found.append(address)
                    self._skip_to_separator()
            self._skip()
        if in_group:
            found.append(_GROUP_END)
        return found

    def _skip_to_separator(self) -> None:
        """What stands behind an address and is no separator is not understood, so it is not shown."""
        separator = _SEPARATOR.search(self._value, self._position)
        self._position = len(self._value) if separator is None else separator.start()

    def _peek(self) -> bytes:
        return self._value[self._position : self._position + 1]

    def _skip(self) -> None:
        """White space, comments (the last one is remembered: it may be the name) and control characters."""
        value = self._value
        while True:
            match = _SPACE.match(value, self._position)
            if match is not None:
                self._position = match.end()
            here = self._peek()
            if here == b"(":
                self._read_comment()
            elif here and (here[0] < 32 or here[0] == 127):
                self._position += 1
            else:
                return

    def _read_comment(self) -> None:
        start = self._position + 1
        depth = 0
        end = len(self._value)
        position = self._position
        while True:
            mark = _COMMENT_MARK.search(self._value, position)
            if mark is None:
                position = end
                break
            position = mark.end()
            if mark[0] == b"(":
                depth += 1
            elif mark[0] == b"\\":
                position += 1
            else:
                depth -= 1
                if depth == 0:
                    end = position - 1
                    break
        self._position = min(position, len(self._value))
        self._comment = _ESCAPE.sub(rb"\1", self._value[start:end]).strip()

    def _word(self) -> bytes | None:
        """An atom or the inside of a quoted string."""
        value = self._value
        if self._peek() == b'"':
            match = _QUOTED.match(value, self._position)
            if match is not None:
                self._position = match.end()
                return _ESCAPE.sub(rb"\1", match[1])
        match = _ATOM.match(value, self._position)
        if match is None:
            return None
        self._position = match.end()
        return match[0]

    def _words(self) -> tuple[bytes, bytes, bool]:
        """A run of words and dots, as a phrase (words with one space between) and as a local part (nothing between
        words and dots); whether it could be a local part: no two words without a dot between."""
        phrase: list[bytes] = []
        local: list[bytes] = []
        one_address = True
        after_word = False
        while True:
            before = self._position
            self._skip()
            spaced = self._position > before
            if self._peek() == b".":
                self._position += 1
                if spaced and phrase:
                    phrase.append(b" ")
                phrase.append(b".")
                local.append(b".")
                after_word = False
                continue
            word = self._word()
            if word is None:
                return b"".join(phrase), b"".join(local), one_address
            if phrase and spaced:
                phrase.append(b" ")
            if after_word:
                one_address = False
            phrase.append(word)
            local.append(word)
            after_word = True

    def _address(self) -> MailAddress | None:
        """None: a group began, its name is in `_group_name`."""
        begin = self._position
        self._comment = b""
        phrase, local, one_address = self._words()
        here = self._peek()
        if here == b"<":
            self._position += 1
            return self._angle(phrase or None)
        if here == b":":
            self._position += 1
            self._group_name = phrase
            return None
        if here == b"@":
            self._position += 1
            host = self._domain()
            if not one_address:
                # Words before a bare address: there is no telling which is the mailbox.
                return MailAddress(phrase or None, None, _MISSING_MAILBOX, host or _MISSING_DOMAIN)
            name = self._comment or None
            return MailAddress(name, None, local or _MISSING_MAILBOX, host or _MISSING_DOMAIN)
        if self._position == begin:
            # Something that cannot begin an address: one octet further.
            self._position += 1
        if one_address and local and b" " not in local:
            return MailAddress(self._comment or None, None, local, _MISSING_DOMAIN)
        return MailAddress(phrase or None, None, _MISSING_MAILBOX, _MISSING_DOMAIN)

    def _angle(self, name: bytes | None) -> MailAddress:
        route = None
        self._skip()
        if self._peek() == b"@":
            route = self._route()
        _, local, _ = self._words()
        host = b""
        if self._peek() == b"@":
            self._position += 1
            host = self._domain()
        self._skip()
        if self._peek() == b">":
            self._position += 1
            return MailAddress(name, route, local or _MISSING_MAILBOX, host or _MISSING_DOMAIN)
        return MailAddress(name, route, local or _MISSING_MAILBOX, host or _SYNTAX_ERROR)

    def _route(self) -> bytes | None:
        """obs-route = "@" domain *("," "@" domain) ":" """
        hops: list[bytes] = []
        begin = self._position
        while self._peek() in (b"@", b","):
            if self._peek() == b"@":
                self._position += 1
                hops.append(b"@" + self._domain())
            else:
                self._position += 1
            self._skip()
        if self._peek() == b":":
            self._position += 1
            return b",".join(hops)
        self._position = begin
        return None

    def _domain(self) -> bytes:
        self._skip()
        literal = _LITERAL.match(self._value, self._position)
        if literal is not None:
            self._position = literal.end()
            self._skip()
            return literal[0]
        pieces: list[bytes] = []
        while True:
            self._skip()
            if self._peek() == b".":
                self._position += 1
                pieces.append(b".")
                continue
            if pieces and pieces[-1] != b".":
                return b"".join(pieces)
            match = _ATOM.match(self._value, self._position)
            if match is None:
                return b"".join(pieces)
            self._position = match.end()
            pieces.append(match[0])
