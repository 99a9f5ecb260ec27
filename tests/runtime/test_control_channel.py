"""Orders and answers between master and its children."""

import os
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.config.configuration import Packed
from posthouse.runtime.control_channel import (
    MAX_FRAME_OCTETS,
    ChannelClosed,
    ControlChannel,
    Drain,
    Failed,
    LogFiles,
    Ready,
    Reload,
    Stop,
)


def everything_from(channel: ControlChannel, count: int) -> list[object]:
    found: list[object] = []
    while len(found) < count:
        found += channel.receive()
    return found


def test_messages_arrive_in_order() -> None:
    ours, theirs = ControlChannel.pair()
    sent = [Ready("user a, seccomp"), Failed("no reason"), Drain(3600.0), Stop(10.0)]
    for one in sent:
        ours.send(one)
    assert everything_from(theirs, len(sent)) == sent
    ours.close()
    theirs.close()


def test_a_configuration_larger_than_the_socket_buffer_waits_for_the_reader() -> None:
    ours, theirs = ControlChannel.pair()
    packed = Packed("/etc/posthouse", {f"name{i}": "x" * 1000 for i in range(2000)}, {}, {}, {}, ())
    ours.send(Reload(packed))
    assert ours.has_output
    found: list[object] = []
    while not found:
        ours.flush()
        found += theirs.receive()
    assert found == [Reload(packed)]
    assert not ours.has_output
    ours.close()
    theirs.close()


def test_descriptors_come_with_their_message() -> None:
    ours, theirs = ControlChannel.pair()
    reading, writing = os.pipe()
    ours.send(LogFiles(("/var/log/mail.log",)), (writing,))
    os.close(writing)
    assert everything_from(theirs, 1) == [LogFiles(("/var/log/mail.log",))]
    (received,) = theirs.take_descriptors(1)
    os.write(received, b"a line")
    os.close(received)
    assert os.read(reading, 100) == b"a line"
    os.close(reading)
    ours.close()
    theirs.close()


def test_the_end_of_the_other_side_is_noticed() -> None:
    ours, theirs = ControlChannel.pair()
    theirs.close()
    with pytest.raises(ChannelClosed):
        ours.receive()
    ours.send(Stop(1.0))  # nobody is there; no exception, no output that waits for ever
    assert not ours.has_output
    ours.close()


def test_a_frame_beyond_the_limit_ends_the_conversation() -> None:
    one, other = socket.socketpair()
    channel = ControlChannel(other)
    one.send(struct.pack(">I", MAX_FRAME_OCTETS + 1))
    with pytest.raises(ChannelClosed, match="octets"):
        channel.receive()
    one.close()
    channel.close()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=64), max_size=8))
def test_rubbish_is_refused_and_never_anything_else(pieces: list[bytes]) -> None:
    one, other = socket.socketpair()
    channel = ControlChannel(other)
    try:
        for piece in pieces:
            one.send(struct.pack(">I", len(piece)) + piece)
        one.close()
        while True:
            channel.receive()
    except ChannelClosed:
        pass
    finally:
        one.close()
        channel.close()
