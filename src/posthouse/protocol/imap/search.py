"""The keys of SEARCH (RFC 3501 s6.4.4) as a tree: grammar only, `access.imap.command.search` looks things up."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from posthouse.protocol.imap.arguments import Arguments, BadArguments
from posthouse.protocol.imap.date import parse_date
from posthouse.protocol.imap.sequence import SequenceSet, parse_sequence_set

MAX_DEPTH: Final = 50
"""Levels of parentheses, NOT and OR inside each other."""

MAX_KEYS: Final = 5000
"""Keys in one command; clients that search for many Message-IDs chain OR, one level and two keys for each."""

CHARSETS: Final = ("UTF-8", "US-ASCII")


class BadCharset(Exception):
    """NO [BADCHARSET]: RFC 3501 s6.4.4."""


@dataclass(frozen=True, slots=True)
class All:
    pass


@dataclass(frozen=True, slots=True)
class Numbers:
    """Message sequence numbers, or UIDs."""

    numbers: SequenceSet
    uid: bool


@dataclass(frozen=True, slots=True)
class Flag:
    """A system flag in its usual spelling, or a keyword (compared without regard to case)."""

    flag: str


@dataclass(frozen=True, slots=True)
class Recent:
    pass


class Clock(enum.Enum):
    INTERNAL = "internal date"
    SENT = "Date: field"


@dataclass(frozen=True, slots=True)
class Days:
    """From `first` (inclusive) to `before` (exclusive); None is open."""

    clock: Clock
    first: date | None
    before: date | None


@dataclass(frozen=True, slots=True)
class Size:
    """Larger than `above` and smaller than `below`; None is open."""

    above: int | None = None
    below: int | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """The field contains the text; "" means that the field is there."""

    name: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Body:
    """The text is in the body, or anywhere in the message (`header` too)."""

    text: str
    header: bool


@dataclass(frozen=True, slots=True)
class Not:
    key: "SearchKey"


@dataclass(frozen=True, slots=True)
class Or:
    either: "SearchKey"
    other: "SearchKey"


@dataclass(frozen=True, slots=True)
class And:
    keys: tuple["SearchKey", ...]


SearchKey = All | Numbers | Flag | Recent | Days | Size | Header | Body | Not | Or | And


def parse_search(arguments: Arguments) -> SearchKey:
    """[CHARSET name] 1*(SP search-key). Raises BadArguments, BadCharset."""
    arguments.space()
    ascii_only = False
    if arguments.peek_upper(8) == b"CHARSET ":
        _ = arguments.keyword()
        arguments.space()
        charset = arguments.astring().upper()
        if charset not in (b"UTF-8", b"US-ASCII"):
            raise BadCharset
        ascii_only = charset == b"US-ASCII"
        arguments.space()
    parser = _Parser(arguments, ascii_only=ascii_only)
    keys = parser.keys()
    arguments.end()
    return keys


class _Parser:
    def __init__(self, arguments: Arguments, *, ascii_only: bool) -> None:
        self.arguments = arguments
        self._ascii_only = ascii_only
        self._keys = 0
        self._depth = 0

    def keys(self) -> SearchKey:
        """1*(SP search-key), up to the end or a closing parenthesis."""
        found = [self.key()]
        while self.arguments.maybe_space():
            if self.arguments.at_end() or self.arguments.peek() == b")":
                break
            found.append(self.key())
        return found[0] if len(found) == 1 else And(tuple(found))

    def key(self) -> SearchKey:
        arguments = self.arguments
        self._keys += 1
        if self._keys > MAX_KEYS:
            raise BadArguments("Too many search keys.")
        first = arguments.peek()
        if first == b"(":
            arguments.expect(b"(")
            self._enter()
            inside = self.keys()
            self._depth -= 1
            if not arguments.maybe(b")"):
                raise BadArguments("Missing ')'")
            return inside
        if first.isdigit() or first == b"*":
            return Numbers(parse_sequence_set(arguments.sequence_set()), uid=False)
        word = arguments.keyword()
        rule = _RULES.get(word)
        if rule is None:
            raise BadArguments(f"Unknown argument {word[:64]}")
        return rule(self)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadArguments("Search keys are nested too deeply.")

    def inner(self) -> SearchKey:
        """The key that NOT and OR take."""
        self.arguments.space()
        self._enter()
        key = self.key()
        self._depth -= 1
        return key

    def text(self) -> str:
        self.arguments.space()
        octets = self.arguments.astring()
        try:
            return octets.decode("ascii" if self._ascii_only else "utf-8")
        except UnicodeDecodeError as error:
            # Without CHARSET it is US-ASCII (RFC 3501 s6.4.4); UTF-8 is taken as well, as everywhere.
            raise BadCharset from error

    def number(self) -> int:
        self.arguments.space()
        return self.arguments.number()

    def date(self) -> date:
        self.arguments.space()
        return parse_date(self.arguments.astring())

    def keyword(self) -> str:
        self.arguments.space()
        return self.arguments.flag()

    def or_key(self) -> SearchKey:
        # A long chain "OR a OR b OR c …" is how clients search for many things: its last key is read in a loop, so that
        # only real nesting counts.
        alternatives = [self.inner()]
        arguments = self.arguments
        arguments.space()
        while arguments.peek_upper(3) == b"OR ":
            _ = arguments.keyword()
            alternatives.append(self.inner())
            arguments.space()
            self._keys += 1
            if self._keys > MAX_KEYS:
                raise BadArguments("Too many search keys.")
        self._enter()
        key = self.key()
        self._depth -= 1
        return _balanced([*alternatives, key])


def _balanced(keys: list[SearchKey]) -> SearchKey:
    """Alternatives as a tree of small depth: whoever walks it may recurse."""
    while len(keys) > 1:
        keys = [Or(*keys[at : at + 2]) if at + 1 < len(keys) else keys[at] for at in range(0, len(keys), 2)]
    return keys[0]


def _days(clock: Clock, kind: str) -> Callable[[_Parser], SearchKey]:
    def rule(parser: _Parser) -> SearchKey:
        day = parser.date()
        if kind == "before":
            return Days(clock, None, day)
        if kind == "since":
            return Days(clock, day, None)
        return Days(clock, day, day + timedelta(days=1) if day < date.max else None)

    return rule


def _header(name: bytes) -> Callable[[_Parser], SearchKey]:
    return lambda parser: Header(name, parser.text())


def _any_header(parser: _Parser) -> SearchKey:
    parser.arguments.space()
    name = parser.arguments.astring().lower()
    return Header(name, parser.text())


def _uid(parser: _Parser) -> SearchKey:
    parser.arguments.space()
    return Numbers(parse_sequence_set(parser.arguments.sequence_set()), uid=True)


def _constant(key: SearchKey) -> Callable[[_Parser], SearchKey]:
    return lambda _parser: key


def _flag(flag: str) -> dict[str, Callable[[_Parser], SearchKey]]:
    word = flag[1:].upper()
    return {word: _constant(Flag(flag)), "UN" + word: _constant(Not(Flag(flag)))}


_RULES: Final[Mapping[str, Callable[[_Parser], SearchKey]]] = {
    "ALL": _constant(All()),
    **_flag("\\Answered"),
    **_flag("\\Deleted"),
    **_flag("\\Draft"),
    **_flag("\\Flagged"),
    **_flag("\\Seen"),
    "RECENT": _constant(Recent()),
    "OLD": _constant(Not(Recent())),
    "NEW": _constant(And((Recent(), Not(Flag("\\Seen"))))),
    "KEYWORD": lambda parser: Flag(parser.keyword()),
    "UNKEYWORD": lambda parser: Not(Flag(parser.keyword())),
    "BEFORE": _days(Clock.INTERNAL, "before"),
    "ON": _days(Clock.INTERNAL, "on"),
    "SINCE": _days(Clock.INTERNAL, "since"),
    "SENTBEFORE": _days(Clock.SENT, "before"),
    "SENTON": _days(Clock.SENT, "on"),
    "SENTSINCE": _days(Clock.SENT, "since"),
    "LARGER": lambda parser: Size(above=parser.number()),
    "SMALLER": lambda parser: Size(below=parser.number()),
    "FROM": _header(b"from"),
    "TO": _header(b"to"),
    "CC": _header(b"cc"),
    "BCC": _header(b"bcc"),
    "SUBJECT": _header(b"subject"),
    "HEADER": _any_header,
    "BODY": lambda parser: Body(parser.text(), header=False),
    "TEXT": lambda parser: Body(parser.text(), header=True),
    "UID": _uid,
    "NOT": lambda parser: Not(parser.inner()),
    "OR": _Parser.or_key,
}
