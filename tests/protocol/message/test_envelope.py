"""Where we differ from Dovecot on purpose, and any octets at all."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.message.address import MAX_ADDRESSES, MailAddress, parse_addresses
from posthouse.protocol.message.envelope import envelope
from tests.protocol.message.wiretext import read


def test_words_and_dots_with_space_between_are_still_an_address() -> None:
    assert parse_addresses(b"a.b . c@d . e") == [MailAddress(None, None, b"a.b.c", b"d.e")]


def test_a_semicolon_outside_a_group_separates_as_outlook_users_think() -> None:
    assert [each.mailbox for each in parse_addresses(b"a@b; c@d")] == [b"a", b"c"]


def test_nul_becomes_the_replacement_character() -> None:
    assert read(envelope(b"Subject: a\0b\r\n\r\n"))[0][1] == b"a\xef\xbf\xbdb"


def test_the_number_of_addresses_is_bounded() -> None:
    assert len(parse_addresses(b"a@b," * 5000)) == MAX_ADDRESSES
    assert len(parse_addresses(b"g:" * 5000)) <= MAX_ADDRESSES + 1


def test_hostile_fields_take_bounded_time() -> None:
    began = time.process_time()
    for text in (b"a " * 30000, b"(" * 60000, b'"' * 60000, b"a." * 30000, b"<" * 60000, b"a@" * 30000, b"\\" * 60000):
        envelope(b"From: " + text + b"\r\n\r\n")
        envelope(b"From: a@b, " + text + b" <x@y\r\n\r\n")
    assert time.process_time() - began < 5


ADDRESSES = st.lists(
    st.sampled_from(
        [b"a", b"@", b".", b"<", b">", b",", b";", b":", b'"', b"\\", b"(", b")", b" ", b"[", b"]", b"\xe4"]
    )
).map(b"".join)


@settings(max_examples=500, deadline=None)
@given(ADDRESSES)
def test_any_address_list_gives_an_envelope_that_reads_back(addresses: bytes) -> None:
    fields = read(envelope(b"From: " + addresses + b"\r\nTo: " + addresses + b"\r\n\r\n"))[0]
    assert len(fields) == 10
    assert all(len(address) == 4 for address in fields[2] or ())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_octets_give_an_envelope_that_reads_back(header: bytes) -> None:
    assert len(read(envelope(header))[0]) == 10
