"""SEARCH (RFC 3501 s6.4.4): the keys are compiled in `matching`."""

from typing import TYPE_CHECKING

from posthouse.access.imap.matching import CHUNK, Candidate, Question, compile_key
from posthouse.access.imap.specification import Answer, Steps
from posthouse.core.identifiers import Uid
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import ok
from posthouse.protocol.imap.search import parse_search

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
    highest = selected.rows[-1].uid if selected.rows else Uid(0)
    return _search(session, compile_key(key, len(selected.rows), highest), uid=uid)


def _search(session: "ImapSession", question: Question, *, uid: bool) -> Steps:
    selected = session.mailbox
    mailbox = selected.mailbox
    rows = selected.rows
    recent = selected.recent
    asks = question.asks
    size = CHUNK[question.cost]
    found: list[int] = []
    for at in range(0, len(rows), size):
        for number, row in enumerate(rows[at : at + size], at + 1):
            if asks(Candidate(mailbox, number, row, recent=row.uid in recent)):
                found.append(row.uid if uid else number)
        yield None
    session.write(b"* SEARCH%b\r\n" % b"".join([b" %d" % number for number in found]))
    return ok("Search completed.")
