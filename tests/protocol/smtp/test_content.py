"""Where a message ends, what is in it, and that nobody can make us think otherwise."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.smtp.line_ends import crlf, is_clean
from posthouse.protocol.smtp.options import Options
from posthouse.protocol.smtp.states import State
from tests.protocol.smtp.talk import to_data, to_rcpt

PARTS = [b"\r\n", b"\n", b"\r", b".", b"..", b"x", b"hello", b"\r\n.", b".\r\n"]


def stuffed(content: bytes) -> bytes:
    """RFC 5321 s4.5.2, the client's side."""
    return re.sub(rb"(?m)^\.", b"..", content.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n") + b".\r\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"one\r\n",
        b".\r\n",
        b"..\r\n",
        b".leading\r\n",
        b"a\r\n.\r\nb\r\n",
        b"\r\n.\r\n\r\n..\r\n",
        b"a.\r\n.b\r\n",
    ],
)
@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_dots_survive_whatever_the_packets(content: bytes, step: int) -> None:
    talk = to_data()
    talk.slowly(stuffed(content), step)
    assert talk.messages == [content]
    assert talk.state is State.GREETED


SMUGGLED = b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<a@example.test>\r\nDATA\r\nevil\r\n.\r\n"
BEFORE = [b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\r\n", b"\n\r", b"\n\r\n", b"\0\n", b"\r\n\n", b"\x0b", b"\x85"]
AFTER = [b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\r\n", b"\n\r", b"\n\r\n", b"\r\0\n", b"\x0b", b"\x0c"]
ENDS = [one + b"." + two for one in BEFORE for two in AFTER if not (one.endswith(b"\r\n") and two.startswith(b"\r\n"))]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_nothing_but_crlf_dot_crlf_ends_a_message(end: bytes, step: int) -> None:
    talk = to_data()
    answer = talk.slowly(b"outer" + end + SMUGGLED, step)
    # One answer: either the whole is one message, or it is refused as one.
    assert talk.state is State.GREETED
    assert len(answer.splitlines()) == 1
    assert answer.startswith((b"250 ", b"550 5.5.2 "))
    assert not any(message.startswith(b"evil") for message in talk.messages)
    if b"\n" in end.replace(b"\r\n", b"") or b"\r" in end.replace(b"\r\n", b""):
        assert answer.startswith(b"550 5.5.2 ")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_where_bare_newlines_are_made_right_they_still_end_nothing(end: bytes, step: int) -> None:
    talk = to_data(normalizes=True)
    answer = talk.slowly(b"outer" + end + SMUGGLED, step)
    assert answer.startswith(b"250 ")
    assert len(talk.messages) == 1
    assert talk.messages[0].startswith(b"outer")
    assert talk.messages[0].endswith(b"evil\r\n")
    assert is_clean(talk.messages[0])
    # And nobody behind us can be made to see an end there: what we send is stuffed again.
    assert b"\r\n.\r\n" not in stuffed(talk.messages[0])[:-5]


def test_a_crlf_dot_crlf_behind_a_stray_cr_ends_the_message_and_refuses_it() -> None:
    talk = to_data()
    assert talk.codes(b"outer\r\r\n.\r\nNOOP\r\n") == [550, 250]


def test_content_over_the_limit_is_read_to_its_end_and_refused() -> None:
    talk = to_data(Options(size_limit=100))
    assert talk.send(b"x" * 98 + b"\r\n.\r\n").startswith(b"250 ")
    talk = to_data(Options(size_limit=100))
    assert talk.slowly(b"x" * 99 + b"\r\n" + b"y" * 1000 + b"\r\n.\r\nNOOP\r\n", 10).splitlines() == [
        b"552 5.3.4 Error: message file too big",
        b"250 2.0.0 Ok",
    ]


def test_large_content_comes_in_pieces_that_join_to_the_message() -> None:
    content = b"".join(b"%d .\r\n.%d\r\n" % (number, number) for number in range(20_000))
    talk = to_data(Options(inline_limit=16384))
    talk.slowly(stuffed(content), 5000)
    assert talk.messages == [content]
    assert len([one for one in talk.events if type(one).__name__ == "ContentPiece"]) > 10


def test_a_client_that_sends_octet_by_octet_costs_no_object_for_each() -> None:
    talk = to_data()
    talk.slowly(b"x" * 5000)
    content = talk.core._content
    assert content is not None
    assert len(content._pieces) < 300


@given(st.lists(st.sampled_from(PARTS), max_size=40).map(b"".join), st.integers(1, 20), st.booleans())
@settings(max_examples=300, deadline=None)
def test_packets_make_no_difference(data: bytes, step: int, normalizes: bool) -> None:
    data += b"\r\n.\r\n"
    whole, pieces = to_data(normalizes=normalizes), to_data(normalizes=normalizes)
    end = (b"\r\n" + data).find(b"\r\n.\r\n") + 3
    message, rest = data[:end], data[end:]
    assert whole.send(message) == pieces.slowly(message, step)
    assert whole.messages == pieces.messages
    assert whole.state is pieces.state is State.GREETED
    assert all(is_clean(one) for one in whole.messages)
    assert whole.core.unread == 0
    del rest


@given(st.binary(max_size=400), st.lists(st.integers(0, 60), max_size=10), st.booleans())
@settings(max_examples=300, deadline=None)
def test_chunks_carry_every_octet(data: bytes, cuts: list[int], normalizes: bool) -> None:
    talk = to_rcpt(normalizes=normalizes)
    left = data
    for cut in cuts:
        talk.send(b"BDAT %d\r\n" % len(left[:cut]) + left[:cut])
        left = left[cut:]
    talk.slowly(b"BDAT %d LAST\r\n" % len(left) + left, 7)
    assert talk.state is State.GREETED
    assert talk.core.unread == 0
    if talk.messages:
        assert is_clean(talk.messages[0])
        assert talk.messages[0] == crlf(data)
    else:
        assert not normalizes
        assert not is_clean(data)
    assert talk.codes(b"NOOP\r\n") == [250]


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_crlf_makes_every_text_clean(data: bytes) -> None:
    made = crlf(data)
    assert is_clean(made)
    assert not made or made.endswith(b"\r\n")
    assert crlf(made) == made
