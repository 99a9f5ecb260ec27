"""Reading replies of servers, good and bad."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthouse.protocol.smtp.client_features import Features
from posthouse.protocol.smtp.client_reply import MAXIMAL_PENDING_OCTETS, ProtocolError, ReplyReader, ServerReply


def read(data: bytes, line_limit: int = 100) -> list[ServerReply]:
    reader = ReplyReader(line_limit)
    reader.receive_data(data)
    return list(reader.replies)


def test_a_reply_of_several_lines_is_one_reply() -> None:
    (reply,) = read(b"550-5.1.1 first\r\n550 5.1.1 second\r\n")
    assert (reply.code, reply.lines, reply.status) == (550, ("5.1.1 first", "5.1.1 second"), "5.1.1")
    assert reply.text == "550-5.1.1 first 550 5.1.1 second"


def test_several_replies_in_one_read_and_one_octet_at_a_time() -> None:
    data = b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 go\r\n"
    assert [one.code for one in read(data)] == [250, 250, 354]
    reader = ReplyReader()
    for octet in data:
        reader.receive_data(bytes([octet]))
    assert [one.code for one in reader.replies] == [250, 250, 354]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"550 no status", "5.0.0"),
        (b"450 5.1.1 class contradicts code", "4.0.0"),
        (b"250", "2.0.0"),
        (b"250 2.6.0", "2.6.0"),
        (b"354 go ahead", "5.0.0"),
    ],
)
def test_the_enhanced_status_fits_the_code(line: bytes, status: str) -> None:
    (reply,) = read(line + b"\r\n")
    assert reply.status == status


@pytest.mark.parametrize("line", [b"hello\r\n", b"99 x\r\n", b"250x y\r\n", b"\r\n", b"\x00\xff\n"])
def test_what_is_no_reply_ends_the_conversation(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(line)


def test_endless_replies_are_cut_off() -> None:
    with pytest.raises(ProtocolError):
        read(b"250-x\r\n" * 101)
    with pytest.raises(ProtocolError):
        read(b"2" * (MAXIMAL_PENDING_OCTETS + 1))
    (reply,) = read(b"250 " + b"x" * 10_000 + b"\r\n")
    assert len(reply.lines[0]) < 2048


def test_features_are_what_the_server_offers() -> None:
    (reply,) = read(
        b"250-mx.example greets\r\n250-PIPELINING\r\n250-size 1000\r\n250-AUTH=LOGIN\r\n250-AUTH PLAIN LOGIN\r\n"
        b"250-8BITMIME\r\n250-\r\n250 STARTTLS\r\n"
    )
    features = Features.parse(reply)
    assert features.host == "mx.example"
    assert features.pipelining
    assert features.eight_bit
    assert features.starttls
    assert not features.dsn
    assert (features.has_size, features.size) == (True, 1000)
    assert features.mechanisms == ("LOGIN", "PLAIN")
    assert not Features.parse(reply, ["pipelining", "silent-discard"]).pipelining


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6))
@example([b"250-a\r\n250", b" \r\n"])
@example([b"250 " + b"9" * 30 + b"\r\n"])
def test_no_octets_break_the_reader(pieces: list[bytes]) -> None:
    reader = ReplyReader()
    try:
        for piece in pieces:
            reader.receive_data(piece)
    except ProtocolError:
        pass
    for reply in reader.replies:
        assert 200 <= reply.code <= 599
        Features.parse(reply)
        assert reply.status
