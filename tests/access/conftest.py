"""One loop, one store in memory, as many sessions as a test wants."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from posthouse.store.flush import Volumes
from posthouse.store.interface import Store
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.location import MailLocation
from posthouse.store.maildir.store import MaildirStore
from posthouse.store.memory import MemoryStore
from tests.access.wire import ImapWire, Pop3Wire


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(params=["memory", "maildir"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Sessions must not care which it is."""
    if request.param == "memory":
        yield MemoryStore()
        return
    environment = Environment(Volumes(), watching=False)
    store = MaildirStore(MailLocation(str(tmp_path / "Maildir")), environment)
    yield store
    store.close()
    environment.close()


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
def selected(store: Store, connect: Callable[..., ImapWire]) -> ImapWire:
    """A session that has selected INBOX with five messages: 1 is seen, 2 flagged, 3 deleted, 4 has a keyword."""
    fill(store)
    wire = connect()
    wire.say("SELECT INBOX")
    return wire


@pytest.fixture
def pop3(loop: asyncio.AbstractEventLoop, store: Store) -> Callable[..., Pop3Wire]:
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
