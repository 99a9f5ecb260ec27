"""SEARCH (RFC 3501 s6.4.4): the keys are compiled in `matching`."""

from collections.abc import Generator
from typing import TYPE_CHECKING

from posthouse.access.imap.matching import CHUNK, HEADER, ROW, Candidate, Compiler, Question, Search
from posthouse.access.imap.specification import Answer, Steps
from posthouse.core.identifiers import Uid
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import ok
from posthouse.protocol.imap.search import parse_search
from posthouse.store.interface import Cached, MessageRow

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession


def search(session: "ImapSession", arguments: Arguments) -> Answer:
    return _parse(session, arguments, uid=False)


def uid_search(session: "ImapSession", arguments: Arguments) -> Answer:
    return _parse(session, arguments, uid=True)


def _parse(session: "ImapSession", arguments: Arguments, *, uid: bool) -> Answer:
    key = parse_search(arguments)
    selected = session.mailbox
    selected.catch_up()
    rows = selected.rows
    compiler = Compiler(len(rows), rows[-1].uid if rows else Uid(0), selected.recent)
    return _search(session, compiler.search(key), uid=uid)


def _search(session: "ImapSession", search: Search, *, uid: bool) -> Steps:
    rows = session.mailbox.rows
    of_row = search.of_row
    found: list[tuple[int, MessageRow]] = []
    for at in range(0, len(rows), CHUNK[ROW]):
        chunk = enumerate(rows[at : at + CHUNK[ROW]], at + 1)
        found.extend([(number, row) for number, row in chunk if of_row(number, row)])
        yield None
    if search.question is not None:
        found = yield from _ask(session, found, search.question)
    numbers = [row.uid for _, row in found] if uid else [number for number, _ in found]
    session.write(b"* SEARCH%b\r\n" % b"".join([b" %d" % number for number in numbers]))
    return ok("Search completed.")


def _ask(
    session: "ImapSession", candidates: list[tuple[int, MessageRow]], question: Question
) -> Generator[None, None, list[tuple[int, MessageRow]]]:
    """Those of the messages whose header or body matches."""
    mailbox = session.mailbox.mailbox
    asks = question.asks
    size = CHUNK[question.cost]
    found: list[tuple[int, MessageRow]] = []
    for at in range(0, len(candidates), size):
        chunk = candidates[at : at + size]
        headers: dict[Uid, bytes] = {}
        if question.cost == HEADER:
            headers = dict(mailbox.cached([row.uid for _, row in chunk], Cached.HEADER))
        found.extend([each for each in chunk if asks(Candidate(mailbox, *each, headers.get(each[1].uid)))])
        yield None
    return found
