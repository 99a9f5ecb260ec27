"""POP3 commands, with the words Dovecot uses."""

import asyncio
from collections.abc import Callable

import pytest

from posthouse.access.pop3.options import Pop3Options
from posthouse.core.identifiers import Uid
from posthouse.protocol.pop3.uidl import compile_uidl_format
from posthouse.store.interface import Mailbox, StorageFailed, Store
from posthouse.store.memory import MemoryStore
from tests.access.conftest import fill, message
from tests.access.wire import FAST, Pop3Wire

SIZE = len(message(1))


@pytest.fixture
def filled(store: Store) -> Store:
    fill(store)
    return store


@pytest.fixture
def client(filled: Store, pop3: Callable[..., Pop3Wire]) -> Pop3Wire:
    return pop3()


def test_login_is_answered(client: Pop3Wire) -> None:
    assert client.greeting == ["+OK Logged in."]


def test_stat_list_and_uidl(client: Pop3Wire, store: Store) -> None:
    validity = store.open("INBOX").uid_validity
    assert client.say("STAT") == [f"+OK 5 {5 * SIZE}"]
    assert client.say("LIST") == ["+OK 5 messages:", *(f"{n} {SIZE}" for n in range(1, 6)), "."]
    assert client.say("list 2") == [f"+OK 2 {SIZE}"]
    assert client.say("UIDL") == ["+OK", *(f"{n} {n:08x}{validity:08x}" for n in range(1, 6)), "."]
    assert client.say("UIDL 3") == [f"+OK 3 {3:08x}{validity:08x}"]


def test_retr_sends_the_message_and_marks_it_seen_at_the_end(client: Pop3Wire, store: Store) -> None:
    assert client.send(b"RETR 2\r\n") == b"+OK %d octets\r\n%b.\r\n" % (SIZE, message(2))
    assert "\\Seen" not in store.open("INBOX").rows()[1].flags
    client.hang_up()
    assert "\\Seen" in store.open("INBOX").rows()[1].flags


def test_flags_can_be_left_alone(filled: Store, pop3: Callable[..., Pop3Wire]) -> None:
    wire = pop3(options=Pop3Options(mark_seen=False))
    wire.say("RETR 2")
    assert wire.say("QUIT") == ["+OK Logging out."]
    assert "\\Seen" not in filled.open("INBOX").rows()[1].flags


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (b"A: b\r\n\r\n.\r\n..\r\nx.\r\n", b"A: b\r\n\r\n..\r\n...\r\nx.\r\n.\r\n"),
        (b".A: b\r\n", b"..A: b\r\n.\r\n"),
        (b"A: b\r\n\r\nno end", b"A: b\r\n\r\nno end\r\n.\r\n"),
    ],
)
def test_dots_are_stuffed(store: Store, pop3: Callable[..., Pop3Wire], content: bytes, sent: bytes) -> None:
    store.open("INBOX").append(content, frozenset(), None, None)
    assert pop3().send(b"RETR 1\r\n") == b"+OK %d octets\r\n%b" % (len(content), sent)


def test_top_sends_the_header_and_some_lines(store: Store, pop3: Callable[..., Pop3Wire]) -> None:
    store.open("INBOX").append(b"A: b\r\n\r\none\r\ntwo\r\n", frozenset(), None, None)
    wire = pop3()
    assert wire.send(b"TOP 1 0\r\n") == b"+OK\r\nA: b\r\n\r\n.\r\n"
    assert wire.send(b"TOP 1 1\r\n") == b"+OK\r\nA: b\r\n\r\none\r\n.\r\n"
    assert wire.send(b"TOP 1 999999999\r\n") == b"+OK\r\nA: b\r\n\r\none\r\ntwo\r\n.\r\n"
    assert wire.say("TOP 1") == ["-ERR Noise after message number: "]
    assert wire.say("TOP 1 x") == ["-ERR Invalid size: x"]


def test_deleted_messages_are_hidden_and_removed_at_quit(client: Pop3Wire, store: Store) -> None:
    assert client.say("DELE 2") == ["+OK Marked to be deleted."]
    assert client.say("DELE 2") == ["-ERR Message is deleted."]
    assert client.say("RETR 2") == ["-ERR Message is deleted."]
    assert client.say("STAT") == [f"+OK 4 {4 * SIZE}"]
    assert [line.split()[0] for line in client.say("LIST")[1:-1]] == ["1", "3", "4", "5"]
    assert len(store.open("INBOX").rows()) == 5
    assert client.say("QUIT") == ["+OK Logging out, messages deleted."]
    assert [row.uid for row in store.open("INBOX").rows()] == [1, 3, 4, 5]
    assert client.closed
    assert client.session.end_reason == "Logged out"
    assert client.session.statistics_text() == f"top=0/0, retr=0/0, del=1/5, size={5 * SIZE}"


def test_rset_forgets_deletions(client: Pop3Wire, store: Store) -> None:
    client.say("DELE 1")
    assert client.say("RSET") == ["+OK"]
    assert client.say("QUIT") == ["+OK Logging out."]
    assert len(store.open("INBOX").rows()) == 5


def test_without_quit_nothing_is_removed(client: Pop3Wire, store: Store) -> None:
    client.say("DELE 1")
    client.hang_up()
    assert len(store.open("INBOX").rows()) == 5
    assert not store.open("INBOX").listeners


def test_the_numbers_stay_while_others_work(client: Pop3Wire, store: Store) -> None:
    inbox = store.open("INBOX")
    inbox.append(message(6), frozenset(), None, None)
    inbox.expunge([Uid(2)], None)
    assert client.say("STAT") == [f"+OK 5 {5 * SIZE}"]
    assert client.say("RETR 2") == ["-ERR Message is already expunged."]
    assert client.send(b"RETR 3\r\n").startswith(b"+OK")
    client.say("DELE 2")
    assert client.say("QUIT") == ["+OK Logging out, messages deleted."]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("LIST 9", "-ERR There's no message 9."),
        ("LIST 0", "-ERR There's no message 0."),
        ("LIST x", "-ERR Invalid message number: x"),
        ("LIST 1 2", "-ERR Noise after message number: 2"),
        ("RETR", "-ERR Invalid message number: "),
        ("RETR 99999999999999", "-ERR Invalid message number: 99999999999999"),
        ("DELE \xff", "-ERR Invalid message number: ?"),
        ("FOO", "-ERR Unknown command: FOO"),
        ("", "-ERR Unknown command."),
        ("USER x", "-ERR Unknown command: USER"),
        ("\xff\0", "-ERR Unknown command: ??"),
        ("X" * 9000, "-ERR Line too long."),
    ],
)
def test_wrong_commands(client: Pop3Wire, command: str, answer: str) -> None:
    assert client.say(command) == [answer]
    assert client.say("NOOP") == ["+OK"]


def test_capabilities(client: Pop3Wire) -> None:
    heard = client.say("CAPA")
    assert heard == ["+OK", "CAPA", "TOP", "UIDL", "RESP-CODES", "PIPELINING", "AUTH-RESP-CODE", "."]


def test_after_too_many_wrong_commands_the_client_must_go(client: Pop3Wire) -> None:
    heard = client.send(b"FOO\r\n" * 50)
    assert heard.count(b"-ERR Unknown command: FOO\r\n") == 20
    assert heard.endswith(b"-ERR Too many bad commands.\r\n")
    assert client.closed


def test_commands_may_be_pipelined(client: Pop3Wire) -> None:
    heard = client.send(b"STAT\r\nUIDL\r\nLIST\r\nDELE 1\r\nQUIT\r\nSTAT\r\n")
    assert heard.startswith(b"+OK 5 ")
    assert heard.endswith(b".\r\n+OK Marked to be deleted.\r\n+OK Logging out, messages deleted.\r\n")


def test_quit_waits_for_the_flush_and_tells_of_its_failure(loop: asyncio.AbstractEventLoop) -> None:
    class BrokenStore(MemoryStore):
        async def flush(self) -> None:
            raise StorageFailed("x", "EIO")

    store = BrokenStore()
    fill(store)
    wire = Pop3Wire(loop, store)
    wire.say("DELE 1")
    assert wire.send(b"QUIT\r\n").startswith(b"-ERR [SYS/TEMP] ")
    assert wire.closed
    assert len(wire.errors) == 1


def test_a_mailbox_that_cannot_be_opened_is_a_temporary_failure(
    loop: asyncio.AbstractEventLoop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Store, name: str) -> Mailbox:
        raise StorageFailed("x", "EACCES")

    monkeypatch.setattr(type(store), "open", fail)
    wire = Pop3Wire(loop, store)
    assert wire.greeting[0].startswith("-ERR [SYS/TEMP] ")
    assert wire.closed


def test_a_silent_client_is_logged_out(client: Pop3Wire) -> None:
    later = client.session.last_input_s + FAST.idle_limit_s + 1
    client.session._monotonic = lambda: later
    client.loop.call_soon(client.session.sweep)
    assert client.hear() == ["-ERR Disconnected for inactivity."]
    assert client.closed


def test_formats_of_ids() -> None:
    assert compile_uidl_format("%v-%u")(Uid(3), 7) == b"7-3"  # type: ignore[arg-type]
    assert compile_uidl_format("UID%u-%v%%")(Uid(3), 7) == b"UID3-7%"  # type: ignore[arg-type]
    assert compile_uidl_format("%Xu")(Uid(171), 7) == b"ab"  # type: ignore[arg-type]
    for wrong in ("", "%v", "%f", "%u%", "%g", "%u %v", "%u\n"):
        with pytest.raises(ValueError, match=r"."):
            compile_uidl_format(wrong)
