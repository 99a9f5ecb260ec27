"""Any octets, cut anywhere, to an IMAP session with a mailbox in memory.

What holds: every octet it sends belongs to a response (a strict reader takes it apart); each tagged command has at most
one answer; what is kept is bounded; nothing is an internal error; the session ends with its connection.
"""

import asyncio
import re
from typing import Final

from tests.access.conftest import fill
from tests.access.wire import FAST, ImapWire, lines

from fuzz.target import Target
from posthouse.access.imap.options import ImapOptions
from posthouse.protocol.imap.parser import ReaderLimits
from posthouse.store.memory import MemoryStore

OPTIONS: Final = ImapOptions(pace=FAST, limits=ReaderLimits(line=2000, literal=2000, message=4000), bad_commands=10_000)
_RESPONSE: Final = re.compile(
    r"(?:\* (?:OK|NO|BAD|BYE|PREAUTH|FLAGS|LIST|LSUB|SEARCH|STATUS|CAPABILITY|ENABLED|ID|NAMESPACE|[0-9]+ [A-Z]+)(?: .*)?"
    r"|\+ .*|[^\x00-\x20\x7f-\xff(){%*\"\\+]+ (?:OK|NO|BAD) .+)\Z",
    re.DOTALL,
)
_BEFORE: Final = ((), ("SELECT INBOX",), ("EXAMINE INBOX",), ("SELECT INBOX", "IDLE"))


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    before, cut, octets = _BEFORE[data[0] % 4], data[0] // 4 + 1 if data[0] < 128 else 4096, data[1:]
    loop = asyncio.new_event_loop()
    try:
        store = MemoryStore()
        fill(store)
        wire = ImapWire(loop, store, OPTIONS)
        for command in before:
            wire.send(b"x " + command.encode() + b"\r\n")
        heard = bytearray()
        for at in range(0, len(octets), cut):
            heard += wire.send(octets[at : at + cut])
            assert wire.session.buffered() <= 6500
        for response in lines(bytes(heard)):
            assert _RESPONSE.match(response), response
        wire.hang_up()
        assert wire.closed
        assert not wire.errors, wire.errors
        assert not store.open("INBOX").listeners
    finally:
        loop.close()


TARGET = Target(
    check,
    seeds=(
        b"\xff1 CAPABILITY\r\n2 LIST \"\" \"*\"\r\n3 LIST (SUBSCRIBED) \"\" (\"INBOX\" \"%\") RETURN (SPECIAL-USE)\r\n4 SELECT INBOX\r\n",
        b"\xfd1 FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE BODY[HEADER.FIELDS (To)] BODY.PEEK[TEXT]<0.5>)\r\n2 CLOSE\r\n",
        b"\x7d1 UID STORE 1:3 +FLAGS.SILENT (\\Deleted kw)\r\n2 EXPUNGE\r\n3 UID EXPUNGE 5\r\n4 STORE 1 FLAGS \\Seen\r\n",
        b"\xfc1 CREATE a/b\r\n2 RENAME a c\r\n3 SUBSCRIBE c\r\n4 LSUB \"\" %\r\n5 DELETE c/b\r\n6 STATUS c (MESSAGES UIDNEXT)\r\n",
        b"\xfd1 APPEND INBOX (\\Seen) \"01-Jan-2020 10:00:00 +0800\" {20+}\r\nSubject: x\r\n\r\nbody\r\n\r\n2 SEARCH BODY body UNSEEN\r\n",
        b"\xfd1 COPY 1:2 INBOX\r\n2 MOVE 1 INBOX\r\n3 UID SEARCH OR FROM alice NOT SENTSINCE 1-Jan-2020\r\n4 UNSELECT\r\n",
        b"\xffDONE\r\n1 ID (\"name\" \"x\")\r\n2 ENABLE X\r\n3 NAMESPACE\r\n4 CHECK\r\n5 NOOP\r\n6 LOGOUT\r\n",
    ),
    words=(
        b"1 FETCH 1:* ", b"1 UID FETCH 1:9 ", b"1 STORE 1:2 ", b"1 SEARCH ", b"1 UID SEARCH ", b"1 COPY 1 ",
        b"1 MOVE 2 ", b"1 EXPUNGE", b"1 UID EXPUNGE 1:*", b"1 SELECT ", b"1 EXAMINE ", b"1 CREATE ", b"1 DELETE ",
        b"1 RENAME ", b"1 LIST \"\" ", b"1 LSUB \"\" ", b"1 STATUS INBOX (", b"1 APPEND INBOX ", b"1 IDLE\r\nDONE",
        b"1 CLOSE", b"1 UNSELECT", b"INBOX", b"a/b", b"&AOQ-", b"*", b"%", b"ALL", b"FULL", b"BODY[]", b"BODY[1]",
        b"BODY[1.MIME]", b"BODY.PEEK[HEADER]<1.2>", b"RFC822.SIZE", b"UID", b"FLAGS", b"+FLAGS", b"-FLAGS.SILENT",
        b"(\\Seen)", b"(kw)", b"\\Deleted", b"SUBJECT ", b"TEXT ", b"OR ", b"NOT ", b"BEFORE 1-Jan-2020",
        b"LARGER 1", b"HEADER x \"\"", b"KEYWORD work", b"{3+}\r\nabc", b"{3}\r\n", b"{0+}\r\n", b"(", b")", b"\"",
        b"\r\n", b"\n", b"\0", b"\xff", b"NIL",
    ),
    separator=b"\r\n",
    max_octets=3000,
)  # fmt: skip
