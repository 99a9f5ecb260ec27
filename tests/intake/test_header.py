"""What every message gets and loses on its way in."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import posthouse.config.parameters  # noqa: F401 - fills the registry
from posthouse.config.parameter import MAIN, Settings
from posthouse.core.address import Address
from posthouse.core.identifiers import QueueId
from posthouse.core.reply import PermFail
from posthouse.intake import Prepared, Rules, check_octets, prepare
from posthouse.protocol.smtp.line_ends import crlf, is_clean

RECEIVED = b"Received: by mail.example.test; now\r\n"
SENDER = Address("s", "example.org")
FULL = b"From: a@b\r\nDate: d\r\nMessage-ID: <1@b>\r\n"


def rules(**values: str) -> Rules:
    return Rules.of(Settings(MAIN, values, {"myhostname": "mail.example.test"}))


def prepared(
    content: bytes,
    *,
    add_missing: bool = False,
    sender: Address | None = SENDER,
    sender_name: str = "",
    is_whole: bool = True,
    **values: str,
) -> Prepared:
    return prepare(
        rules(**values),
        content,
        received=RECEIVED,
        queue_id=QueueId("4ABC"),
        at_s=0.0,
        sender=sender,
        sender_name=sender_name,
        add_missing=add_missing,
        is_whole=is_whole,
    )


def test_a_complete_message_only_gets_received() -> None:
    content = FULL + b"\r\nbody\r\n"
    assert prepared(content, add_missing=True) == Prepared(RECEIVED + content, "<1@b>")


def test_missing_fields_are_added_behind_the_header() -> None:
    made = prepared(b"Subject: x\r\n\r\nbody\r\n", add_missing=True)
    lines = made.content.split(b"\r\n")
    assert lines[:3] == [RECEIVED[:-2], b"Subject: x", b"Message-Id: <19700101000000.4ABC@mail.example.test>"]
    assert lines[3].startswith(b"Date: Thu,  1 Jan 1970 ")
    assert lines[4:] == [b"From: s@example.org", b"", b"body", b""]
    assert made.message_id == "<19700101000000.4ABC@mail.example.test>"


def test_what_is_sent_again_gets_a_second_set() -> None:
    made = prepared(FULL + b"Resent-From: r@b\r\n\r\nx\r\n", add_missing=True).content
    assert b"\r\nResent-Message-Id: <" in made
    assert b"\r\nResent-Date: " in made
    assert made.count(b"Resent-From: ") == 1


@pytest.mark.parametrize(
    ("sender", "name", "expected"),
    [
        (None, "", b"From: MAILER-DAEMON\r\n"),
        (Address("a b", "x.example"), "", b'From: "a b"@x.example\r\n'),
        (Address("a", "x.example"), "A. U. Thor", b'From: "A. U. Thor" <a@x.example>\r\n'),
        (Address("a", "x.example"), "Grüße", "From: Grüße <a@x.example>\r\n".encode()),
        (Address("a", "x.example"), 'a"b\r\nBcc: evil', b'From: "a\\"b Bcc: evil" <a@x.example>\r\n'),
    ],
)
def test_from_is_made_of_the_sender(sender: Address | None, name: str, expected: bytes) -> None:
    assert expected in prepared(b"\r\nx\r\n", add_missing=True, sender=sender, sender_name=name).content


def test_nothing_is_added_for_strangers_unless_always() -> None:
    assert prepared(b"\r\nx\r\n").content == RECEIVED + b"\r\nx\r\n"
    assert b"From: " in prepared(b"\r\nx\r\n", always_add_missing_headers="yes").content


def test_dropped_fields_go_with_their_continuations() -> None:
    content = (
        b"BCC: a@b,\r\n c@d\r\nSubject: x\r\nContent-Length : 5\r\nReturn-Path: <x>\r\nBccx: stays\r\n\r\n"
        b"Bcc: stays\r\n"
    )
    assert prepared(content).content == RECEIVED + b"Subject: x\r\nBccx: stays\r\n\r\nBcc: stays\r\n"
    assert b"BCC" in prepared(content, message_drop_headers="").content


def test_a_body_without_header_is_separated_from_what_is_added() -> None:
    assert prepared(b"hello world\r\n").content == RECEIVED + b"\r\nhello world\r\n"
    assert prepared(b"Subject: x\r\nno field\r\n").content == RECEIVED + b"Subject: x\r\n\r\nno field\r\n"
    assert prepared(b"").content == RECEIVED
    assert prepared(b"Subject: x\r\n").content == RECEIVED + b"Subject: x\r\n"


def test_the_line_of_an_mbox_is_kept_as_a_field() -> None:
    made = prepared(b"From a@b Thu Jan  1 00:00:00 1970\r\nSubject: x\r\n\r\ny\r\n").content
    assert made == RECEIVED + b"X-Mailbox-Line: From a@b Thu Jan  1 00:00:00 1970\r\nSubject: x\r\n\r\ny\r\n"


def test_folded_and_oddly_written_message_ids_are_found() -> None:
    assert prepared(b"MESSAGE-ID:\r\n <1@b>\r\n\r\n").message_id == "<1@b>"
    assert prepared(b"Message-Id : <2@b> \r\n\r\n").message_id == "<2@b>"
    assert prepared(b"X-Message-ID: <3@b>\r\n\r\n").message_id == ""
    assert prepared(b"Message-ID: <\xff@b>\r\n\r\n").message_id == "<\\xff@b>"
    assert prepared(b"Message-ID: <4@b>\r\n\r\n", add_missing=True).content.count(b"essage-") == 1


def failure(content: bytes, **values: str) -> str:
    with pytest.raises(PermFail) as refused:
        prepared(content, **values)  # type: ignore[arg-type]
    return str(refused.value.reply)


def test_a_message_that_goes_in_circles_is_refused() -> None:
    assert prepared(b"Received: x\r\n" * 50 + b"\r\n").content
    assert failure(b"Received: x\r\n" * 51 + b"\r\n") == "554 5.4.0 Error: too many hops"
    assert failure(b"received: x\r\n" * 4 + b"\r\n", hopcount_limit="3").startswith("554 5.4.0")


def test_header_limits() -> None:
    long_field = b"X: " + b"y" * 2000 + b"\r\n\r\n"
    assert failure(long_field, header_size_limit="1000") == "552 5.3.4 Error: header field too long"
    many = b"X: y\r\n" * 2000 + b"\r\n"
    assert prepared(many, header_size_limit="1000").content
    assert failure(many, header_section_size_limit="4096") == "552 5.3.4 Error: message header too large"


def test_the_header_must_end_in_the_first_piece() -> None:
    with pytest.raises(PermFail):
        prepared(b"X: y\r\nX: " + b"y" * 1000, is_whole=False)
    assert prepared(b"X: y\r\n\r\nbody", is_whole=False).content.endswith(b"\r\n\r\nbody")


def test_octets_that_nobody_can_read_back() -> None:
    with pytest.raises(PermFail) as refused:
        check_octets(rules(), b"a\0b")
    assert str(refused.value.reply).startswith("550 5.6.0 ")
    assert check_octets(rules(message_reject_characters=""), b"a\0b") == b"a\0b"
    assert check_octets(rules(message_reject_characters="", message_strip_characters=r"\0x"), b"a\0bx") == b"ab"


def test_a_pathological_header_costs_no_time() -> None:
    begun = time.process_time()
    for content in (
        b"a" * 250_000 + b"\r\n",
        b"a " * 100_000 + b"\r\n",
        b" \t" * 100_000 + b"\r\n",
        (b"a:" * 50 + b"\r\n ") * 2000,
        b"\r\n " * 80_000,
        b"Bcc" * 80_000 + b"\r\n",
    ):
        try:
            prepared(content, add_missing=True)
        except PermFail:
            pass
    assert time.process_time() - begun < 1.0


FIELDS = st.sampled_from(
    [
        b"Subject: x\r\n", b"Bcc: a@b\r\n", b"bcc :\r\n x\r\n", b"Received: y\r\n", b"From: a\r\n",
        b"Message-ID: <1>\r\n", b"Resent-To: z\r\n", b" folded\r\n", b"\r\n", b"no field\r\n", b"From x\r\n",
        b":\r\n", b"\xff: y\r\n", b"Date:\r\n",
    ]
)  # fmt: skip


@given(st.lists(FIELDS, max_size=12).map(b"".join), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_whatever_comes_the_result_is_a_message(content: bytes, add_missing: bool, is_whole: bool) -> None:
    try:
        made = prepared(content, add_missing=add_missing, is_whole=is_whole).content
    except PermFail:
        assert not is_whole
        return
    assert made.startswith(RECEIVED)
    assert is_clean(made)
    header = made.partition(b"\r\n\r\n")[0].lower()
    assert b"\nbcc" not in header
    if add_missing:
        assert b"\nmessage-id:" in header or b"\nresent-message-id:" in header


@given(st.binary(max_size=500))
@settings(max_examples=300, deadline=None)
def test_noise_is_survived_and_nothing_of_a_body_is_lost(noise: bytes) -> None:
    content = b"\r\n" + crlf(noise)
    assert prepared(content, add_missing=False).content == RECEIVED + content
