"""One loop, one store in memory, as many sessions as a test wants."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from posthouse.store.interface import Store
from posthouse.store.memory import MemoryStore
from tests.access.wire import ImapWire, Pop3Wire


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def connect(loop: asyncio.AbstractEventLoop, store: Store) -> Callable[..., ImapWire]:
    """A new IMAP session of the same user."""

    def make(**options: Any) -> ImapWire:
        return ImapWire(loop, store, **options)

    return make


@pytest.fixture
def imap(connect: Callable[..., ImapWire]) -> ImapWire:
    return connect()


@pytest.fixture
def selected(store: MemoryStore, connect: Callable[..., ImapWire]) -> ImapWire:
    """A session that has selected INBOX with five messages: 1 is seen, 2 flagged, 3 deleted, 4 has a keyword."""
    fill(store)
    wire = connect()
    wire.say("SELECT INBOX")
    return wire


@pytest.fixture
def pop3(loop: asyncio.AbstractEventLoop, store: MemoryStore) -> Callable[..., Pop3Wire]:
    def make(**options: Any) -> Pop3Wire:
        return Pop3Wire(loop, store, **options)

    return make


FLAGS = ({"\\Seen"}, {"\\Flagged"}, {"\\Deleted"}, {"work"}, set[str]())


def fill(store: Store) -> None:
    inbox = store.open("INBOX")
    for number, flags in enumerate(FLAGS, 1):
        inbox.append(message(number), frozenset(flags), 1_000_000_000.0 + 86400 * number, None)


def message(number: int) -> bytes:
    return (
        b"From: Alice <alice@example.com>\r\nTo: bob@example.org\r\nSubject: message %d\r\n"
        b"Date: Sun, %d Sep 2001 03:46:40 +0200\r\nMessage-ID: <%d@example.com>\r\n\r\n"
        b"This is body %d.\r\n" % (number, 9 + number, number, number)
    )
