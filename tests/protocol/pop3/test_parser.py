"""POP3 lines under a limit, and any octets cut anywhere."""

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.pop3.content import dot_stuffed, top
from posthouse.protocol.pop3.parser import LineTooLong, Pop3Command, Pop3Reader


def events(reader: Pop3Reader, octets: bytes) -> list[object]:
    reader.receive_data(octets)
    found: list[object] = []
    while (event := reader.next_event()) is not None:
        found.append(event)
    return found


def test_lines_are_commands() -> None:
    assert events(Pop3Reader(), b"stat\r\nRETR 1\nTOP 1  2\r\n") == [
        Pop3Command("STAT", b""),
        Pop3Command("RETR", b"1"),
        Pop3Command("TOP", b"1  2"),
    ]


def test_long_lines_are_thrown_away() -> None:
    reader = Pop3Reader(100)
    for _ in range(50):
        assert events(reader, b"x" * 60) == []
        assert reader.buffered <= 160
    assert events(reader, b"\r\nNOOP\r\n") == [LineTooLong(), Pop3Command("NOOP", b"")]


def test_what_is_behind_the_last_event_can_be_handed_on() -> None:
    reader = Pop3Reader()
    reader.receive_data(b"PASS x\r\nSTAT\r\n")
    assert reader.next_event() == Pop3Command("PASS", b"x")
    assert reader.unread() == b"STAT\r\n"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"\r\n", b"\n", b"RETR 1"]), max_size=30))
def test_any_octets_give_the_same_events_wherever_they_are_cut(pieces: list[bytes]) -> None:
    octets = b"".join(pieces)
    reader = Pop3Reader(50)
    assert [event for piece in pieces for event in events(reader, piece)] == events(Pop3Reader(50), octets)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([b".", b"\r\n", b"x", b"..", b"\r\n\r\n"])).map(b"".join), st.integers(0, 5))
def test_stuffed_content_can_be_read_back(content: bytes, lines: int) -> None:
    stuffed = dot_stuffed(content)
    assert stuffed.endswith(b".\r\n")
    read = []
    for line in stuffed.split(b"\r\n"):
        if line == b".":
            break
        read.append(line.removeprefix(b"."))
    assert b"\r\n".join(read) in (content, content.removesuffix(b"\r\n"))
    assert content.startswith(top(content, lines))
