"""IDLE, time limits and the process's goodbye."""

from collections.abc import Callable

from posthouse.access.imap.options import ImapOptions
from posthouse.store.interface import Store
from tests.access.conftest import message
from tests.access.wire import ImapWire


def test_an_idling_client_hears_at_once(selected: ImapWire, store: Store) -> None:
    inbox = store.open("INBOX")
    assert selected.send(b"a IDLE\r\n") == b"+ idling\r\n"
    inbox.append(message(6), frozenset(), None, None)
    assert selected.hear() == ["* 6 EXISTS", "* 6 RECENT"]
    inbox.expunge([1], None)  # type: ignore[list-item]
    assert selected.hear() == ["* 1 EXPUNGE", "* 5 RECENT"]
    assert selected.send(b"DONE\r\n") == b"a OK Idle completed.\r\n"


def test_idle_without_a_mailbox(imap: ImapWire) -> None:
    imap.send(b"a IDLE\r\n")
    assert imap.send(b"done\r\nb NOOP\r\n") == b"a OK Idle completed.\r\nb OK NOOP completed.\r\n"


def test_anything_but_done_ends_idle_badly(selected: ImapWire) -> None:
    selected.send(b"a IDLE\r\n")
    assert selected.send(b"b NOOP\r\n") == b"a BAD Expected DONE.\r\n"
    assert selected.say("NOOP") == ["OK NOOP completed."]
    selected.send(b"a IDLE\r\n")
    assert selected.send(b"x" * 100_000 + b"\r\n").startswith(b"* BAD ")


def test_news_of_the_own_session_do_not_come_back(selected: ImapWire) -> None:
    selected.say(r"STORE 1 +FLAGS.SILENT (\Draft)")
    assert selected.send(b"a IDLE\r\n") == b"+ idling\r\n"
    assert selected.hear() == []


class Clockwork:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def timed(connect: Callable[..., ImapWire]) -> tuple[ImapWire, Clockwork]:
    wire = connect()
    clock = Clockwork()
    wire.session._monotonic = clock
    wire.session.last_input_s = wire.session._told_at_s = clock.now
    return wire, clock


def test_an_idling_client_is_reminded_that_we_are_here(connect: Callable[..., ImapWire]) -> None:
    wire, clock = timed(connect)
    wire.send(b"a IDLE\r\n")
    clock.now += 100
    wire.loop.call_soon(wire.session.sweep)
    assert wire.hear() == []
    clock.now += 30
    wire.loop.call_soon(wire.session.sweep)
    assert wire.hear() == ["* OK Still here"]


def test_a_silent_client_is_logged_out(connect: Callable[..., ImapWire]) -> None:
    wire, clock = timed(connect)
    clock.now += ImapOptions().pace.idle_limit_s - 1
    wire.loop.call_soon(wire.session.sweep)
    assert wire.hear() == []
    clock.now += 2
    wire.loop.call_soon(wire.session.sweep)
    assert wire.hear() == ["* BYE Disconnected for inactivity."]
    assert wire.closed
    assert wire.session.end_reason == "Inactivity"


def test_a_client_that_does_not_read_is_cut_off(connect: Callable[..., ImapWire]) -> None:
    wire, clock = timed(connect)
    wire.session.pause_writing()
    clock.now += 2000
    wire.loop.call_soon(wire.session.sweep)
    wire.settle()
    assert wire.closed


def test_the_process_says_goodbye(selected: ImapWire) -> None:
    selected.loop.call_soon(selected.session.shutdown, "Server shutting down.")
    assert selected.hear() == ["* BYE Server shutting down."]
    assert selected.closed


def test_goodbye_waits_for_the_command_under_way(selected: ImapWire) -> None:
    selected.loop.call_soon(selected.session.data_received, b"a CHECK\r\n")
    selected.loop.call_soon(selected.session.shutdown, "Server shutting down.")
    assert selected.hear() == ["a OK Check completed.", "* BYE Server shutting down."]
    assert selected.closed
