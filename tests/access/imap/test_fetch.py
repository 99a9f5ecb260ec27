"""FETCH: every item, sections, partials, implicit \\Seen, messages that vanish, clients that do not read."""

import asyncio
from collections.abc import Callable

import pytest

from posthouse.store.interface import Store
from posthouse.store.memory import MemoryStore
from tests.access.conftest import message
from tests.access.wire import ImapWire
from tests.protocol.message.data.messages import MESSAGES
from tests.protocol.message.wiretext import read

ENVELOPE = (
    '("Sun, 10 Sep 2001 03:46:40 +0200" "message 1" (("Alice" NIL "alice" "example.com"))'
    ' (("Alice" NIL "alice" "example.com")) (("Alice" NIL "alice" "example.com"))'
    ' ((NIL NIL "bob" "example.org")) NIL NIL NIL "<1@example.com>")'
)


def test_flags_and_numbers(selected: ImapWire) -> None:
    assert selected.say("FETCH 1:2,4 (UID FLAGS)") == [
        r"* 1 FETCH (UID 1 FLAGS (\Seen \Recent))",
        r"* 2 FETCH (UID 2 FLAGS (\Flagged \Recent))",
        r"* 4 FETCH (UID 4 FLAGS (\Recent work))",
        "OK Fetch completed.",
    ]


def test_dates_and_sizes(selected: ImapWire) -> None:
    size = len(message(1))
    assert selected.say("FETCH 1 (INTERNALDATE RFC822.SIZE)")[0] == (
        f'* 1 FETCH (INTERNALDATE "10-Sep-2001 01:46:40 +0000" RFC822.SIZE {size})'
    )


def test_envelope_and_structures(selected: ImapWire) -> None:
    plain = '"text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 17 1'
    assert selected.say("FETCH 1 (ENVELOPE BODY BODYSTRUCTURE)")[0] == (
        f"* 1 FETCH (ENVELOPE {ENVELOPE} BODY ({plain}) BODYSTRUCTURE ({plain} NIL NIL NIL NIL))"
    )


@pytest.mark.parametrize(
    ("macro", "items"),
    [
        ("FAST", "(FLAGS INTERNALDATE RFC822.SIZE)"),
        ("ALL", "(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"),
        ("full", "(FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY)"),
        ("FLAGS", "(FLAGS)"),
    ],
)
def test_macros_stand_for_their_items(selected: ImapWire, macro: str, items: str) -> None:
    assert selected.say(f"FETCH 2 {macro}") == selected.say(f"FETCH 2 {items}")


def test_uid_fetch_always_tells_the_uid(selected: ImapWire) -> None:
    assert selected.say("UID FETCH 3,99 RFC822.SIZE") == [
        f"* 3 FETCH (UID 3 RFC822.SIZE {len(message(3))})",
        "OK Fetch completed.",
    ]
    assert selected.say("UID FETCH 100:200 FLAGS") == ["OK Fetch completed."]
    assert selected.say("UID FETCH 100:* UID")[0] == "* 5 FETCH (UID 5)"


def test_the_whole_message_and_its_old_names(selected: ImapWire) -> None:
    content = message(1).decode()
    header, _, body = content.partition("\r\n\r\n")
    header += "\r\n\r\n"
    assert selected.say("FETCH 1 BODY.PEEK[]")[0] == f"* 1 FETCH (BODY[] {{{len(content)}}}\r\n{content})"
    assert selected.say("FETCH 1 RFC822")[0] == f"* 1 FETCH (RFC822 {{{len(content)}}}\r\n{content})"
    assert selected.say("FETCH 1 RFC822.HEADER")[0] == f"* 1 FETCH (RFC822.HEADER {{{len(header)}}}\r\n{header})"
    assert selected.say("FETCH 1 RFC822.TEXT")[0] == f"* 1 FETCH (RFC822.TEXT {{{len(body)}}}\r\n{body})"
    assert selected.say("FETCH 1 (BODY[HEADER] BODY[TEXT])")[0] == (
        f"* 1 FETCH (BODY[HEADER] {{{len(header)}}}\r\n{header} BODY[TEXT] {{{len(body)}}}\r\n{body})"
    )


def test_header_fields(selected: ImapWire) -> None:
    assert selected.say('FETCH 1 BODY.PEEK[HEADER.FIELDS (subject "X-None")]')[0] == (
        "* 1 FETCH (BODY[HEADER.FIELDS (SUBJECT X-NONE)] {22}\r\nSubject: message 1\r\n\r\n)"
    )
    fields = "From To Date Message-ID"
    assert selected.say(f"FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT ({fields})]")[0].endswith(
        "] {22}\r\nSubject: message 1\r\n\r\n)"
    )


def test_partials(selected: ImapWire) -> None:
    assert selected.say("FETCH 1 BODY.PEEK[TEXT]<5.7>")[0] == "* 1 FETCH (BODY[TEXT]<5> {7}\r\nis body)"
    assert selected.say("FETCH 1 BODY.PEEK[TEXT]<500.7>")[0] == "* 1 FETCH (BODY[TEXT]<500> {0}\r\n)"
    assert selected.say("FETCH 1 BODY.PEEK[]<0.4>")[0] == "* 1 FETCH (BODY[]<0> {4}\r\nFrom)"
    assert selected.say("FETCH 1 BODY.PEEK[HEADER]<6.5>")[0] == "* 1 FETCH (BODY[HEADER]<6> {5}\r\nAlice)"


def test_slices_of_a_large_message(imap: ImapWire, store: Store) -> None:
    text = b"".join(b"line %06d\r\n" % number for number in range(20000))
    inbox = store.open("INBOX")
    inbox.append(b"Subject: large\r\n\r\n" + text, frozenset(), None, None)
    inbox.append(b"Subject: small\r\n\r\nx", frozenset(), None, None)
    imap.say("SELECT INBOX")
    heard = ""
    for first in range(0, len(text), 65536):
        [line, _] = imap.say(f"FETCH 1 BODY.PEEK[1]<{first}.65536>")
        heard += line.partition("}\r\n")[2].removesuffix(")")
        assert imap.session.open_message is not None
    assert heard.encode() == text
    assert imap.say("FETCH 2 BODY.PEEK[1]<0.5>")[0].endswith("{1}\r\nx)")
    assert imap.session.open_message is None


def test_sections_of_a_nested_message(imap: ImapWire, store: Store) -> None:
    content = MESSAGES["alternative with related and attachment"].replace(b"\n", b"\r\n")
    store.open("INBOX").append(content, frozenset(), None, None)
    imap.say("SELECT INBOX")
    [line, _] = imap.say(
        "FETCH 1 (BODY.PEEK[1.2.1] BODY.PEEK[2.MIME] BODY.PEEK[1.2.2]<1.1> BODY.PEEK[9] BODY.PEEK[2.HEADER])"
    )
    mime = "Content-Type: application/pdf; name=a.pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\n"
    assert line == (
        f"* 1 FETCH (BODY[1.2.1] {{3}}\r\n<p> BODY[2.MIME] {{{len(mime)}}}\r\n{mime} BODY[1.2.2]<1> {{1}}\r\nI"
        " BODY[9] NIL BODY[2.HEADER] NIL)"
    )


def test_sections_of_an_embedded_message(imap: ImapWire, store: Store) -> None:
    content = b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\nTo: x\r\n\r\nhello\r\n"
    store.open("INBOX").append(content, frozenset(), None, None)
    imap.say("SELECT INBOX")
    [line, _] = imap.say("FETCH 1 (BODY[1.HEADER.FIELDS (To)] BODY[1.TEXT] BODY[1.1])")
    assert "BODY[1.HEADER.FIELDS (TO)] {9}\r\nTo: x\r\n\r\n BODY[1.TEXT] {7}\r\nhello\r\n BODY[1.1] {7}" in line


def test_reading_a_message_makes_it_seen(selected: ImapWire, store: Store) -> None:
    [line, answer] = selected.say("FETCH 2 (UID BODY[TEXT])")
    assert line.startswith(r"* 2 FETCH (UID 2 FLAGS (\Flagged \Seen \Recent) BODY[TEXT] {")
    assert answer == "OK Fetch completed."
    assert "\\Seen" in store.open("INBOX").rows()[1].flags
    assert "FLAGS" not in selected.say("FETCH 2 BODY[TEXT]")[0]
    assert "FLAGS" not in selected.say("FETCH 4 BODY.PEEK[TEXT]")[0]
    assert "\\Seen" not in store.open("INBOX").rows()[3].flags


def test_reading_headers_makes_seen_too(selected: ImapWire, store: Store) -> None:
    assert "FLAGS" in selected.say("FETCH 2:4 BODY[HEADER.FIELDS (To)]")[0]
    assert all("\\Seen" in row.flags for row in store.open("INBOX").rows()[:4])


def test_other_sessions_hear_of_seen(selected: ImapWire, connect: Callable[..., ImapWire]) -> None:
    other = connect()
    other.say("SELECT INBOX")
    selected.say("FETCH 5 BODY[]")
    assert other.say("NOOP") == [r"* 5 FETCH (FLAGS (\Seen))", "OK NOOP completed."]


def test_nul_is_never_sent(imap: ImapWire, store: Store) -> None:
    store.open("INBOX").append(b"Subject: a\0b\r\n\r\nx\0y\r\n", frozenset(), None, None)
    imap.say("SELECT INBOX")
    assert b"\0" not in imap.send(b"a FETCH 1 (BODY[] ENVELOPE BODY[HEADER.FIELDS (Subject)] BODY[1])\r\n")


def test_messages_that_vanished_are_told_of(selected: ImapWire, store: Store) -> None:
    store.open("INBOX").expunge([2, 3], None)  # type: ignore[list-item]
    for items in ("BODY.PEEK[]", "ENVELOPE", "(UID BODY.PEEK[HEADER.FIELDS (To)])"):
        heard = selected.say(f"FETCH 1:4 {items}")
        assert [line.split()[1] for line in heard[:-1]] == ["1", "4"]
        assert heard[-1] == "OK [EXPUNGEISSUED] Some messages were already expunged."
    assert selected.say("NOOP")[:2] == ["* 3 EXPUNGE", "* 2 EXPUNGE"]
    assert selected.say("FETCH 1:* UID")[:-1] == ["* 1 FETCH (UID 1)", "* 2 FETCH (UID 4)", "* 3 FETCH (UID 5)"]


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "1",
        "0 FLAGS",
        "6 FLAGS",
        "1:9 FLAGS",
        "a FLAGS",
        "1,,2 FLAGS",
        "1:2:3 FLAGS",
        "1 FOO",
        "1 (FLAGS",
        "1 FLAGS)",
        "1 FLAGS UID",
        "1 BODY[",
        "1 BODY[FOO]",
        "1 BODY[0]",
        "1 BODY[1.]",
        "1 BODY[MIME]",
        "1 BODY[HEADER.FIELDS]",
        "1 BODY[HEADER.FIELDS ()]",
        "1 BODY[]<a.b>",
        "1 BODY[" + "1." * 200 + "1]",
        "99999999999 FLAGS",
        "1 UID[]",
        "1 (" + "FLAGS UID " * 10 + "FOO)",
    ],
)
def test_wrong_arguments_are_bad(selected: ImapWire, arguments: str) -> None:
    assert selected.say(f"FETCH {arguments}")[-1].startswith("BAD ")


def test_in_an_empty_mailbox_the_star_means_nothing(imap: ImapWire) -> None:
    imap.say("SELECT INBOX")
    assert imap.say("FETCH 1:* FLAGS")[-1].startswith(("OK", "BAD"))
    assert imap.say("UID FETCH 1:* FLAGS") == ["OK Fetch completed."]
    assert imap.say("FETCH * FLAGS") == ["OK Fetch completed."]


def test_a_long_answer_waits_for_a_client_that_does_not_read(loop: asyncio.AbstractEventLoop) -> None:
    store = MemoryStore()
    for number in range(2000):
        store.open("INBOX").append(b"Subject: x\r\n\r\n" + b"y" * 5000, frozenset(), float(number), None)
    wire = ImapWire(loop, store)
    wire.say("SELECT INBOX")
    wire.channel.high_water = 100_000
    loop.call_soon(wire.session.data_received, b"a FETCH 1:* BODY.PEEK[]\r\nb NOOP\r\n")
    wire.settle(2000)
    assert 100_000 <= len(wire.channel.output) < 300_000
    heard = bytearray()
    for _ in range(1000):
        heard += wire.take()
        loop.call_soon(wire.session.resume_writing)
        wire.settle(50)
        if heard.endswith(b"b OK NOOP completed.\r\n"):
            break
    assert heard.count(b"BODY[] {5014}") == 2000


def test_a_long_answer_lets_other_sessions_in(loop: asyncio.AbstractEventLoop) -> None:
    store = MemoryStore()
    for number in range(20000):
        store.open("INBOX").append(b"Subject: x\r\n\r\n", frozenset(), float(number), None)
    one, other = ImapWire(loop, store), ImapWire(loop, store)
    one.say("SELECT INBOX")
    loop.call_soon(one.session.data_received, b"a FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)\r\n")
    loop.call_soon(other.session.data_received, b"b NOOP\r\n")
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert other.take() == b"b OK NOOP completed.\r\n"
    assert b"a OK" not in one.channel.output
    assert one.send(b"").endswith(b"a OK Fetch completed.\r\n")


def test_a_client_that_leaves_during_an_answer_leaves_nothing_behind(loop: asyncio.AbstractEventLoop) -> None:
    store = MemoryStore()
    for number in range(5000):
        store.open("INBOX").append(b"Subject: x\r\n\r\n", frozenset(), float(number), None)
    wire = ImapWire(loop, store)
    wire.say("SELECT INBOX")
    loop.call_soon(wire.session.data_received, b"a FETCH 1:* BODY[]\r\n")
    loop.call_soon(wire.channel.close)
    wire.settle()
    assert wire.closed
    assert not store.open("INBOX").listeners


def test_every_golden_message_is_answered_in_a_form_that_reads_back(imap: ImapWire, store: Store) -> None:
    for content in MESSAGES.values():
        store.open("INBOX").append(content.replace(b"\n", b"\r\n") or b"\r\n", frozenset(), None, None)
    imap.say("SELECT INBOX")
    heard = imap.say("FETCH 1:* (UID FLAGS ENVELOPE BODY BODYSTRUCTURE BODY.PEEK[1] BODY.PEEK[HEADER.FIELDS (To)])")
    assert len(heard) == len(MESSAGES) + 1
    for line in heard[:-1]:
        items = line.partition(" FETCH ")[2].replace("BODY[HEADER.FIELDS (TO)]", "HEADERS").encode("latin-1")
        assert len(read(items)[0]) == 14


def test_statistics_count_what_was_read(selected: ImapWire) -> None:
    selected.say("FETCH 1:2 BODY.PEEK[HEADER]")
    selected.say("FETCH 1:3 BODY.PEEK[TEXT]")
    assert " hdr_count=2 " in selected.session.statistics_text()
    assert selected.session.statistics_text().endswith("body_count=3 body_bytes=51")


@pytest.mark.parametrize("fields", ["(FROM SUBJECT)", "(subject from)", "(X-NOT-THERE)", "(RECEIVED CONTENT-TYPE)"])
@pytest.mark.parametrize("inverted", ["", ".NOT"])
def test_a_kept_answer_to_a_header_list_is_the_same_as_a_new_one(
    imap: ImapWire, store: Store, fields: str, inverted: str
) -> None:
    inbox = store.open("INBOX")
    for content in (*MESSAGES.values(), *MESSAGES.values())[:60]:
        inbox.append(content if content.endswith(b"\n") else content + b"\r\n", frozenset(), None, None)
    imap.say("SELECT INBOX")
    words = f"FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS{inverted} {fields}])"
    first = imap.say(words)
    assert len(first) > 60
    assert imap.say(words) == first
    singly = [line for number in range(1, 61) for line in imap.say(words.replace("1:*", str(number)))[:-1]]
    assert singly == first[:-1]
