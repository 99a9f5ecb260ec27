"""Whether a message matches the keys of SEARCH (RFC 3501 s6.4.4).

Keys are compiled once per command into three kinds of question, from cheap to dear: what the row knows, what the header
says, what is in the body. Within an AND the cheap ones are asked first, so that a body is only read where everything
else already matches. Text is compared without regard to case after decoding (RFC 2047, transfer encodings, character
sets).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from posthouse.core.identifiers import Uid
from posthouse.protocol.imap.date import day_of, day_of_field
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
from posthouse.protocol.message.decoding import decode_header, decode_text, decode_transfer
from posthouse.protocol.message.header import fields, header_end, unfold_exactly
from posthouse.protocol.message.parameters import parameter
from posthouse.protocol.message.scanner import Part, scan
from posthouse.store.interface import Cached, Mailbox, MessageRow

_FOLDED: Final = re.compile(rb"\r?\n(?=[ \t])")

ROW, HEADER, CONTENT = 0, 1, 2
"""What a question costs."""


class Candidate:
    """A message that is being asked about; header and content are read when a question needs them."""

    __slots__ = ("_content", "_fields", "_mailbox", "_texts", "number", "recent", "row")

    def __init__(self, mailbox: Mailbox, number: int, row: MessageRow, *, recent: bool) -> None:
        self._mailbox = mailbox
        self.number = number
        self.row = row
        self.recent = recent
        self._fields: dict[bytes, list[str]] | None = None
        self._content: bytes | None = None
        self._texts: list[str] | None = None

    def field(self, name: bytes) -> list[str]:
        """All values of a header field, decoded and folded to one case."""
        if self._fields is None:
            header = next((text for _, text in self._mailbox.cached([self.row.uid], Cached.HEADER)), b"")
            self._fields = {}
            for key, value in fields(header):
                self._fields.setdefault(key, []).append(decode_header(unfold_exactly(value)).casefold())
        return self._fields.get(name, [])

    def content(self) -> bytes:
        if self._content is None:
            self._content = self._mailbox.content(self.row.uid) or b""
        return self._content

    def body_texts(self) -> list[str]:
        """The texts in the body, decoded and folded to one case."""
        if self._texts is None:
            content = self.content()
            self._texts = list(_texts_of(content, scan(content), with_header=False))
        return self._texts

    def header_text(self) -> str:
        content = self.content()
        return decode_header(_FOLDED.sub(b"", content[: header_end(content)])).casefold()


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
    cost: int
    asks: Callable[[Candidate], bool]


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


def compile_key(key: SearchKey, count: int, highest: Uid) -> Question:
    """`count` messages are known to the client, `highest` is the last one's UID. Raises BadArguments for a message
    number that does not exist."""
    match key:
        case All():
            return Question(ROW, lambda _candidate: True)
        case Numbers(numbers, uid):
            if uid:
                span = Span(tuple(numbers.uid_bounds(highest)) if count else ())
                return Question(ROW, lambda candidate: candidate.row.uid in span)
            span = Span(tuple((each.start, each.stop - 1) for each in numbers.numbers(count)))
            return Question(ROW, lambda candidate: candidate.number in span)
        case Flag(flag):
            if flag.startswith("\\"):
                return Question(ROW, lambda candidate: flag in candidate.row.flags)
            folded = flag.lower()
            return Question(ROW, lambda candidate: any(each.lower() == folded for each in candidate.row.flags))
        case Recent():
            return Question(ROW, lambda candidate: candidate.recent)
        case Days():
            return _compile_days(key)
        case Size(above, below):
            return Question(
                ROW,
                lambda candidate: (
                    (above is None or candidate.row.size > above) and (below is None or candidate.row.size < below)
                ),
            )
        case Header(name, text):
            folded = text.casefold()
            return Question(HEADER, lambda candidate: any(folded in value for value in candidate.field(name)))
        case Body(text, header):
            return _compile_body(text.casefold(), header=header)
        case Not(inner):
            question = compile_key(inner, count, highest)
            asks = question.asks
            return Question(question.cost, lambda candidate: not asks(candidate))
        case Or(either, other):
            first, second = _cheap_first([compile_key(each, count, highest) for each in (either, other)])
            return Question(second.cost, lambda candidate: first.asks(candidate) or second.asks(candidate))
        case And(keys):
            questions = _cheap_first([compile_key(each, count, highest) for each in keys])
            all_asks = [question.asks for question in questions]
            return Question(questions[-1].cost, lambda candidate: all(asks(candidate) for asks in all_asks))


def _cheap_first(questions: list[Question]) -> list[Question]:
    return sorted(questions, key=lambda question: question.cost)


def _compile_days(key: Days) -> Question:
    first, before = key.first, key.before

    def internal(candidate: Candidate) -> bool:
        day = day_of(candidate.row.internal_date_s)
        return (first is None or day >= first) and (before is None or day < before)

    def sent(candidate: Candidate) -> bool:
        values = candidate.field(b"date")
        day = day_of_field(values[0].encode("utf-8")) if values else None
        return day is not None and (first is None or day >= first) and (before is None or day < before)

    return Question(ROW, internal) if key.clock is Clock.INTERNAL else Question(HEADER, sent)


def _compile_body(text: str, *, header: bool) -> Question:
    def in_body(candidate: Candidate) -> bool:
        return any(text in each for each in candidate.body_texts())

    def anywhere(candidate: Candidate) -> bool:
        return text in candidate.header_text() or in_body(candidate)

    return Question(CONTENT, anywhere if header else in_body)


CHUNK: Final = {ROW: 500, HEADER: 20, CONTENT: 1}
"""Messages asked about between two looks at the clock."""
