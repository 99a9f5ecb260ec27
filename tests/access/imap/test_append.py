"""APPEND: literals of both kinds, flags, dates, limits, and nothing said before it is stored."""

import asyncio
from collections.abc import Callable

import pytest

from posthouse.store.interface import StorageFailed, Store
from posthouse.store.memory import MemoryStore
from tests.access.conftest import message
from tests.access.wire import ImapWire

MESSAGE = message(1)


def literal(content: bytes) -> bytes:
    return b"{%d+}\r\n%b" % (len(content), content)


def test_a_message_is_appended_with_flags_and_date(imap: ImapWire, store: Store) -> None:
    heard = imap.say(rb'APPEND INBOX (\Seen $Work) "01-Jan-2020 10:00:00 +0800" ' + literal(MESSAGE))
    inbox = store.open("INBOX")
    assert heard == [f"OK [APPENDUID {inbox.uid_validity} 1] Append completed."]
    row = inbox.rows()[0]
    assert row.flags == {"\\Seen", "$Work"}
    assert row.internal_date_s == 1577844000.0
    assert inbox.content(row.uid) == MESSAGE


def test_a_synchronising_literal_is_asked_for(imap: ImapWire, store: Store) -> None:
    assert imap.send(b"a APPEND INBOX {%d}\r\n" % len(MESSAGE)) == b"+ OK\r\n"
    assert imap.send(MESSAGE) == b""
    assert b"a OK [APPENDUID" in imap.send(b"\r\n")
    assert store.status("INBOX").messages == 1


def test_a_missing_mailbox_is_told_before_the_literal(imap: ImapWire) -> None:
    expected = b"a NO [TRYCREATE] Mailbox doesn't exist: none\r\n"
    assert imap.send(b"a APPEND none {100}\r\n") == expected
    assert imap.send(b"a APPEND none {3+}\r\nabc\r\n") == expected
    assert imap.say("NOOP") == ["OK NOOP completed."]


def test_wrong_arguments_are_told_before_the_literal(imap: ImapWire) -> None:
    assert imap.send(b"a APPEND INBOX (\\Foo) {100}\r\n").startswith(b"a BAD ")
    assert imap.say(b'APPEND INBOX "bad date" ' + literal(MESSAGE))[-1].startswith("BAD ")
    assert imap.say(b"APPEND INBOX (\\Recent) " + literal(MESSAGE))[-1].startswith("BAD ")
    assert imap.say(b"APPEND INBOX abc")[-1].startswith("BAD ")
    assert imap.say(b"APPEND INBOX " + literal(b""))[-1].startswith("NO ")


def test_a_mailbox_name_may_be_a_literal_too(imap: ImapWire, store: Store) -> None:
    assert imap.send(b"a APPEND {5}\r\n") == b"+ OK\r\n"
    assert imap.send(b"INBOX {3}\r\n") == b"+ OK\r\n"
    assert b"a OK [APPENDUID" in imap.send(b"abc\r\n")
    assert store.status("INBOX").messages == 1


def test_messages_over_the_limit_are_refused_without_reading_them_into_memory(imap: ImapWire) -> None:
    assert imap.send(b"a APPEND INBOX {2000000}\r\n") == b"a NO [TOOBIG] Message is too large.\r\n"
    heard = imap.send(b"a APPEND INBOX {2000000+}\r\n")
    for _ in range(20):
        heard += imap.send(b"x" * 100_000)
        assert imap.session.buffered() < 1000
    heard += imap.send(b"\r\nb NOOP\r\n")
    assert heard == b"a NO [TOOBIG] Message is too large.\r\nb OK NOOP completed.\r\n"


def test_bare_line_feeds_become_line_ends(imap: ImapWire, store: Store) -> None:
    imap.say(b"APPEND INBOX " + literal(b"Subject: x\n\nbody\r\nend\n"))
    assert store.open("INBOX").content(store.open("INBOX").rows()[0].uid) == b"Subject: x\r\n\r\nbody\r\nend\r\n"


def test_the_own_selected_mailbox_shows_the_message(selected: ImapWire) -> None:
    heard = selected.say(b"APPEND INBOX " + literal(MESSAGE))
    assert heard[:2] == ["* 6 EXISTS", "* 6 RECENT"]


def test_quota_is_answered_with_its_code(loop: asyncio.AbstractEventLoop) -> None:
    wire = ImapWire(loop, MemoryStore(limit=100))
    assert wire.say(b"APPEND INBOX " + literal(MESSAGE))[-1].startswith("NO [OVERQUOTA] ")


class SlowStore(MemoryStore):
    """A disk that takes its time, and may fail."""

    def __init__(self) -> None:
        super().__init__()
        self.flushing = asyncio.Event()
        self.done = asyncio.Event()
        self.failure: Exception | None = None

    async def flush(self) -> None:
        self.flushing.set()
        await self.done.wait()
        if self.failure is not None:
            raise self.failure


WRITING = [
    b"APPEND INBOX " + literal(MESSAGE),
    b"COPY 1 INBOX",
    b"MOVE 1 INBOX",
    b"STORE 1 +FLAGS (\\Deleted)",
    b"EXPUNGE",
    b"CLOSE",
    b"CHECK",
    b"CREATE a",
    b"RENAME INBOX b",
    b"SUBSCRIBE INBOX",
]


@pytest.mark.parametrize("command", WRITING)
def test_nothing_is_acknowledged_before_the_flush(loop: asyncio.AbstractEventLoop, command: bytes) -> None:
    store = SlowStore()
    store.open("INBOX").append(MESSAGE, frozenset({"\\Deleted"}), None, None)
    wire = ImapWire(loop, store)
    wire.say("SELECT INBOX")
    loop.call_soon(wire.session.data_received, b"a " + command + b"\r\nb NOOP\r\n")
    loop.run_until_complete(asyncio.wait_for(store.flushing.wait(), 5))
    wire.settle(50)
    assert b"a OK" not in wire.channel.output
    store.done.set()
    heard = wire.send(b"")
    assert b"\r\na OK" in b"\r\n" + heard
    assert heard.endswith(b"b OK NOOP completed.\r\n")


@pytest.mark.parametrize("command", WRITING)
def test_a_failed_flush_is_a_no(loop: asyncio.AbstractEventLoop, command: bytes) -> None:
    store = SlowStore()
    store.failure = StorageFailed("Not now", "EIO on /somewhere")
    store.done.set()
    store.open("INBOX").append(MESSAGE, frozenset({"\\Deleted"}), None, None)
    wire = ImapWire(loop, store)
    wire.say("SELECT INBOX")
    heard = wire.send(b"a " + command + b"\r\n")
    assert b"a NO [SERVERBUG] Not now\r\n" in heard
    assert wire.errors == [store.failure]


def test_a_full_disk_looks_like_quota(loop: asyncio.AbstractEventLoop) -> None:
    store = SlowStore()
    store.failure = StorageFailed("x", no_space=True)
    store.done.set()
    wire = ImapWire(loop, store)
    assert wire.send(b"a CREATE x\r\n") == b"a NO [OVERQUOTA] Not enough disk space\r\n"


def test_a_client_that_leaves_during_the_flush_is_released_after_it(loop: asyncio.AbstractEventLoop) -> None:
    store = SlowStore()
    wire = ImapWire(loop, store)
    loop.call_soon(wire.session.data_received, b"a CREATE x\r\n")
    loop.run_until_complete(asyncio.wait_for(store.flushing.wait(), 5))
    wire.channel.close()
    wire.settle(50)
    assert not wire.closed
    store.done.set()
    loop.run_until_complete(asyncio.sleep(0))
    wire.settle(50)
    assert wire.closed


def test_what_a_client_pipelines_behind_a_slow_command_is_bounded(
    loop: asyncio.AbstractEventLoop, connect: Callable[..., ImapWire]
) -> None:
    store = SlowStore()
    wire = ImapWire(loop, store)
    loop.call_soon(wire.session.data_received, b"a CREATE x\r\n")
    loop.run_until_complete(asyncio.wait_for(store.flushing.wait(), 5))
    for _ in range(40):
        if wire.channel.reading:
            loop.call_soon(wire.session.data_received, b"n NOOP\r\n" * 2000)
        wire.settle(5)
    assert not wire.channel.reading
    assert wire.session.buffered() < 400_000
    store.done.set()
    heard = wire.send(b"")
    assert heard.count(b"n OK") > 10_000
    assert wire.channel.reading
