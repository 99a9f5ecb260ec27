"""Sequence sets, mailbox names, dates, flags, status responses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.imap.arguments import BadArguments
from posthouse.protocol.imap.date import day_of_field, format_date_time, parse_date_time
from posthouse.protocol.imap.flags import FlagTexts, checked_flags, format_flags
from posthouse.protocol.imap.mailbox_name import (
    BadMailboxName,
    decode_mailbox_name,
    encode_mailbox_name,
    format_mailbox_name,
)
from posthouse.protocol.imap.response import no, ok
from posthouse.protocol.imap.sequence import format_sequence_set, parse_sequence_set


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (b"1", [1]),
        (b"3:1", [1, 2, 3]),
        (b"*", [9]),
        (b"8:*", [8, 9]),
        (b"*:8", [8, 9]),
        (b"1,3,2,2:4", [1, 2, 3, 4]),
        (b"9,1", [1, 9]),
    ],
)
def test_sequence_sets(text: bytes, numbers: list[int]) -> None:
    assert [number for each in parse_sequence_set(text).numbers(9) for number in each] == numbers


@pytest.mark.parametrize(
    "text", [b"", b"0", b"1:", b":1", b"1,", b"01", b"-1", b"1:2:3", b"4294967296", b"$", b"99999999999"]
)
def test_what_is_no_sequence_set(text: bytes) -> None:
    with pytest.raises(BadArguments):
        parse_sequence_set(text)


def test_numbers_beyond_the_mailbox() -> None:
    with pytest.raises(BadArguments):
        parse_sequence_set(b"1:10").numbers(9)
    assert parse_sequence_set(b"*").numbers(0) == []
    assert parse_sequence_set(b"100:*").uid_bounds(9) == [(9, 100)]


@given(st.lists(st.integers(min_value=1, max_value=50), unique=True))
def test_sequence_sets_are_written_short_and_in_order(numbers: list[int]) -> None:
    written = format_sequence_set(numbers)
    if numbers:
        assert written.count(b",") < len(numbers)
        assert [number for run in parse_each(written) for number in run] == numbers


def parse_each(written: bytes) -> list[list[int]]:
    return [
        list(range(int(low), int(high or low) + 1))
        for low, _, high in (piece.partition(b":") for piece in written.split(b","))
    ]


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("INBOX", b"INBOX"),
        ("a&b", b"a&-b"),
        ("台北", b"&U,BTFw-"),
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
        ("😀", b"&2D3eAA-"),
        ("tab\tx", b"tab&AAk-x"),
    ],
)
def test_mailbox_names(name: str, encoded: bytes) -> None:
    assert encode_mailbox_name(name) == encoded
    assert decode_mailbox_name(encoded) == name


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_names_survive_the_wire(name: str) -> None:
    assert decode_mailbox_name(encode_mailbox_name(name)) == name


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=20) | st.text("&-,abcAU+/=", max_size=20).map(str.encode))
def test_every_name_has_one_spelling(octets: bytes) -> None:
    try:
        name = decode_mailbox_name(octets)
    except BadMailboxName:
        return
    assert encode_mailbox_name(name) == octets


def test_names_are_quoted_only_where_they_must_be() -> None:
    assert format_mailbox_name("a.b") == b"a.b"
    assert format_mailbox_name("a b") == b'"a b"'
    assert format_mailbox_name("nil") == b'"nil"'
    assert format_mailbox_name("") == b'""'
    assert format_mailbox_name('a"b') == b'{3}\r\na"b'


def test_dates() -> None:
    assert parse_date_time(b" 1-Jan-2020 10:00:00 +0800") == 1577844000.0
    assert format_date_time(1577844000.0) == b'"01-Jan-2020 02:00:00 +0000"'
    assert format_date_time(-1e20).startswith(b'"01-Jan-0001')
    assert format_date_time(1e20).startswith(b'"31-Dec-9999')
    for wrong in (b"", b"1-Jan-2020 10:00:00 +0800", b"32-Jan-2020 10:00:00 +0800", b"01-Foo-2020 10:00:00 +0800",
                  b"01-Jan-2020 25:00:00 +0800", b"01-Jan-2020 10:00:00 +9900"):  # fmt: skip
        with pytest.raises(BadArguments):
            parse_date_time(wrong)


@given(st.binary(max_size=40) | st.text("0123456789-: +JanFebMar", max_size=30).map(str.encode))
def test_any_date_field_is_a_day_or_none(value: bytes) -> None:
    day_of_field(value)
    try:
        parse_date_time(value)
    except BadArguments:
        pass


@pytest.mark.parametrize(
    ("value", "day"),
    [
        (b"Mon, 23 Nov 2026 12:58:41 +0000", "2026-11-23"),
        (b"23 Nov 26 12:58", "2026-11-23"),
        (b"Monday, 3 Feb 99", "1999-02-03"),
        (b"Mon Nov 23", None),
        (b"31 Feb 2020", None),
    ],
)
def test_days_of_date_fields(value: bytes, day: str | None) -> None:
    found = day_of_field(value)
    assert (found and found.isoformat()) == day


def test_flags_have_an_order() -> None:
    assert format_flags({"b", "\\Seen", "a", "\\Answered"}, recent=True) == rb"(\Answered \Seen \Recent a b)"
    assert checked_flags(["\\SEEN", "x"]) == {"\\Seen", "x"}


def test_a_keyword_that_cannot_be_written_is_left_out() -> None:
    assert format_flags({"good", "bad one", "bäd", "(x)"}) == b"(good)"


def test_flag_texts_are_bounded() -> None:
    texts = FlagTexts()
    for number in range(3 * texts.MAX_SETS):
        texts.text(frozenset({f"k{number}"}), recent=False)
    assert len(texts.plain()) <= texts.MAX_SETS


def test_status_responses_are_one_ascii_line() -> None:
    assert ok("Done.", "CODE 1").line(b"a") == b"a OK [CODE 1] Done.\r\n"
    assert no("bad\r\nname 台").line(b"a") == b"a NO bad name &U,A-\r\n"
    assert no("[ALERT] x").line(b"a") == b"a NO  [ALERT] x\r\n"
