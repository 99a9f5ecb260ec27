"""CAPABILITY, NOOP, LOGOUT, ID, ENABLE, NAMESPACE; greeting and wrong commands."""

from collections.abc import Callable

import pytest

from posthouse.access.imap.commands import CAPABILITIES, COMMANDS
from posthouse.access.imap.specification import State
from posthouse.store.interface import Store
from tests.access.conftest import message
from tests.access.wire import ImapWire


def test_the_session_answers_the_login_command_with_its_capabilities(imap: ImapWire) -> None:
    assert imap.greeting == [f"t OK [CAPABILITY {' '.join(CAPABILITIES)}] Logged in"]


def test_capability_names_what_the_table_has(imap: ImapWire) -> None:
    assert imap.say("CAPABILITY") == [f"* CAPABILITY {' '.join(CAPABILITIES)}", "OK Capability completed."]
    for extension, command in (("IDLE", "IDLE"), ("MOVE", "MOVE"), ("UNSELECT", "UNSELECT"), ("ID", "ID")):
        assert (extension in CAPABILITIES) == (command in COMMANDS)


def test_noop_tells_of_new_messages(imap: ImapWire, store: Store) -> None:
    assert imap.say("noop") == ["OK NOOP completed."]
    imap.say("SELECT INBOX")
    store.open("INBOX").append(message(1), frozenset(), None, None)
    assert imap.say("NOOP") == ["* 1 EXISTS", "* 1 RECENT", "OK NOOP completed."]
    assert imap.say("NOOP") == ["OK NOOP completed."]


def test_logout_says_goodbye_and_closes(imap: ImapWire) -> None:
    assert imap.say("LOGOUT") == ["* BYE Logging out", "OK Logout completed."]
    assert imap.channel.closed
    assert imap.closed
    assert imap.session.end_reason == "Logged out"
    assert imap.session.statistics_text().startswith("in=10 out=")


def test_a_lost_connection_is_told_once(imap: ImapWire) -> None:
    imap.hang_up()
    assert imap.closed
    assert imap.session.end_reason == "Connection closed"


def test_id_is_answered_whatever_the_client_is(imap: ImapWire) -> None:
    own = ['* ID ("name" "Posthouse")', "OK ID completed."]
    assert imap.say("ID NIL") == own
    assert imap.say('ID ("name" "Thunderbird" "version" NIL)') == own
    assert imap.say("ID ()") == own
    assert imap.say("ID")[-1].startswith("BAD ")
    assert imap.say('ID ("name"')[-1].startswith("BAD ")


def test_enable_enables_nothing_yet(imap: ImapWire) -> None:
    assert imap.say("ENABLE CONDSTORE X-GOOD") == ["* ENABLED", "OK Enabled."]
    assert imap.say("ENABLE")[-1].startswith("BAD ")


def test_namespace_is_one_personal_one(imap: ImapWire) -> None:
    assert imap.say("NAMESPACE") == ['* NAMESPACE (("" ".")) NIL NIL', "OK Namespace completed."]


@pytest.mark.parametrize("command", sorted(name for name, spec in COMMANDS.items() if spec.state is State.SELECTED))
def test_without_a_selected_mailbox_some_commands_are_bad(imap: ImapWire, command: str) -> None:
    assert imap.say(f"{command} 1 FLAGS")[-1] == "BAD No mailbox selected."


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"IDLE", "LOGOUT"}))
def test_too_many_arguments_are_bad(selected: ImapWire, command: str) -> None:
    assert selected.say(f"{command} ((((")[-1].startswith("BAD "), command


def test_unknown_commands_are_bad(imap: ImapWire) -> None:
    assert imap.say("FOO") == ["BAD Error in IMAP command FOO: Unknown command."]
    assert imap.say("UID FOO 1") == ["BAD Error in IMAP command UID FOO: Unknown command."]
    assert imap.say("LOGIN a b")[-1].startswith("BAD ")


def test_after_too_many_wrong_commands_the_client_must_go(connect: Callable[..., ImapWire]) -> None:
    wire = connect()
    for _ in range(19):
        assert wire.say("FOO")[-1].startswith("BAD ")
    assert wire.send(b"x FOO\r\n").endswith(b"* BYE Too many invalid IMAP commands.\r\n")
    assert wire.closed


def test_a_right_command_forgives_wrong_ones(imap: ImapWire) -> None:
    for _ in range(5):
        for _ in range(15):
            imap.say("FOO")
        imap.say("NOOP")
    assert not imap.closed


def test_commands_in_one_packet_are_answered_in_order(imap: ImapWire) -> None:
    heard = imap.send(b"a NOOP\r\nb CAPABILITY\r\nc NOOP\r\nd LOGOUT\r\ne NOOP\r\n")
    tags = [line.split()[0] for line in heard.decode().split("\r\n") if line]
    assert tags == ["a", "*", "b", "c", "*", "d"]


def test_a_command_may_come_octet_by_octet(imap: ImapWire) -> None:
    for octet in b"a SELECT {5}\r\n":
        imap.send(bytes([octet]))
    heard = b"".join(imap.send(bytes([octet])) for octet in b"INBOX\r\n")
    assert b"a OK [READ-WRITE] Select completed." in heard
