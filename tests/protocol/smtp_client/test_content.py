"""Content on the wire: what a server's own rules make of it is the message again."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthouse.protocol.smtp.client_content import ContentEncoder, mend_line_ends, whole_message


def received(wire: bytes) -> bytes:
    """RFC 5321 s4.5.2, as a server does it."""
    assert wire.endswith(b".\r\n")
    out = []
    lines = wire.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    for line in lines[:-2]:
        assert line != b"."
        out.append(line[1:] if line.startswith(b".") else line)
    return b"".join(line + b"\r\n" for line in out)


def test_dots_are_doubled_at_the_start_of_lines_only() -> None:
    assert whole_message(b".a\r\n..\r\nb.c\r\n.\r\n") == b"..a\r\n...\r\nb.c\r\n..\r\n.\r\n"


def test_a_message_without_a_final_line_end_gets_one() -> None:
    assert whole_message(b"a") == b"a\r\n.\r\n"
    assert whole_message(b"") == b".\r\n"


def test_bare_line_ends_never_leave() -> None:
    assert mend_line_ends(b"a\nb\rc\r\nd\r\r\n") == b"a\r\nb\r\nc\r\nd\r\n\r\n"
    assert whole_message(b"a\n.\nb") == b"a\r\n..\r\nb\r\n.\r\n"


def test_long_lines_are_broken_with_a_space() -> None:
    wire = whole_message(b"x" * 2500 + b"\r\nshort\r\n", 998)
    lines = wire.split(b"\r\n")
    assert [len(line) for line in lines] == [998, 998, 506, 5, 1, 0]
    assert lines[1].startswith(b" x")
    assert whole_message(b"x" * 2500 + b"\r\n") == b"x" * 2500 + b"\r\n.\r\n"


CONTENT = st.lists(st.sampled_from([b"\r\n", b".", b"a", b"\r", b"\n", b"\xff", b"x" * 30])).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(CONTENT)
def test_the_server_gets_the_message_back(content: bytes) -> None:
    mended = mend_line_ends(content)
    expected = mended if mended.endswith(b"\r\n") or not mended else mended + b"\r\n"
    assert received(whole_message(content)) == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(CONTENT), st.sampled_from([0, 10]))
@example([b"a\r", b"\nb"], 0)
@example([b".", b"\r\n", b"."], 0)
def test_pieces_make_the_same_message(pieces: list[bytes], limit: int) -> None:
    encoder = ContentEncoder(limit)
    wire = b"".join(encoder.feed(piece) for piece in pieces) + encoder.finish()
    assert wire == whole_message(b"".join(pieces), limit)


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    encoder = ContentEncoder()
    wire = b"".join(encoder.feed(b"x" * 300_000) for _ in range(10))
    assert len(wire) > 2_000_000
    assert encoder.finish().endswith(b"\r\n.\r\n")
