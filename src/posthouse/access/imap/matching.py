"""Whether a message matches the keys of SEARCH (RFC 3501 s6.4.4).

Keys are compiled once per command into a test of rows, which needs nothing but the index in memory, and a question that
needs the header or the body. Within an AND the cheap ones are asked first, so that a body is only read where everything
else already matches. Text is compared without regard to case after decoding (RFC 2047, transfer encodings, character
sets); octets that need no decoding are compared as they are.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
from typing import Final

from posthouse.core.identifiers import Uid
from posthouse.protocol.imap.date import day_of_field, start_of
from posthouse.protocol.imap.search import (
    All,
    And,
    Body,
    Clock,
    Days,
    Flag,
    Header,
    Not,
    Numbers,
    Or,
    Recent,
    SearchKey,
    Size,
)
from posthouse.protocol.imap.sequence import SequenceSet
from posthouse.protocol.message.decoding import decode_header, decode_text, decode_transfer
from posthouse.protocol.message.header import header_end, unfold_exactly
from posthouse.protocol.message.parameters import parameter
from posthouse.protocol.message.scanner import Part, scan
from posthouse.store.interface import Cached, Mailbox, MessageRow

_FOLDED: Final = re.compile(rb"\r?\n(?=[ \t])")

ROW, HEADER, CONTENT = 0, 1, 2
"""What a question costs."""

CHUNK: Final = {ROW: 1000, HEADER: 100, CONTENT: 1}
"""Messages asked about between two looks at the clock."""

RowTest = Callable[[int, MessageRow], bool]
"""Message number and row."""


class Candidate:
    """A message that is being asked about; header and content are read when a question needs them."""

    __slots__ = ("_content", "_header", "_mailbox", "_texts", "number", "row")

    def __init__(self, mailbox: Mailbox, number: int, row: MessageRow, header: bytes | None = None) -> None:
        self._mailbox = mailbox
        self.number = number
        self.row = row
        self._header = header
        self._content: bytes | None = None
        self._texts: list[str] | None = None

    def header(self) -> bytes:
        """With a line end before it, so that every field begins behind one."""
        if self._header is None:
            self._header = next((text for _, text in self._mailbox.cached([self.row.uid], Cached.HEADER)), b"")
        return b"\n" + self._header

    def content(self) -> bytes:
        if self._content is None:
            self._content = self._mailbox.content(self.row.uid) or b""
        return self._content

    def body_texts(self) -> list[str]:
        """The texts in the body, decoded and folded to one case."""
        if self._texts is None:
            content = self.content()
            self._texts = _texts_of(content, scan(content), with_header=False)
        return self._texts

    def header_text(self) -> str:
        content = self.content()
        return decode_header(_FOLDED.sub(b"", content[: header_end(content)])).casefold()


class FieldReader:
    """All values of one header field."""

    def __init__(self, name: bytes) -> None:
        self._pattern = re.compile(rb"\n" + re.escape(name) + rb"[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE)

    def raw(self, candidate: Candidate) -> list[bytes]:
        return self._pattern.findall(candidate.header())

    def contains(self, candidate: Candidate, text: str, octets: bytes | None) -> bool:
        """`octets` is the text, if it is ASCII: what needs no decoding is compared without."""
        for value in self.raw(candidate):
            if value.isascii() and b"=?" not in value:
                if octets is not None and octets in unfold_exactly(value).lower():
                    return True
            elif text in decode_header(unfold_exactly(value)).casefold():
                return True
        return False


def _texts_of(content: bytes, part: Part, *, with_header: bool) -> list[str]:
    found: list[str] = []
    if with_header:
        found.append(decode_header(content[part.header_start : part.body_start]).casefold())
    if part.children:
        for child in part.children:
            found.extend(_texts_of(content, child, with_header=True))
    elif part.main_type.lower() in (b"text", b"message", b"multipart"):
        octets = decode_transfer(
            content[part.body_start : part.body_end], part.fields.get(b"content-transfer-encoding", b"")
        )
        charset = (parameter(part.parameters, b"charset") or b"utf-8").decode("ascii", "replace")
        found.append(decode_text(octets, charset).casefold())
    return found


@dataclass(frozen=True, slots=True)
class Question:
    """`of_row` is there if the row is enough to answer."""

    cost: int
    asks: Callable[[Candidate], bool]
    of_row: RowTest | None = None


def _of_row(test: RowTest) -> Question:
    return Question(ROW, lambda candidate: test(candidate.number, candidate.row), test)


@dataclass(frozen=True, slots=True)
class Search:
    """First the rows, then the question (None: the rows are the answer)."""

    of_row: RowTest
    question: Question | None


@dataclass(frozen=True, slots=True)
class Span:
    """The numbers of a key, resolved against the mailbox."""

    bounds: tuple[tuple[int, int], ...]

    def __contains__(self, number: int) -> bool:
        low, high = 0, len(self.bounds)
        while low < high:
            middle = (low + high) // 2
            first, last = self.bounds[middle]
            if number < first:
                high = middle
            elif number > last:
                low = middle + 1
            else:
                return True
        return False


class Compiler:
    """`count` messages are known to the client, `highest` is the last one's UID, `recent` are the \\Recent ones. Raises
    BadArguments for a message number that does not exist."""

    def __init__(self, count: int, highest: Uid, recent: Collection[Uid]) -> None:
        self._count = count
        self._highest = highest
        self._recent = recent

    def search(self, key: SearchKey) -> Search:
        questions = _cheap_first([self._compile(each) for each in (key.keys if isinstance(key, And) else (key,))])
        rows = [question.of_row for question in questions if question.of_row is not None]
        rest = [question for question in questions if question.of_row is None]
        return Search(_all_rows(rows), _all(rest) if rest else None)

    def _compile(self, key: SearchKey) -> Question:
        match key:
            case All():
                return _of_row(lambda _number, _row: True)
            case Numbers(numbers, uid):
                return self._compile_numbers(numbers, uid=uid)
            case Flag(flag):
                if flag.startswith("\\"):
                    return _of_row(lambda _number, row: flag in row.flags)
                folded = flag.lower()
                return _of_row(lambda _number, row: any(each.lower() == folded for each in row.flags))
            case Recent():
                recent = self._recent
                return _of_row(lambda _number, row: row.uid in recent)
            case Days():
                return _compile_days(key)
            case Size(above, below):
                low, high = -1 if above is None else above, 1 << 63 if below is None else below
                return _of_row(lambda _number, row: low < row.size < high)
            case Header(name, text):
                return _compile_header(name, text.casefold())
            case Body(text, header):
                return _compile_body(text.casefold(), header=header)
            case Not(inner):
                return _opposite(self._compile(inner))
            case Or(either, other):
                return _either([self._compile(either), self._compile(other)])
            case And(keys):
                return _all([self._compile(each) for each in keys])

    def _compile_numbers(self, numbers: SequenceSet, *, uid: bool) -> Question:
        if uid:
            span = Span(tuple(numbers.uid_bounds(self._highest)) if self._count else ())
            return _of_row(lambda _number, row: row.uid in span)
        span = Span(tuple((each.start, each.stop - 1) for each in numbers.numbers(self._count)))
        return _of_row(lambda number, _row: number in span)


def _cheap_first(questions: list[Question]) -> list[Question]:
    return sorted(questions, key=lambda question: question.cost)


def _all_rows(tests: list[RowTest]) -> RowTest:
    if not tests:
        return lambda _number, _row: True
    if len(tests) == 1:
        return tests[0]
    return lambda number, row: all([test(number, row) for test in tests])


def _opposite(question: Question) -> Question:
    of_row, asks = question.of_row, question.asks
    if of_row is not None:
        return _of_row(lambda number, row: not of_row(number, row))
    return Question(question.cost, lambda candidate: not asks(candidate))


def _either(questions: list[Question]) -> Question:
    first, second = _cheap_first(questions)
    one, other = first.of_row, second.of_row
    if one is not None and other is not None:
        return _of_row(lambda number, row: one(number, row) or other(number, row))
    return Question(second.cost, lambda candidate: first.asks(candidate) or second.asks(candidate))


def _all(questions: list[Question]) -> Question:
    questions = _cheap_first(questions)
    tests = [question.of_row for question in questions if question.of_row is not None]
    if len(tests) == len(questions):
        return _of_row(_all_rows(tests))
    asks = [question.asks for question in questions]
    if len(asks) == 1:
        return questions[0]
    return Question(questions[-1].cost, lambda candidate: all(ask(candidate) for ask in asks))


def _compile_days(key: Days) -> Question:
    first, before = key.first, key.before
    if key.clock is Clock.INTERNAL:
        begin = -inf if first is None else start_of(first)
        end = inf if before is None else start_of(before)
        return _of_row(lambda _number, row: begin <= row.internal_date_s < end)
    date_field = FieldReader(b"date")

    def sent(candidate: Candidate) -> bool:
        values = date_field.raw(candidate)
        day = day_of_field(values[0]) if values else None
        return day is not None and (first is None or day >= first) and (before is None or day < before)

    return Question(HEADER, sent)


def _compile_header(name: bytes, text: str) -> Question:
    reader = FieldReader(name)
    octets = text.encode("ascii") if text.isascii() else None
    return Question(HEADER, lambda candidate: reader.contains(candidate, text, octets))


# Where none of these is, the octets are the text.
_ENCODED: Final = (b"base64", b"quoted-printable", b"=?", b"utf-7", b"iso-2022", b"hz-gb")


def _compile_body(text: str, *, header: bool) -> Question:
    octets = text.encode("ascii") if text.isascii() else None

    def absent(content: bytes) -> bool:
        """Without decoding anything: the text is certainly nowhere."""
        if not content.isascii():
            return False
        lowered = content.lower()
        if any(mark in lowered for mark in _ENCODED):
            return False
        return octets is None or octets not in lowered

    def in_body(candidate: Candidate) -> bool:
        return not absent(candidate.content()) and any(text in each for each in candidate.body_texts())

    def anywhere(candidate: Candidate) -> bool:
        # A text may go over the folding of a header line.
        return text in candidate.header_text() or in_body(candidate)

    return Question(CONTENT, anywhere if header else in_body)
