"""doveadm search, fetch, expunge, flags, copy, move, save, purge."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from posthouse.cli.doveadm import query
from posthouse.cli.doveadm.call import Call, Rows, Session
from posthouse.cli.doveadm.endings import EX_NOHOST, EX_USAGE, OK, Ended, Fatal
from posthouse.cli.doveadm.fields import KNOWN, Message, internal_date, parse_fields
from posthouse.cli.doveadm.formatters import Column
from posthouse.cli.doveadm.imap import Imap, Refused, sequence_set, wire_name
from posthouse.cli.doveadm.mailboxes import SEPARATOR, stored

CHUNK: Final = 500
"""Messages in one command, so that its line stays short whatever their UIDs are."""
_DAY_S: Final = 86400
_HIDDEN: Final = frozenset(("\\Noselect", "\\NonExistent", "\\NoSelect"))


class Found(msgspec.Struct, frozen=True):
    mailbox: str
    uids: Sequence[int]


def _found(user: str, imap: Imap, node: query.Node) -> Iterator[Found]:
    """In each mailbox, which is selected meanwhile."""
    names = [name for name, attributes in imap.listed(b"LIST") if not attributes & _HIDDEN]
    wanted = query.masks(node)
    for mask in wanted or ():
        if not set(mask) & set("*%") and not any(query.fits_mailbox(name, mask, SEPARATOR) for name in names):
            words = f"Couldn't get mailbox '{mask}' GUID: Mailbox doesn't exist: {mask}"
            raise Ended(EX_NOHOST, f"doveadm({user}): Error: {words}")
    for name in names:
        if query.keys(node, name, SEPARATOR, query.Anything()) is None:
            continue
        answer = imap.command(b"EXAMINE", wire_name(name))
        exists = next((int(line[:-7]) for line in answer if line.endswith(b" EXISTS")), 0)
        keys = query.keys(node, name, SEPARATOR, _Selected(imap, exists))
        if keys is not None and (uids := imap.numbers(b"CHARSET UTF-8", keys)):
            yield Found(name, uids)


class _Selected:
    def __init__(self, imap: Imap, exists: int) -> None:
        self._imap = imap
        self._exists = exists

    def moment(self, word: str, at_s: float) -> bytes:
        return _moment(self._imap, word, at_s)

    def numbers(self, text: str) -> bytes:
        return query.numbers_within(text, self._exists)


def _moment(imap: Imap, word: str, at_s: float) -> bytes:
    """Whole days by SEARCH, the ones around the time by the internal dates of their messages."""
    first, last = query.imap_day(at_s - _DAY_S).encode(), query.imap_day(at_s + 3 * _DAY_S).encode()
    near = imap.numbers(b"SINCE " + first, b"BEFORE " + last)
    hits: list[int] = []
    for uid, items in _items(imap, near, b"(UID INTERNALDATE)"):
        received_s = internal_date(items.get("INTERNALDATE", b"").decode("ascii", "replace"))
        is_before = received_s < at_s
        if is_before if word == "BEFORE" else not is_before and (word == "SINCE" or received_s < at_s + _DAY_S):
            hits.append(uid)
    chosen = b"UID " + sequence_set(sorted(hits)) if hits else b"NOT ALL"
    match word:
        case "BEFORE":
            return b"OR (BEFORE " + first + b") (" + chosen + b")"
        case "SINCE":
            return b"OR (SINCE " + last + b") (" + chosen + b")"
        case _:
            return chosen


def _items(imap: Imap, uids: Sequence[int], items: bytes) -> Iterator[tuple[int, dict[str, bytes]]]:
    for chunk in _chunks(uids):
        for _, found in imap.fetched(chunk, items):
            if "UID" in found:
                yield int(found["UID"]), found


def _chunks(uids: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(uids), CHUNK):
        yield uids[at : at + CHUNK]


def _query(call: Call, words: Sequence[str]) -> query.Node:
    if not words:
        raise call.refuse_usage()
    return query.parse(words, time.time())


def _careful(call: Call, node: query.Node) -> query.Node:
    """For what cannot be taken back."""
    if not query.names_mailbox_everywhere(node):
        words = "To avoid accidents, search query must contain MAILBOX in all search branches"
        raise Fatal(f"{call.name}: {words}", EX_USAGE)
    if not query.has_other_keys_everywhere(node):
        words = (
            "To avoid accidents, each branch in search query must contain something else besides MAILBOX"
            ' (e.g. just add "all" if you want everything)'
        )
        raise Fatal(f"{call.name}: {words}", EX_USAGE)
    return node


def search(call: Call) -> int:
    node = _query(call, call.arguments)
    rows = Rows(call, "flow", [Column("mailbox-guid", is_hidden=True), Column("uid", is_hidden=True)])

    def work(user: str) -> None:
        with Session.of(call, user) as imap:
            found = list(_found(user, imap, node))
        guids = _guids(call, user, [one.mailbox for one in found])
        for one in found:
            for uid in one.uids:
                rows.row(user, guids[one.mailbox], str(uid))

    status = call.for_each_user(work)
    rows.end()
    return status


def _guids(call: Call, user: str, mailboxes: Sequence[str]) -> dict[str, str]:
    if not mailboxes:
        return {}
    facts = call.system.inspect(user, tuple(map(stored, mailboxes))).mailboxes
    known = {one.name: one.guid for one in facts}
    return {name: known.get(stored(name), "") for name in mailboxes}


def fetch(call: Call) -> int:
    if len(call.arguments) < 2:
        raise call.refuse_usage()
    try:
        fields = parse_fields(call.arguments[0])
    except Fatal:
        call.say(f"Available fetch fields: {KNOWN}")
        raise
    node = _query(call, call.arguments[1:])
    items = "(" + " ".join(dict.fromkeys(["UID", *(item for one in fields for item in one.items)])) + ")"
    wants_guid = any(one.name == "mailbox-guid" for one in fields)
    rows = Rows(call, "pager", [Column(one.name, is_stream=one.is_stream) for one in fields])

    def work(user: str) -> None:
        with Session.of(call, user) as imap:
            for found in _found(user, imap, node):
                guid = _guids(call, user, [found.mailbox])[found.mailbox] if wants_guid else ""
                for chunk in _chunks(found.uids):
                    for sequence, got in imap.fetched(chunk, items.encode("ascii")):
                        if "UID" in got:
                            message = Message(user, found.mailbox, guid, sequence, got)
                            rows.row(user, *[one.value(message) for one in fields])

    status = call.for_each_user(work)
    rows.end()
    return status


def _change(call: Call, node: query.Node, act: Callable[[str, Imap, Sequence[int]], None]) -> int:
    """First all is found, then it is changed: what comes into being meanwhile is not meant."""

    def work(user: str) -> None:
        with Session.of(call, user) as imap:
            for one in list(_found(user, imap, node)):
                imap.command(b"SELECT", wire_name(one.mailbox))
                for chunk in _chunks(one.uids):
                    act(user, imap, chunk)

    return call.for_each_user(work)


def expunge(call: Call) -> int:
    node = _careful(call, _query(call, call.arguments))

    def act(_: str, imap: Imap, uids: Sequence[int]) -> None:
        imap.command(b"UID STORE", sequence_set(uids), b"+FLAGS.SILENT (\\Deleted)")
        imap.command(b"UID EXPUNGE", sequence_set(uids))

    return _change(call, node, act)


def flags_add(call: Call) -> int:
    return _flags(call, b"+FLAGS.SILENT")


def flags_remove(call: Call) -> int:
    return _flags(call, b"-FLAGS.SILENT")


def flags_replace(call: Call) -> int:
    return _flags(call, b"FLAGS.SILENT")


def _flags(call: Call, item: bytes) -> int:
    if len(call.arguments) < 2:
        raise call.refuse_usage()
    words = call.arguments[0].split()
    for word in words:
        if not query.is_atom(word.removeprefix("\\")):
            raise Fatal(f"Invalid flag: {word}")
    change = item + b" (" + " ".join(words).encode() + b")"
    node = _query(call, call.arguments[1:])
    return _change(call, node, lambda _, imap, uids: _store(imap, uids, change))


def _store(imap: Imap, uids: Sequence[int], change: bytes) -> None:
    imap.command(b"UID STORE", sequence_set(uids), change)


def copy(call: Call) -> int:
    return _transfer(call, b"UID COPY", is_careful=False)


def move(call: Call) -> int:
    return _transfer(call, b"UID MOVE", is_careful=True)


def _transfer(call: Call, command: bytes, *, is_careful: bool) -> int:
    if len(call.arguments) < 2:
        raise call.refuse_usage()
    target, words = call.arguments[0], call.arguments[1:]
    if words[0].upper() == "USER":
        raise Fatal(f"{call.name} from another user is not supported by Posthouse", EX_USAGE)
    node = _query(call, words)
    if is_careful:
        node = _careful(call, node)

    def act(user: str, imap: Imap, uids: Sequence[int]) -> None:
        try:
            imap.command(command, sequence_set(uids), wire_name(target))
        except Refused as error:
            text = f"Mailbox doesn't exist: {target}" if error.status == EX_NOHOST else error.text
            words = f"doveadm({user}): Error: Can't open mailbox '{target}': {text}"
            raise Ended(error.status, words) from error

    return _change(call, node, act)


def save(call: Call) -> int:
    """One message, from a file or standard input."""
    if len(call.arguments) > 1:
        raise call.refuse_usage()
    target = call.value("m", "INBOX")
    try:
        if call.arguments:
            with open(call.arguments[0], "rb") as file:
                content = file.read()
        else:
            content = sys.stdin.buffer.read()
    except OSError as error:
        raise Fatal(f"open({call.arguments[0]}) failed: {error.strerror}") from error
    content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def work(user: str) -> None:
        with Session.of(call, user) as imap:
            try:
                imap.command(b"APPEND", wire_name(target), b"{%d+}\r\n%b" % (len(content), content))
            except Refused as error:
                text = f"Mailbox doesn't exist: {target}" if error.status == EX_NOHOST else error.text
                words = f"doveadm({user}): Error: Can't open mailbox {target}: {text}"
                raise Ended(error.status, words) from error

    return call.for_each_user(work)


def purge(call: Call) -> int:
    """There is nothing to purge in a Maildir: an expunged message's file is gone."""
    call.for_each_user(lambda _: None)
    return OK
