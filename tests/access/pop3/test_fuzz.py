"""Any octets, cut anywhere: a POP3 session answers or closes, and never breaks."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.store.memory import MemoryStore
from tests.access.conftest import fill
from tests.access.wire import Pop3Wire

COMMANDS = st.sampled_from(
    [b"STAT", b"LIST", b"LIST 1", b"UIDL", b"RETR 1", b"TOP 1 2", b"DELE 1", b"RSET", b"NOOP", b"CAPA", b"QUIT", b"TOP"]
)
PIECES = (
    COMMANDS.map(lambda command: command + b"\r\n") | st.binary(max_size=20) | st.sampled_from([b"\r", b"\n", b"\0"])
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=15))
def test_any_octets(pieces: list[bytes]) -> None:
    loop = asyncio.new_event_loop()
    store = MemoryStore()
    fill(store)
    wire = Pop3Wire(loop, store)
    for piece in pieces:
        heard = wire.send(piece)
        assert heard == b"" or heard.endswith(b"\r\n")
    wire.hang_up()
    assert wire.closed
    assert not wire.errors
    loop.close()
