"""Search queries of doveadm become keys of IMAP that the server's own grammar reads."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.cli.doveadm import query
from posthouse.cli.doveadm.endings import Ended
from posthouse.protocol.imap.arguments import Arguments
from posthouse.protocol.imap.search import parse_search

NOW_S = 1_700_000_000.0


class Selected:
    def moment(self, word: str, at_s: float) -> bytes:
        return f"{word}@{at_s:.0f}".encode()

    def numbers(self, text: str) -> bytes:
        return query.numbers_within(text, 5)


def keys(text: str, mailbox: str = "INBOX") -> bytes | None:
    return query.keys(query.parse(text.split(" "), NOW_S), mailbox, ".", Selected())


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("all", b"ALL"),
        ("subject hello", b'SUBJECT "hello"'),
        ("not seen from a@b", b'NOT (SEEN) FROM "a@b"'),
        ("mailbox INBOX", b"ALL"),
        ("mailbox inbox seen", b"SEEN"),
        ("mailbox IN% seen", b"SEEN"),
        ("mailbox Sent or seen", b"SEEN"),
        ("not mailbox Sent", b"ALL"),
        ("seen or draft or deleted", b"OR (SEEN) (OR (DRAFT) (DELETED))"),
        ("( seen or draft ) larger 2k", b"OR (SEEN) (DRAFT) LARGER 2048"),
        ("header x-y z uid 1:3,9", b'HEADER "x-y" "z" UID 1:3,9'),
        ("2:9", b"2:5"),
        ("7", b"NOT ALL"),
        ("before 4w", b"BEFORE@1697580800"),
        ("since 3days", b"SINCE@1699740800"),
        ("on 1699999999", b"ON@1699999999"),
        ("keyword foo", b"KEYWORD foo"),
        ("subject ünï", b"SUBJECT {5+}\r\n\xc3\xbcn\xc3\xaf"),
    ],
)
def test_a_query_becomes_keys(text: str, wire: bytes) -> None:
    assert keys(text) == wire


def test_another_mailbox_needs_not_be_opened() -> None:
    assert keys("mailbox Sent seen") is None
    assert keys("mailbox Sent seen", "Sent") == b"SEEN"
    assert keys("mailbox S* seen", "Sent.2024") == b"SEEN"
    assert keys("mailbox S% seen", "Sent.2024") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bogus", "Unknown argument BOGUS"),
        ("subject", r"Missing parameter for search key \(for search key: SUBJECT\)"),
        ("since bogus", "Invalid search date parameter: bogus"),
        ("since 3x", "Invalid search date parameter: 3x"),
        ("seen draft or flagged", "Use parenthesis when mixing ANDs and ORs"),
        ("( seen", r"Missing '\)'"),
        ("seen )", r"Unexpected '\)'"),
        ("keyword (", "Invalid keyword"),
        ("savedbefore 1d", "not supported"),
    ],
)
def test_what_cannot_be_read_is_said_in_dovecots_words(text: str, words: str) -> None:
    with pytest.raises(Ended, match=words):
        keys(text)


def test_days_begin_at_local_midnight() -> None:
    midnight = time.mktime((2024, 1, 31, 0, 0, 0, 0, 0, -1))
    assert query.parse_time("2024-01-31", NOW_S) == query.parse_time("31-Jan-2024", NOW_S) == midnight
    assert query.imap_day(midnight) == "31-Jan-2024"


def test_what_would_hit_all_mailboxes_is_noticed() -> None:
    def parsed(text: str) -> query.Node:
        return query.parse(text.split(), NOW_S)

    assert query.names_mailbox_everywhere(parsed("mailbox A seen"))
    assert query.names_mailbox_everywhere(parsed("( mailbox A seen ) or ( mailbox B draft )"))
    assert not query.names_mailbox_everywhere(parsed("( mailbox A seen ) or draft"))
    assert not query.names_mailbox_everywhere(parsed("not mailbox A"))
    assert not query.has_other_keys_everywhere(parsed("mailbox A or ( mailbox B seen )"))


_WORDS = st.lists(
    st.one_of(
        st.sampled_from(sorted(query.FLAGS | query.TEXTS | query.DAYS | query.SIZES | query.KEYWORDS)),
        st.sampled_from(
            ["(", ")", "NOT", "OR", "MAILBOX", "HEADER", "UID", "1:*", "4w", "2024-01-31", "1k", "0", "*,3"]
        ),
        st.text(max_size=8),
    ),
    max_size=14,
)


@given(_WORDS)
def test_any_words_are_refused_or_become_keys_that_the_server_reads(words: list[str]) -> None:
    class Real(Selected):
        def moment(self, word: str, at_s: float) -> bytes:
            return f"{word} {query.imap_day(at_s)}".encode()

    try:
        wire = query.keys(query.parse(words, NOW_S), "INBOX", ".", Real())
    except Ended:
        return
    if wire is not None and b"{" not in wire:
        parse_search(Arguments((b" CHARSET UTF-8 " + wire,), 0))
