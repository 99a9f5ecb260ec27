"""COPY (RFC 3501 s6.4.7) and MOVE (RFC 6851), with the numbers of the copies (RFC 4315 s3)."""

from typing import TYPE_CHECKING, Final

from posthouse.access.imap.specification import Answer, Steps
from posthouse.core.identifiers import Uid
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.response import no, ok
from posthouse.protocol.imap.sequence import SequenceSet, format_sequence_set, parse_sequence_set
from posthouse.store.interface import StoreError
from posthouse.store.naming import DEFAULT_SPECIAL_USE

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession

CHUNK: Final = 100
"""Messages copied between two looks at the clock: each may be a file."""


def copy(session: "ImapSession", arguments: Arguments) -> Answer:
    return _copy(session, *_parse(session, arguments), uid=False)


def uid_copy(session: "ImapSession", arguments: Arguments) -> Answer:
    return _copy(session, *_parse(session, arguments), uid=True)


def move(session: "ImapSession", arguments: Arguments) -> Answer:
    return _move(session, *_parse(session, arguments), uid=False)


def uid_move(session: "ImapSession", arguments: Arguments) -> Answer:
    return _move(session, *_parse(session, arguments), uid=True)


def _parse(session: "ImapSession", arguments: Arguments) -> tuple[SequenceSet, str]:
    arguments.space()
    numbers = parse_sequence_set(arguments.sequence_set())
    arguments.space()
    target = session.names.read(arguments.astring())
    arguments.end()
    return numbers, target


def _chosen(session: "ImapSession", numbers: SequenceSet, *, uid: bool) -> list[Uid]:
    session.mailbox.catch_up()
    return [row.uid for row in session.mailbox.chosen(numbers, uid=uid)]


def _copy(session: "ImapSession", numbers: SequenceSet, target: str, *, uid: bool) -> Steps:
    uids = _chosen(session, numbers, uid=uid)
    into = session.store.open(target)
    if not uids:
        return ok("No messages found.")
    source = session.mailbox.mailbox
    pairs: list[tuple[Uid, Uid]] = []
    try:
        for at in range(0, len(uids), CHUNK):
            pairs.extend(source.copy(uids[at : at + CHUNK], target, session))
            yield None
        yield session.store.flush()
    except (StoreError, GeneratorExit):
        # RFC 3501 s6.4.7: "restore the destination mailbox to its state before the COPY attempt".
        _ = into.expunge([new for _, new in pairs], session)
        raise
    _count_trashed(session, into.name, len(pairs))
    if len(pairs) < len(uids):
        # RFC 2180 s4.4: the client has not been told yet that some are gone. None may be copied then.
        _ = into.expunge([new for _, new in pairs], session)
        return no("Some of the requested messages no longer exist.", "EXPUNGEISSUED")
    return ok("Copy completed.", _copyuid(into.uid_validity, pairs))


def _move(session: "ImapSession", numbers: SequenceSet, target: str, *, uid: bool) -> Steps:
    if session.mailbox.read_only:
        return no("Mailbox is read-only", "READ-ONLY")
    uids = _chosen(session, numbers, uid=uid)
    into = session.store.open(target)
    if not uids:
        return ok("No messages found.")
    source = session.mailbox.mailbox
    pairs: list[tuple[Uid, Uid]] = []
    try:
        for at in range(0, len(uids), CHUNK):
            pairs.extend(source.move(uids[at : at + CHUNK], target, session))
            yield None
        yield session.store.flush()
    finally:
        # RFC 6851 s3.3: what has been moved is moved, even if the rest fails; its COPYUID comes before EXPUNGE.
        if pairs:
            session.write(b"* OK [%b] Moved UIDs.\r\n" % _copyuid(into.uid_validity, pairs).encode("ascii"))
            _count_trashed(session, into.name, len(pairs))
            session.statistics.expunged += len(pairs)
    if len(pairs) < len(uids):
        return ok("Some messages were already expunged.", "EXPUNGEISSUED")
    return ok("Move completed.")


def _copyuid(uid_validity: int, pairs: list[tuple[Uid, Uid]]) -> str:
    source = format_sequence_set(old for old, _ in pairs).decode("ascii")
    copies = format_sequence_set(new for _, new in pairs).decode("ascii")
    return f"COPYUID {uid_validity} {source} {copies}"


def _count_trashed(session: "ImapSession", target: str, count: int) -> None:
    if DEFAULT_SPECIAL_USE.get(target) == "\\Trash":
        session.statistics.trashed += count
