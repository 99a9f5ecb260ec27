"""Any octets, cut anywhere, to a POP3 session: every answer is a line or a dotted list, nothing is an internal error."""

import asyncio
import re
from typing import Final

from tests.access.conftest import fill
from tests.access.wire import Pop3Wire

from fuzz.target import Target
from posthouse.protocol.pop3.parser import MAX_LINE
from posthouse.store.memory import MemoryStore

_UNIQUE_ID: Final = re.compile(rb"([0-9a-f]{8})[0-9a-f]{8}")
"""UID and UIDVALIDITY, which is another one in each new store."""


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    cut, octets = data[0] % 60 + 1, data[1:]
    one, other = _heard(octets, cut), _heard(octets, len(octets))
    assert one == other


def _heard(octets: bytes, cut: int) -> bytes:
    loop = asyncio.new_event_loop()
    try:
        store = MemoryStore()
        fill(store)
        wire = Pop3Wire(loop, store)
        heard = bytearray()
        for at in range(0, len(octets), cut):
            heard += wire.send(octets[at : at + cut])
            assert wire.session.buffered() <= MAX_LINE + 2
        wire.hang_up()
        assert wire.closed
        assert not wire.errors
    finally:
        loop.close()
    assert not heard or heard.endswith(b"\r\n")
    assert heard.count(b"\n") == heard.count(b"\r\n")
    return _UNIQUE_ID.sub(rb"\1", heard)


TARGET = Target(
    check,
    seeds=(
        b"\3STAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 2 0\r\nDELE 1\r\nRSET\r\nQUIT\r\n",
        b"\x3bCAPA\r\nLIST 2\r\nUIDL 5\r\nDELE 5\r\nSTAT\r\nNOOP\r\nLAST\r\nUSER x\r\nQUIT\r\n",
    ),
    words=(
        b"STAT", b"LIST", b"LIST 1", b"UIDL", b"UIDL 2", b"RETR 1", b"TOP 1 2", b"TOP 1", b"DELE 1", b"RSET",
        b"NOOP", b"CAPA", b"QUIT", b"APOP", b"\r\n", b"\n", b"\r", b" ", b"\0", b"\xff", b"99999999999999999999",
    ),
    separator=b"\r\n",
    max_octets=3000,
)  # fmt: skip
