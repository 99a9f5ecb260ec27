"""STORE (RFC 3501 s6.4.6)."""

from typing import TYPE_CHECKING, Final

from posthouse.access.imap.specification import Answer, Steps
from posthouse.protocol.imap.arguments import Arguments, BadArguments
from posthouse.protocol.imap.flags import checked_flags
from posthouse.protocol.imap.response import no, ok
from posthouse.protocol.imap.sequence import SequenceSet, parse_sequence_set
from posthouse.store.interface import DELETED, FlagChange

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession

CHUNK: Final = 200
"""Messages changed between two looks at the clock: each may be a file's name."""

_CHANGES: Final = {b"": FlagChange.REPLACE, b"+": FlagChange.ADD, b"-": FlagChange.REMOVE}


def store(session: "ImapSession", arguments: Arguments) -> Answer:
    return _parse(session, arguments, uid=False)


def uid_store(session: "ImapSession", arguments: Arguments) -> Answer:
    return _parse(session, arguments, uid=True)


def _parse(session: "ImapSession", arguments: Arguments, *, uid: bool) -> Answer:
    arguments.space()
    numbers = parse_sequence_set(arguments.sequence_set())
    arguments.space()
    sign = arguments.peek() if arguments.peek() in (b"+", b"-") else b""
    arguments.expect(sign)
    word = arguments.keyword()
    if word not in ("FLAGS", "FLAGS.SILENT"):
        raise BadArguments(f"Invalid item {word[:64]}")
    arguments.space()
    if arguments.peek() == b"(":
        names = arguments.flag_list()
    else:
        # RFC 3501 s9: store-att-flags also allows flags without parentheses.
        names = [arguments.flag()]
        while arguments.maybe_space() and not arguments.at_end():
            names.append(arguments.flag())
    arguments.end()
    flags = checked_flags(names)
    if session.mailbox.read_only:
        return no("Mailbox is read-only", "READ-ONLY")
    return _store(session, numbers, _CHANGES[sign], flags, uid=uid, silent=word == "FLAGS.SILENT")


def _store(
    session: "ImapSession", numbers: SequenceSet, change: FlagChange, flags: frozenset[str], *, uid: bool, silent: bool
) -> Steps:
    selected = session.mailbox
    selected.catch_up()
    spans = selected.spans(numbers, uid=uid)
    asked = found = 0
    with selected.mailbox.many_changes(sum(behind - first for first, behind in spans)):
        for first, behind in spans:
            for at in range(first, behind, CHUNK):
                chunk = selected.rows[at : min(at + CHUNK, behind)]
                rows = selected.mailbox.store_flags([row.uid for row in chunk], change, flags, session)
                asked += len(chunk)
                found += len(rows)
                if change is not FlagChange.REMOVE and DELETED in flags:
                    session.statistics.deleted += len(rows)
                selected.tell_keywords(session.write, rows)
                if not silent:
                    known = range(at + 1, at + 1 + len(chunk))
                    if len(rows) != len(chunk):
                        uids = {row.uid for row in rows}
                        known_numbers = [number for number, row in zip(known, chunk, strict=True) if row.uid in uids]
                        session.write(b"".join(selected.flag_lines(known_numbers, rows, uid=uid)))
                    else:
                        session.write(b"".join(selected.flag_lines(known, rows, uid=uid)))
                yield None
    if found:
        yield session.store.flush()
    if found < asked:
        # RFC 2180 s4.2: the client has not been told yet that some are gone.
        return ok("Some messages were already expunged.", "EXPUNGEISSUED")
    return ok("Store completed.")
