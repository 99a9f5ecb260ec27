"""Any octets, cut anywhere, in each state: an IMAP session answers or closes, keeps little, and never breaks."""

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.access.imap.commands import COMMANDS
from posthouse.access.imap.options import ImapOptions
from posthouse.protocol.imap.parser import ReaderLimits
from posthouse.store.memory import MemoryStore
from tests.access.conftest import fill
from tests.access.wire import FAST, ImapWire

OPTIONS = ImapOptions(pace=FAST, limits=ReaderLimits(line=2000, literal=2000, message=20_000), bad_commands=10_000)

ARGUMENTS = st.lists(
    st.sampled_from(
        [
            b"INBOX", b"Foo", b"a.b", b"&U,BTFw-", b"&", b'""', b'"*"', b"*", b"%", b"1", b"1:*", b"2,4", b"9", b"NIL",
            b"(FLAGS UID)", b"ALL", b"BODY[]", b"BODY.PEEK[1.MIME]<0.5>", b"BODY[HEADER.FIELDS (To)]", b"ENVELOPE",
            b"+FLAGS", b"-FLAGS.SILENT", b"FLAGS", b"(\\Seen)", b"(\\Deleted kw)", b"\\Flagged", b"(MESSAGES UNSEEN)",
            b"SUBJECT", b"message", b"OR", b"NOT", b"SEEN", b"BODY", b"BEFORE", b"1-Jan-2020", b"CHARSET", b"UTF-8",
            b"{3+}\r\nabc", b"{3}\r\nabc", b"{0+}\r\n", b'"quo\\"ted"', b"(", b")", b'"', b"\xff", b"\0",
            b"(USE (\\Sent))", b'"01-Jan-2020 10:00:00 +0800"', b"{20+}\r\nSubject: x\r\n\r\nbody\r\n",
        ]
    ),
    max_size=6,
).map(b" ".join)  # fmt: skip
COMMAND = st.builds(
    lambda name, arguments: b"t " + name.encode() + b" " + arguments + b"\r\n",
    st.sampled_from(sorted(set(COMMANDS) - {"LOGOUT"})),
    ARGUMENTS,
)
PIECE = COMMAND | COMMAND | COMMAND | st.binary(max_size=20) | st.sampled_from([b"DONE\r\n", b"\r\n", b"t IDLE\r\n"])

RESPONSE = re.compile(rb"(?:\*|\+|[^ \r\n]+) [^\r\n]", re.DOTALL)


@pytest.mark.parametrize("before", [[], ["SELECT INBOX"], ["EXAMINE INBOX"]])
def test_any_octets(before: list[str]) -> None:
    @settings(max_examples=150, deadline=None)
    @given(st.lists(PIECE, max_size=12), st.integers(1, 400))
    def run(pieces: list[bytes], cut: int) -> None:
        loop = asyncio.new_event_loop()
        store = MemoryStore()
        fill(store)
        wire = ImapWire(loop, store, OPTIONS)
        for command in before:
            wire.say(command)
        octets = b"".join(pieces)
        for at in range(0, len(octets), cut):
            heard = wire.send(octets[at : at + cut])
            assert heard == b"" or (RESPONSE.match(heard) and heard.endswith(b"\r\n"))
            assert wire.session.buffered() <= 25_000
        wire.hang_up()
        assert wire.closed
        assert not wire.errors, wire.errors
        assert not store.open("INBOX").listeners
        loop.close()

    run()


TWO = st.lists(st.tuples(st.booleans(), COMMAND), max_size=15)


@settings(max_examples=150, deadline=None)
@given(TWO)
def test_two_sessions_agree_on_the_mailbox(script: list[tuple[bool, bytes]]) -> None:
    """Whatever both do, a client that follows the untagged responses knows how many messages there are."""
    loop = asyncio.new_event_loop()
    store = MemoryStore()
    fill(store)
    wires = (ImapWire(loop, store, OPTIONS), ImapWire(loop, store, OPTIONS))
    counts = [0, 0]
    for which, wire in enumerate(wires):
        counts[which] = follow(wire.send(b"t SELECT INBOX\r\n"), 0)
    for second, command in script:
        name = command.split()[1]
        if name in (b"SELECT", b"EXAMINE", b"CLOSE", b"UNSELECT", b"DELETE", b"RENAME", b"IDLE"):
            continue
        counts[second] = follow(wires[second].send(command), counts[second])
        # What the command left open is closed.
        counts[second] = follow(wires[second].send(b'"\r\n'), counts[second])
    for which, wire in enumerate(wires):
        heard = wire.send(b"z NOOP\r\n")
        assert follow(heard, counts[which]) == len(store.open("INBOX").rows())
        assert len(wire.session.mailbox.rows) == len(store.open("INBOX").rows())
        assert not wire.errors
        wire.hang_up()
    loop.close()


def follow(heard: bytes, count: int) -> int:
    for line in re.findall(rb"^\* ([0-9]+) (EXISTS|EXPUNGE)\r$", heard, re.MULTILINE):
        if line[1] == b"EXISTS":
            assert int(line[0]) >= count
            count = int(line[0])
        else:
            assert 1 <= int(line[0]) <= count
            count -= 1
    return count
