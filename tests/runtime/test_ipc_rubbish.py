"""Whatever a peer sends instead of frames ends its own connection and nothing else."""

import asyncio
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import encode

from posthouse.core.reply import Reply
from posthouse.runtime.ipc import Codec, Connection, PeerLost, Responder
from posthouse.runtime.schema import QUEUE_INTAKE, Done, Failure, LeaseQueueIds, Record

FRAMES = st.builds(
    lambda body, sequence, kind, count: struct.pack(">IIBB", len(body), sequence, kind, count) + body,
    st.binary(max_size=60) | st.sampled_from([b"\x92\xa6Submit\xa1\x80", b"\x91\xadLeaseQueueIds", b"\x91" * 5000]),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 2),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAMES | st.binary(max_size=40), max_size=5))
def test_rubbish_cuts_off_its_sender_only(pieces: list[bytes]) -> None:
    async def run() -> None:
        problems: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        ours, theirs = socket.socketpair()

        def handle(connection: Connection, record: Record, descriptors: list[int], respond: Responder | None) -> None:
            if respond:
                respond(Done())

        connection = Connection(ours, Codec.for_server(QUEUE_INTAKE), handle)
        theirs.sendall(b"".join(pieces))
        theirs.shutdown(socket.SHUT_WR)
        await asyncio.wait_for(connection.closed, 5)
        theirs.close()
        assert not problems, problems

    asyncio.run(run())


@pytest.mark.parametrize("reply", [b"\xc1", encode(Failure(Reply.of(250, "2.0.0", "no failure")))])
def test_a_reply_that_nobody_understands_fails_the_question(reply: bytes) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        connection = Connection(ours, Codec.for_client(QUEUE_INTAKE))
        asked = connection.call(LeaseQueueIds())
        await asyncio.get_running_loop().run_in_executor(None, theirs.recv, 100)
        theirs.sendall(struct.pack(">IIBB", len(reply), 1, 2, 0) + reply)
        with pytest.raises(PeerLost):
            await asyncio.wait_for(asked, 5)
        theirs.close()

    asyncio.run(run())
