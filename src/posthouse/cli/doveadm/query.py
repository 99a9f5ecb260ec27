"""Search queries as doveadm-search-query(7) has them: words of a command line, made into SEARCH keys of IMAP.

Beyond IMAP there are MAILBOX, infix OR, sizes with a unit, and times: "4w" (ago), "2024-01-31", "31-Jan-2024", seconds
since 1970. Internal dates are compared to the second: IMAP compares days, so that the messages of the days around such
a time are looked at one by one (`Selected`).
"""

import datetime
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final, Protocol

import msgspec

from posthouse.cli.doveadm.endings import Ended, Fatal
from posthouse.cli.doveadm.imap import quoted

MAX_DEPTH: Final = 100
MAX_WORDS: Final = 100_000
FLAGS: Final = frozenset(
    [
        "ALL",
        "ANSWERED",
        "DELETED",
        "DRAFT",
        "FLAGGED",
        "NEW",
        "OLD",
        "RECENT",
        "SEEN",
        "UNANSWERED",
        "UNDELETED",
        "UNDRAFT",
        "UNFLAGGED",
        "UNSEEN",
    ]
)
TEXTS: Final = frozenset(["BCC", "BODY", "CC", "FROM", "SUBJECT", "TEXT", "TO"])
KEYWORDS: Final = frozenset(("KEYWORD", "UNKEYWORD"))
DAYS: Final = frozenset(["BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE"])
SIZES: Final = frozenset(("LARGER", "SMALLER"))
MISSING: Final = frozenset(
    [
        "SAVEDBEFORE",
        "SAVEDON",
        "SAVEDSINCE",
        "SAVEDATESUPPORTED",
        "MODSEQ",
        "INTHREAD",
        "GUID",
        "MAILBOX-GUID",
        "X-GUID",
        "X-MAILBOX",
        "X-SIZE",
    ]
)
"""Dovecot knows them."""
_INTERVAL: Final = re.compile(r"(\d{1,9})\s*([a-z]*)", re.IGNORECASE)
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONG_UNITS: Final = {"sec": 1, "min": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
_SIZE: Final = re.compile(r"(\d{1,15})\s*([bkmgt]?)i?b?", re.IGNORECASE)
_NUMBER: Final = r"(?:[1-9][0-9]{0,9}|\*)"
_SEQUENCE: Final = re.compile(rf"{_NUMBER}(?::{_NUMBER})?(?:,{_NUMBER}(?::{_NUMBER})?)*")
MAX_UID: Final = 0xFFFFFFFF
_ATOM: Final = re.compile(r"[^\x00-\x20\x7f-\U0010ffff(){%*\"\\\]]+")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Selected(Protocol):
    """What SEARCH cannot say without a look at the selected mailbox."""

    def moment(self, word: str, at_s: float) -> bytes:
        """Keys for the internal date: "BEFORE", "SINCE" or "ON" (within a day after) and a time."""
        ...

    def numbers(self, text: str) -> bytes:
        """Keys for those of the sequence numbers that are there."""
        ...


class Anything:
    """Before a mailbox is selected: everything may match."""

    def moment(self, word: str, at_s: float) -> bytes:  # noqa: ARG002
        return b"ALL"

    def numbers(self, text: str) -> bytes:  # noqa: ARG002
        return b"ALL"


class Key(msgspec.Struct, frozen=True):
    """Sent as it stands."""

    wire: bytes


class InMailbox(msgspec.Struct, frozen=True):
    mask: str


class Moment(msgspec.Struct, frozen=True):
    word: str
    at_s: float


class Numbers(msgspec.Struct, frozen=True):
    """Sequence numbers."""

    text: str


class Not(msgspec.Struct, frozen=True):
    key: "Node"


class All(msgspec.Struct, frozen=True):
    keys: "tuple[Node, ...]"


class Any(msgspec.Struct, frozen=True):
    keys: "tuple[Node, ...]"


Node = Key | InMailbox | Moment | Numbers | Not | All | Any


def parse(words: Sequence[str], now_s: float) -> Node:
    """Raises Fatal."""
    if len(words) > MAX_WORDS:
        raise Fatal("too many words in the search query")
    parser = _Parser(words, now_s)
    found = parser.group(0)
    if parser.at < len(words):
        raise Fatal("Unexpected ')'")
    return found


class _Parser:
    def __init__(self, words: Sequence[str], now_s: float) -> None:
        self._words = words
        self._now_s = now_s
        self.at = 0

    def _next(self, key: str) -> str:
        if self.at >= len(self._words):
            raise Fatal(f"Missing parameter for search key (for search key: {key})")
        self.at += 1
        return self._words[self.at - 1]

    def group(self, depth: int) -> Node:
        """Up to the end or a closing parenthesis."""
        if depth > MAX_DEPTH:
            raise Fatal("the search query has too many parentheses in each other")
        found = [self._key(depth)]
        joints: set[str] = set()
        while self.at < len(self._words) and self._words[self.at] != ")":
            joint = "AND"
            if self._words[self.at].upper() == "OR":
                joint = "OR"
                self.at += 1
            joints.add(joint)
            if len(joints) > 1:
                raise Fatal("Use parenthesis when mixing ANDs and ORs")
            found.append(self._key(depth))
        if len(found) == 1:
            return found[0]
        return Any(tuple(found)) if "OR" in joints else All(tuple(found))

    def _key(self, depth: int) -> Node:
        word = self._next("")
        name = word.upper()
        if word == "(":
            found = self.group(depth + 1)
            if self.at >= len(self._words):
                raise Fatal("Missing ')'")
            self.at += 1
            return found
        if name == "NOT":
            if depth > MAX_DEPTH:
                raise Fatal("the search query has too many NOT in each other")
            return Not(self._key(depth + 1))
        if name == "OR":
            raise Fatal("Use parenthesis when mixing ANDs and ORs")
        if name == "MAILBOX":
            return InMailbox(self._next(name))
        if name in FLAGS:
            return Key(name.encode())
        if name in TEXTS:
            return Key(name.encode() + b" " + _string(self._next(name)))
        if name == "HEADER":
            field, text = self._next(name), self._next(name)
            return Key(b"HEADER " + _string(field) + b" " + _string(text))
        if name in KEYWORDS:
            flag = self._next(name)
            if not is_atom(flag):
                raise Fatal(f"Invalid keyword: {flag}")
            return Key(f"{name} {flag}".encode())
        if name in DAYS:
            return self._time(name, self._next(name))
        if name in SIZES:
            return Key(f"{name} {_size(self._next(name))}".encode())
        if name == "UID":
            return Key(b"UID " + _sequence(self._next(name)))
        if _SEQUENCE.fullmatch(word):
            return Numbers(_sequence(word).decode())
        if name in MISSING:
            raise Fatal(f"search key {name} is not supported by Posthouse")
        raise Fatal(f"Unknown argument {name}")

    def _time(self, name: str, text: str) -> Node:
        at_s = parse_time(text, self._now_s)
        if not name.startswith("SENT"):
            return Moment(name, at_s)
        return Key(f"{name} {imap_day(at_s)}".encode())


def is_atom(text: str) -> bool:
    return _ATOM.fullmatch(text) is not None


def _string(text: str) -> bytes:
    return quoted(text.encode("utf-8", "surrogateescape"))


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise Fatal(f"Invalid search size parameter: {text}")
    return int(match[1]) << 10 * "bkmgt".index(match[2].lower() or "b")


def _sequence(text: str) -> bytes:
    numbers = re.findall(r"[0-9]+", text)
    if not _SEQUENCE.fullmatch(text) or any(int(one) > MAX_UID for one in numbers):
        raise Fatal(f"Invalid UID messageset: {text}")
    return text.encode()


def parse_time(text: str, now_s: float) -> float:
    """Days begin at midnight here. Raises Fatal."""
    if text.isascii() and text.isdecimal() and len(text) > 4:
        return float(text[:12])
    try:
        match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", text)
        if match is not None:
            return datetime.datetime(int(match[1]), int(match[2]), int(match[3])).timestamp()  # noqa: DTZ001 - local
        match = re.fullmatch(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})", text)
        if match is not None:
            month = _MONTHS.index(match[2].title()) + 1
            return datetime.datetime(int(match[3]), month, int(match[1])).timestamp()  # noqa: DTZ001 - local
        match = _INTERVAL.fullmatch(text)
        if match is not None and match[2]:
            return now_s - int(match[1]) * _unit(match[2].lower())
    except (ValueError, OverflowError):
        pass
    raise Fatal(f"Invalid search date parameter: {text}")


def _unit(text: str) -> int:
    """Any beginning of seconds, minutes, hours, days, weeks; minutes take "min"."""
    if text in _UNITS:
        return _UNITS[text]
    for name, size in _LONG_UNITS.items():
        if text.startswith(name) and {"sec": "seconds", "min": "minutes"}.get(name, f"{name}s").startswith(text):
            return size
        if text == f"{name}s":
            return size
    raise ValueError(text)


def numbers_within(text: str, exists: int) -> bytes:
    """Keys for those of the numbers that are not above `exists`: the server refuses others."""
    parts: list[str] = []
    for part in text.split(","):
        ends = [exists if one == "*" else int(one) for one in part.split(":")]
        first, last = min(ends), min(max(ends), exists)
        if 0 < first <= last:
            parts.append(f"{first}:{last}")
    return ",".join(parts).encode() or b"NOT ALL"


def imap_day(at_s: float) -> str:
    day = datetime.datetime.fromtimestamp(at_s).date()  # noqa: DTZ006 - local, as the server's days are
    return f"{day.day}-{_MONTHS[day.month - 1]}-{day.year:04}"


# ── what a query means for one mailbox ──


def masks(node: Node) -> "list[str] | None":
    """The mailboxes without which nothing can match; None: all."""
    match node:
        case InMailbox(mask):
            return [mask]
        case All(keys):
            return next((found for one in keys if (found := masks(one)) is not None), None)
        case Any(keys):
            each = [masks(one) for one in keys]
            return None if None in each else [mask for one in each for mask in one or ()]
        case _:
            return None


def names_mailbox_everywhere(node: Node) -> bool:
    return masks(node) is not None


def has_other_keys_everywhere(node: Node) -> bool:
    """Besides MAILBOX."""
    match node:
        case InMailbox():
            return False
        case Not(key):
            return has_other_keys_everywhere(key)
        case All(keys):
            return any(map(has_other_keys_everywhere, keys))
        case Any(keys):
            return all(map(has_other_keys_everywhere, keys))
        case _:
            return True


def fits_mailbox(name: str, mask: str, separator: str) -> bool:
    """* crosses levels, % does not. INBOX is meant in any spelling."""
    if name.upper() == "INBOX" and mask.upper() == "INBOX":
        return True
    if "%" not in mask:
        return fnmatchcase(name, mask.replace("[", "[[]").replace("?", "[?]"))
    pieces = re.split(r"([*%])", mask)
    level = f"[^{re.escape(separator)}]*"
    pattern = "".join({"*": ".*", "%": level}.get(piece, re.escape(piece)) for piece in pieces)
    return re.fullmatch(pattern, name, re.DOTALL) is not None


def keys(node: Node, mailbox: str, separator: str, selected: Selected) -> "bytes | None":
    """SEARCH keys for this mailbox; None if nothing in it can match."""
    found = _simplified(node, mailbox, separator, selected)
    if found is False:
        return None
    return b"ALL" if found is True else found


def _simplified(node: Node, mailbox: str, separator: str, selected: Selected) -> "bytes | bool":
    match node:
        case Key(wire):
            return wire
        case InMailbox(mask):
            return fits_mailbox(mailbox, mask, separator)
        case Moment(word, at_s):
            return selected.moment(word, at_s)
        case Numbers(text):
            return selected.numbers(text)
        case Not(key):
            inner = _simplified(key, mailbox, separator, selected)
            return not inner if isinstance(inner, bool) else b"NOT (" + inner + b")"
        case All(parts):
            wires: list[bytes] = []
            for one in parts:
                inner = _simplified(one, mailbox, separator, selected)
                if inner is False:
                    return False
                if not isinstance(inner, bool):
                    wires.append(inner)
            return b" ".join(wires) if wires else True
        case Any(parts):
            wires = []
            for one in parts:
                inner = _simplified(one, mailbox, separator, selected)
                if inner is True:
                    return True
                if not isinstance(inner, bool):
                    wires.append(inner)
            return _either(wires) if wires else False
    raise Ended(75, "Fatal: a search key that is not one")


def _either(wires: Sequence[bytes]) -> bytes:
    """OR takes two keys; halves keep the depth small."""
    if len(wires) == 1:
        return wires[0]
    middle = len(wires) // 2
    return b"OR (" + _either(wires[:middle]) + b") (" + _either(wires[middle:]) + b")"
