"""What the mailbox process answers, taken apart; and names for the wire."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.cli.doveadm.imap import BrokenReply, fetch_items, quoted, sequence_set, value_at
from posthouse.store.maildir.guid import parse_guid


def test_items_of_a_fetch_are_found_by_name() -> None:
    found = fetch_items(
        b'(UID 7 FLAGS (\\Seen foo) BODY[HEADER.FIELDS (SUBJECT)] {3}\r\na)b ENVELOPE ("x (" NIL (("a" NIL "b" "c")))'
        b' BODY[1] "q\\"" RFC822.SIZE 9)'
    )
    assert found == {
        "UID": b"7",
        "FLAGS": b"(\\Seen foo)",
        "BODY[HEADER.FIELDS (SUBJECT)]": b"a)b",
        "ENVELOPE": b'("x (" NIL (("a" NIL "b" "c")))',
        "BODY[1]": b'q"',
        "RFC822.SIZE": b"9",
    }


@given(st.binary(max_size=60))
def test_any_octets_are_items_or_a_broken_reply(octets: bytes) -> None:
    with contextlib.suppress(BrokenReply):
        fetch_items(b"(" + octets)


@given(st.binary(max_size=60))
def test_a_string_is_read_back(octets: bytes) -> None:
    wire = quoted(octets).replace(b"+}\r\n", b"}\r\n", 1)
    assert value_at(wire, 0) == (octets, len(wire))


@given(st.sets(st.integers(1, 50)))
def test_a_set_of_numbers_is_the_numbers(numbers: set[int]) -> None:
    found: set[int] = set()
    for part in filter(None, sequence_set(sorted(numbers)).decode().split(",")):
        first, _, last = part.partition(":")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == numbers


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"3 V17 N4 Gacb9d329c99c096bd034000083ecc375", "acb9d329c99c096bd034000083ecc375"),
        (b"3 V18 N4 Gacb9d329c99c096bd034000083ecc375", ""),
        (b"3 V17 N4 Gacb9", ""),
        (b"1 17 4", ""),
        (b"\xff", ""),
    ],
)
def test_a_mailbox_keeps_the_guid_that_dovecot_gave_it(line: bytes, found: str) -> None:
    assert parse_guid(line, 17) == found
