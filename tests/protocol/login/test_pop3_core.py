"""POP3 before login, octet by octet."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.login import (
    Authenticate,
    Cancel,
    Close,
    Continue,
    Ending,
    Event,
    LoginOptions,
    Refusal,
    Send,
    Slip,
    Slipped,
    StartTls,
)
from posthouse.protocol.pop3.login import Pop3Login

OPTIONS = LoginOptions(offers_tls=True)


def core(*, is_tls: bool = False, is_secured: bool = True, options: LoginOptions = OPTIONS) -> Pop3Login:
    return Pop3Login(options, is_tls=is_tls, is_secured=is_secured)


def events(one: Pop3Login, data: bytes) -> list[Event]:
    one.receive_data(data)
    found: list[Event] = []
    while (event := one.next_event()) is not None:
        found.append(event)
    return found


def test_capabilities_depend_on_security() -> None:
    assert events(core(), b"CAPA\r\n") == [
        Send(
            b"+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\nSTLS\r\nUSER\r\n"
            b"SASL PLAIN LOGIN\r\n.\r\n"
        )
    ]
    (event,) = events(core(is_secured=False), b"CAPA\r\n")
    assert isinstance(event, Send)
    assert event.data.endswith(b"AUTH-RESP-CODE\r\nSTLS\r\n.\r\n")
    (event,) = events(core(is_tls=True), b"capa\r\n")
    assert isinstance(event, Send)
    assert b"STLS" not in event.data


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"NOOP", b"+OK\r\n"),
        (b"USER bob", b"+OK\r\n"),
        (b"USER", b"-ERR Invalid username.\r\n"),
        (b"USER " + b"x" * 2000, b"-ERR Invalid username.\r\n"),
        (b"PASS secret", b"-ERR No username given.\r\n"),
        (b"AUTH", b"+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n"),
        (b"APOP bob 0123456789abcdef0123456789abcdef", b"-ERR Unknown command.\r\n"),
        (b"STAT", b"-ERR Unknown command.\r\n"),
        (b"", b"-ERR Unknown command.\r\n"),
        (b"NOOP\0", b"-ERR Unknown command.\r\n"),
        (b"USER bob\rPASS x", b"-ERR Unknown command.\r\n"),
    ],
)
def test_commands_are_answered(command: bytes, answer: bytes) -> None:
    assert events(core(), command + b"\r\n") == [Send(answer)]


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_user_and_pass_become_a_plain_message(newline: bytes) -> None:
    said = b"user bob@example.org" + newline + b"PASS  two words " + newline
    expected = [Send(b"+OK\r\n"), Authenticate("PLAIN", b"\0bob@example.org\0 two words ")]
    assert events(core(), said) == expected
    one = core()
    assert [event for octet in said for event in events(one, bytes([octet]))] == expected


def test_a_name_is_used_once() -> None:
    one = core()
    events(one, b"USER bob\r\nPASS wrong\r\n")
    assert one.refused(Refusal.WRONG) == b"-ERR [AUTH] Authentication failed.\r\n"
    assert events(one, b"PASS again\r\n") == [Send(b"-ERR No username given.\r\n")]


def test_auth_with_and_without_initial_response() -> None:
    message = base64.b64encode(b"\0bob\0secret")
    assert events(core(), b"AUTH plain " + message + b"\r\n") == [Authenticate("PLAIN", b"\0bob\0secret")]
    one = core()
    assert events(one, b"AUTH PLAIN\r\n") == [Authenticate("PLAIN", None)]
    assert one.challenge(b"") == b"+ \r\n"
    assert events(one, message + b"\r\nNOOP\r\n") == [Continue(b"\0bob\0secret")]
    assert one.refused(Refusal.TEMPORARY).startswith(b"-ERR [SYS/TEMP] ")
    assert events(one, b"") == [Send(b"+OK\r\n")]


def test_an_exchange_can_be_given_up_or_spoilt() -> None:
    one = core()
    events(one, b"AUTH PLAIN\r\n")
    one.challenge(b"")
    assert events(one, b"*\r\n") == [Cancel(b"-ERR Authentication aborted by client.\r\n")]
    events(one, b"AUTH PLAIN\r\n")
    one.challenge(b"")
    (event,) = events(one, b"no base64!\r\n")
    assert isinstance(event, Slipped)
    assert event.slip is Slip.MALFORMED
    assert events(one, b"NOOP\r\n") == [Send(b"+OK\r\n")]
    (event,) = events(one, b"AUTH PLAIN %%\r\n")
    assert isinstance(event, Slipped)
    (event,) = events(one, b"AUTH CRAM-MD5\r\n")
    assert isinstance(event, Slipped)
    assert event.slip is Slip.UNSUPPORTED_MECHANISM


def test_passwords_wait_for_security() -> None:
    one = core(is_secured=False)
    for command in (b"USER bob", b"PASS secret", b"AUTH PLAIN", b"AUTH LOGIN Ym9i"):
        (event,) = events(one, command + b"\r\n")
        assert isinstance(event, Slipped)
        assert event.slip is Slip.DISABLED_PLAINTEXT
        assert event.data.startswith(b"-ERR [AUTH] Plaintext")


def test_stls_forgets_everything_before_it() -> None:
    one = core()
    assert events(one, b"USER bob\r\nSTLS\r\nPASS injected\r\n") == [
        Send(b"+OK\r\n"),
        StartTls(b"+OK Begin TLS negotiation now.\r\n"),
    ]
    one.tls_started()
    assert events(one, b"PASS secret\r\n") == [Send(b"-ERR No username given.\r\n")]
    assert events(one, b"STLS\r\n") == [Send(b"-ERR TLS is already active.\r\n")]
    assert events(core(options=LoginOptions()), b"STLS\r\n") == [Send(b"-ERR TLS support isn't enabled.\r\n")]


def test_what_follows_a_login_is_given_back() -> None:
    one = core()
    events(one, b"USER bob\r\nPASS secret\r\nSTAT\r\nLI")
    one.receive_data(b"ST\r\n")
    assert one.unread() == b"STAT\r\nLIST\r\n"


@pytest.mark.parametrize("flood", [b"x" * 100_000, b"X\r\n" * 3, b"GET / HTTP/1.0\r\n", b"NOOP\r\n" * 1001])
def test_floods_and_nonsense_end_the_connection(flood: bytes) -> None:
    one = core()
    found: list[Event] = []
    for start in range(0, len(flood), 4096):
        found += events(one, flood[start : start + 4096])
        assert one.buffered < 20_000
        if found and isinstance(found[-1], Close):
            break
    assert isinstance(found[-1], Close)
    assert found[-1].data.rstrip().split(b"\r\n")[-1].startswith(b"-ERR ")


def test_a_good_command_forgives_bad_ones() -> None:
    assert not any(isinstance(event, Close) for event in events(core(), b"X\r\nX\r\nNOOP\r\n" * 10))


def test_quit_says_goodbye() -> None:
    assert events(core(), b"QUIT\r\n") == [Close(b"+OK Logging out\r\n", "Aborted login by logging out")]
    assert all(core().ending(why).startswith(b"-ERR ") for why in Ending)


PIECES = st.sampled_from(
    [
        b"USER ",
        b"PASS ",
        b"AUTH ",
        b"PLAIN",
        b"CAPA",
        b"STLS",
        b"QUIT",
        b"NOOP",
        b"\r\n",
        b"\n",
        b" ",
        b"*",
        b"=",
        b"AA==",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(PIECES, st.binary(max_size=12)), max_size=40), st.booleans(), st.data())
def test_anything_is_survived(pieces: list[bytes], is_secured: bool, data: st.DataObject) -> None:
    one = core(is_secured=is_secured)
    for piece in pieces:
        for event in events(one, piece):
            match event:
                case Authenticate() | Continue():
                    if data.draw(st.booleans()):
                        one.challenge(b"?")
                    else:
                        one.refused(data.draw(st.sampled_from(Refusal)))
                case StartTls():
                    one.tls_started()
                case Close():
                    return
                case Send(answer) | Cancel(answer):
                    assert answer.endswith(b"\r\n")
                case Slipped():
                    assert event.data.endswith(b"\r\n")
