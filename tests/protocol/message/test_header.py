"""Fields of a header: found, unfolded, selected."""

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.message.header import FieldSelection, fields, header_end, unfold

HEADER = b"From: a@b\r\nSubject: one\r\n\ttwo\r\nX-From: no\r\nsubject : three\r\n\r\n"


def test_the_header_ends_behind_the_first_empty_line() -> None:
    assert header_end(HEADER + b"body\r\n\r\n") == len(HEADER)
    assert header_end(b"\r\nbody") == 2
    assert header_end(b"A: b\n\nbody\r\n\r\n") == 6
    assert header_end(b"A: b\r\nno end") == 12
    assert header_end(b"") == 0


def test_fields_keep_their_folding() -> None:
    assert fields(HEADER) == [
        (b"from", b" a@b\r"),
        (b"subject", b" one\r\n\ttwo\r"),
        (b"x-from", b" no\r"),
        (b"subject", b" three\r"),
    ]
    assert unfold(b" one\r\n\ttwo\r") == b"one two"


def test_named_fields_are_selected_as_they_stand() -> None:
    assert FieldSelection([b"SUBJECT"]).select(HEADER) == b"Subject: one\r\n\ttwo\r\nsubject : three\r\n\r\n"
    assert FieldSelection([b"from", b"to"]).select(HEADER) == b"From: a@b\r\n\r\n"
    assert FieldSelection([b"to"]).select(HEADER) == b"\r\n"
    assert FieldSelection([b"from"]).select(b"From: half") == b"From: half\r\n\r\n"


def test_all_but_the_named_fields_are_selected() -> None:
    assert FieldSelection([b"subject"], inverted=True).select(HEADER) == b"From: a@b\r\nX-From: no\r\n\r\n"
    assert FieldSelection([b"from"], inverted=True).select(b"\r\n") == b"\r\n"


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200) | st.lists(st.sampled_from([b"A: b\r\n", b" c\r\n", b"\n", b"B:", b"\r\n"])).map(b"".join)
)
def test_any_octets_are_a_header(header: bytes) -> None:
    fields(header)
    end = header_end(header)
    assert 0 <= end <= len(header)
    for inverted in (False, True):
        assert FieldSelection([b"a"], inverted=inverted).select(header[:end]).endswith(b"\r\n")
