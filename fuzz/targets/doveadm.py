"""doveadm: search queries, what the mailbox process answers, and what is shown of messages that strangers wrote."""

import re

from fuzz.target import Target
from posthouse.cli.doveadm import query
from posthouse.cli.doveadm.endings import Ended
from posthouse.cli.doveadm.fields import Message, parse_fields
from posthouse.cli.doveadm.imap import BrokenReply, fetch_items, quoted, value_at
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.search import parse_search
from posthouse.store.maildir.guid import parse_guid

_NOW_S = 1_700_000_000.0
_FIELDS = parse_fields(
    "hdr.subject hdr.subject.utf8 date.sent date.sent.unixtime date.received size.physical text body hdr flags"
    " imap.envelope"
)


class _Selected:
    def moment(self, word: str, at_s: float) -> bytes:
        return f"{word} {query.imap_day(at_s)}".encode()

    def numbers(self, text: str) -> bytes:
        return query.numbers_within(text, 7)


def check(data: bytes) -> None:
    if not data:
        return
    kind, octets = data[0] % 4, data[1:]
    if kind == 0:
        _query(octets.decode("utf-8", "surrogateescape").split("\n"))
    elif kind == 1:
        _reply(octets)
    elif kind == 2:
        _message(octets)
    else:
        assert re.fullmatch(r"([0-9a-f]{32})?", parse_guid(octets, 17))


def _query(words: list[str]) -> None:
    try:
        node = query.parse(words, _NOW_S)
        wire = query.keys(node, "INBOX", ".", _Selected())
    except Ended:
        return
    if wire is None:
        assert not query.has_other_keys_everywhere(node) or b"MAILBOX" in " ".join(words).upper().encode(
            "utf-8", "replace"
        )
    elif b"{" not in wire and b"(" * 40 not in wire and wire.count(b"(") < 40:
        # What we send, the server reads.
        parse_search(Arguments((b" CHARSET UTF-8 " + wire,), 0))


def _reply(octets: bytes) -> None:
    try:
        found = fetch_items(b"(" + octets)
    except BrokenReply:
        return
    assert sum(map(len, found.values())) <= len(octets)
    again = b"(" + b" ".join(b"%b %b" % (name.encode(), _wire(value)) for name, value in found.items()) + b")"
    assert fetch_items(again) == found


def _wire(value: bytes) -> bytes:
    wire = quoted(value).replace(b"+}\r\n", b"}\r\n", 1)
    assert value_at(wire, 0) == (value, len(wire))
    return wire


def _message(octets: bytes) -> None:
    items = {item.replace(".PEEK", "").upper(): octets for field in _FIELDS for item in field.items}
    message = Message("u", "INBOX", "", 1, items)
    shown = {field.name: field.value(message) for field in _FIELDS}
    assert shown["text"].encode("utf-8", "surrogateescape") == octets.replace(b"\r\n", b"\n")
    assert re.fullmatch(r"[0-9]{1,4}(-[0-9]{2}){2} [0-9]{2}(:[0-9]{2}){2}", shown["date.received"])


TARGET = Target(
    check,
    seeds=(
        b"\0mailbox\nINBOX\n(\nsubject\nx\nOR\nfrom\ny\n)\nnot\nseen\nbefore\n4w\nlarger\n1k\nuid\n1:3,*",
        b"\1UID 7 FLAGS (\\Seen) BODY[TEXT] {3}\r\nabc ENVELOPE (\"a\" NIL ((\"x\" NIL)))) ",
        b"\2Date: Mon, 1 Jan 2024 10:00:00 +0100\r\nSubject: =?utf-8?q?h=C3=A4?=\r\n\tb\r\n\r\n",
        b"\x023 17-Jul-1996 02:44:25 -0700",
        b"\x033 V17 N4 Gacb9d329c99c096bd034000083ecc375",
    ),
    words=(
        b"mailbox", b"INBOX", b"or", b"not", b"(", b")", b"since", b"2024-01-31", b"31-Jan-2024", b"keyword", b"header",
        b"{3}\r\n", b"BODY[]", b" NIL ", b'"', b"\\", b"Date: ", b"Subject: ", b"=?utf-8?b?", b"?=", b" +9999", b" G", b" V17",
    ),
    separator=b"\n",
    max_octets=2000,
)  # fmt: skip
