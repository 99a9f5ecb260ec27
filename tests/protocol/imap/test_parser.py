"""Commands from octets: lines, literals of both kinds, limits, and any octets cut anywhere."""

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.imap.arguments import BadArguments
from posthouse.protocol.imap.fetch import parse_fetch_items
from posthouse.protocol.imap.parser import Command, CommandReader, Event, Line, LiteralWanted, ReaderLimits, Refused
from posthouse.protocol.imap.search import BadCharset, parse_search

LIMITS = ReaderLimits(line=200, literal=300, literals=5, message=1000)


def events(reader: CommandReader, octets: bytes) -> list[Event]:
    reader.receive_data(octets)
    found = []
    while (event := reader.next_event()) is not None:
        found.append(event)
    return found


def test_a_line_is_a_command() -> None:
    [command] = events(CommandReader(LIMITS), b"a1 uid  fetch 1:* (FLAGS)\r\n")
    assert isinstance(command, Command)
    assert (command.tag, command.name, command.parts[0][command.offset :]) == (b"a1", "UID FETCH", b" 1:* (FLAGS)")


def test_literals_become_parts() -> None:
    reader = CommandReader(LIMITS)
    [wanted] = events(reader, b"a LOGIN {3}\r\n")
    assert wanted == LiteralWanted(b"a", "LOGIN", 3, (b"a LOGIN {3}",), 7)
    [command] = events(reader, b"foo {4+}\r\nb\r\nr\r\n")
    assert isinstance(command, Command)
    assert command.parts == (b"a LOGIN {3}", b"foo", b" {4+}", b"b\r\nr", b"")
    arguments = command.arguments()
    arguments.space()
    assert arguments.astring() == b"foo"
    arguments.space()
    assert arguments.astring() == b"b\r\nr"
    arguments.end()


def test_a_synchronising_literal_can_be_refused() -> None:
    reader = CommandReader(LIMITS)
    [wanted] = events(reader, b"a APPEND x {3}\r\n")
    assert isinstance(wanted, LiteralWanted)
    reader.refuse_literal()
    [command] = events(reader, b"b NOOP\r\n")
    assert isinstance(command, Command)
    assert command.tag == b"b"


def test_a_large_synchronising_literal_is_refused_at_once() -> None:
    assert events(CommandReader(LIMITS), b"a LOGIN {301}\r\nb NOOP\r\n")[0] == Refused(
        b"a", "LOGIN", "Error in IMAP command LOGIN: Too long argument."
    )
    assert events(CommandReader(LIMITS), b"a APPEND x {1001}\r\n") == [
        Refused(b"a", "APPEND", "Message is too large.", "TOOBIG")
    ]


def test_a_large_literal_that_comes_unasked_is_thrown_away() -> None:
    reader = CommandReader(LIMITS)
    assert events(reader, b"a APPEND x {5000+}\r\n") == []
    for _ in range(50):
        assert events(reader, b"b NOOP\r\n" * 12 + b"1234") == []
        assert reader.buffered < 200
    [refused, command] = events(reader, b" {7+}\r\nc NOOP\n \r\nd NOOP\r\n")
    assert isinstance(refused, Refused)
    assert refused.code == "TOOBIG"
    assert isinstance(command, Command)
    assert command.tag == b"d"


def test_what_a_refused_line_announces_is_never_read_as_commands() -> None:
    reader = CommandReader(LIMITS)
    heard = events(
        reader, b"(x) {8+}\r\nb NOOP\r\n\r\na FOO \0 {8+}\r\nb NOOP\r\n\r\n" + b"x" * 300 + b" {8+}\r\nb NOOP\r\n\r\n"
    )
    assert [type(event) for event in heard] == [Refused, Refused, Refused]


def test_long_lines_are_not_kept() -> None:
    reader = CommandReader(LIMITS)
    for _ in range(100):
        assert events(reader, b"a NOOP " + b"x" * 1000) == []
        assert reader.buffered <= 300
    [refused] = events(reader, b"\r\n")
    assert refused == Refused(b"a", "NOOP", "Error in IMAP command NOOP: Too long argument.")


def test_lines_of_one_command_count_together() -> None:
    reader = CommandReader(LIMITS)
    line = b"x" * 80
    heard = events(reader, b"a SEARCH " + line + b" {1+}\r\na " + line + b" {1+}\r\na " + line + b"\r\n")
    assert [type(event) for event in heard] == [Refused]


def test_the_number_of_literals_is_bounded() -> None:
    heard = events(CommandReader(LIMITS), b"a SEARCH" + b" {0+}\r\n" * 20 + b"\r\n")
    assert [type(event) for event in heard] == [Refused]


def test_a_line_that_is_no_command_can_be_expected() -> None:
    reader = CommandReader(LIMITS)
    reader.expect_line()
    assert events(reader, b"DONE\r\nb NOOP\r\n")[0] == Line(b"DONE")
    reader.expect_line()
    assert events(reader, b"x" * 1000 + b"\r\n") == [Refused(b"*", "", "Too long line.")]


def test_lines_without_tag_or_name_are_refused() -> None:
    for line in (b"", b"a", b"+ NOOP", b"* NOOP", b"a (", b"\xff NOOP", b"a\tNOOP"):
        [refused] = events(CommandReader(LIMITS), line + b"\r\n")
        assert isinstance(refused, Refused)
    [refused] = events(CommandReader(LIMITS), b"tag1\r\n")
    assert isinstance(refused, Refused)
    assert refused.tag == b"tag1"


def test_what_is_behind_the_last_event_can_be_handed_on() -> None:
    reader = CommandReader(LIMITS)
    reader.receive_data(b"a LOGIN x y\r\nb SELECT INB")
    assert isinstance(reader.next_event(), Command)
    assert reader.unread() == b"b SELECT INB"
    assert reader.next_event() is None


PIECES = st.sampled_from(
    [
        b"a ",
        b"LOGIN ",
        b"APPEND x ",
        b"UID ",
        b"{3}",
        b"{3+}",
        b"{99999+}",
        b"~{2}",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b'"',
        b"x" * 150,
    ]
) | st.binary(max_size=10)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=40), st.integers(min_value=1, max_value=50))
def test_any_octets_give_the_same_events_wherever_they_are_cut(pieces: list[bytes], cut: int) -> None:
    octets = b"".join(pieces) + b"\r\n"
    whole = events(CommandReader(LIMITS), octets)
    reader = CommandReader(LIMITS)
    piecemeal: list[Event] = []
    for at in range(0, len(octets), cut):
        piecemeal += events(reader, octets[at : at + cut])
        assert reader.buffered <= 1300
    assert piecemeal == whole
    for event in whole:
        if isinstance(event, Command):
            assert sum(len(part) for part in event.parts) <= 200 + 1000 + 300


GRAMMAR = st.lists(
    st.sampled_from(
        [
            b" ", b"(", b")", b"[", b"]", b"<1.2>", b"1", b"1:*", b"BODY", b"BODY.PEEK", b"HEADER.FIELDS", b"FLAGS",
            b"UID", b"OR", b"NOT", b"ALL", b"SUBJECT", b'"x"', b"x", b"CHARSET", b"UTF-8", b"BEFORE", b"1-Jan-2020",
            b"{1+}", b"\\", b"\xff", b"*", b"%", b"TEXT", b"MIME", b"1.2", b".",
        ]
    ),
    max_size=20,
).map(b"".join)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(GRAMMAR)
def test_any_arguments_are_understood_or_bad(octets: bytes) -> None:
    for parse in (parse_fetch_items, parse_search):
        command = Command(b"a", "X", (octets, b"lit", b""), 0)
        try:
            parse(command.arguments())
        except (BadArguments, BadCharset):
            pass


@given(st.integers(1, 700))
def test_a_line_that_is_no_command_announces_no_literal_even_if_it_is_too_long(cut: int) -> None:
    octets = b"x" * 600 + b"{4+}\r\na NOOP\r\n"
    reader = CommandReader(ReaderLimits(line=500))
    reader.expect_line()
    events: list[Event] = []
    for at in range(0, len(octets), cut):
        reader.receive_data(octets[at : at + cut])
        while (event := reader.next_event()) is not None:
            events.append(event)
    assert events == [Refused(b"*", "", "Too long line."), Command(b"a", "NOOP", (b"a NOOP",), 6)]


def test_a_line_that_is_too_long_is_answered_alike_however_it_comes_in() -> None:
    octets = b"a" + b" " * 300 + b"NOOP" + b"x" * 300 + b"\r\n"
    limits = ReaderLimits(line=500)
    reader = CommandReader(limits)
    pieces = [event for at in range(len(octets)) for event in events(reader, octets[at : at + 1])]
    assert pieces == events(CommandReader(limits), octets)
