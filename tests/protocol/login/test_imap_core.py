"""IMAP before login, octet by octet."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.imap.login import ImapLogin
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

OPTIONS = LoginOptions(offers_tls=True)


def core(*, is_tls: bool = False, is_secured: bool = True, options: LoginOptions = OPTIONS) -> ImapLogin:
    return ImapLogin(options, is_tls=is_tls, is_secured=is_secured)


def events(one: ImapLogin, data: bytes) -> list[Event]:
    one.receive_data(data)
    return drain(one)


def drain(one: ImapLogin) -> list[Event]:
    found: list[Event] = []
    while (event := one.next_event()) is not None:
        found.append(event)
    return found


def test_the_greeting_lists_what_works_here() -> None:
    assert core().greeting() == (
        b"* OK [CAPABILITY IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ STARTTLS AUTH=PLAIN AUTH=LOGIN] "
        b"Posthouse ready.\r\n"
    )
    assert b"STARTTLS LOGINDISABLED]" in core(is_secured=False).greeting()
    assert b"LITERAL+ AUTH=PLAIN AUTH=LOGIN]" in core(is_tls=True).greeting()
    assert b"STARTTLS" not in core(options=LoginOptions()).greeting()
    required = LoginOptions(offers_tls=True, requires_tls=True, refuses_plaintext=False)
    assert b"LOGINDISABLED]" in core(is_secured=False, options=required).greeting()
    allowed = LoginOptions(offers_tls=True, refuses_plaintext=False)
    assert b"STARTTLS AUTH=PLAIN AUTH=LOGIN]" in core(is_secured=False, options=allowed).greeting()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"a CAPABILITY", b"* CAPABILITY IMAP4rev1"),
        (b"a noop", b"a OK NOOP completed.\r\n"),
        (b"a ID NIL", b'* ID ("name" "Posthouse")\r\na OK ID completed.\r\n'),
        (b'a ID ("name" "x" "version" NIL)', b'* ID ("name" "Posthouse")\r\na OK ID completed.\r\n'),
        (b"a ID ()", b'* ID ("name" "Posthouse")\r\na OK ID completed.\r\n'),
        (b"a ENABLE CONDSTORE", b"* ENABLED\r\na OK"),
        (b"a SELECT inbox", b"a BAD "),
        (b"a ID", b"a BAD "),
        (b'a ID ("name"', b"a BAD "),
        (b"a LOGIN bob", b"a BAD "),
        (b"a LOGIN bob secret more", b"a BAD "),
        (b"a LOGIN (bob) secret", b"a BAD "),
        (b"a AUTHENTICATE", b"a BAD "),
        (b"a STARTTLS now", b"a BAD "),
        (b"a LOGOUT now", b"a BAD "),
        (b"a", b"a BAD "),
        (b"", b"* BAD "),
        (b"* LOGIN a b", b"* BAD "),
        (b"a\0b NOOP", b"* BAD "),
    ],
)
def test_commands_are_answered(command: bytes, answer: bytes) -> None:
    (event,) = events(core(), command + b"\r\n")
    assert isinstance(event, Send)
    assert event.data.startswith(answer)
    assert event.data.endswith(b"\r\n")


@pytest.mark.parametrize(
    "command",
    [
        b"a LOGIN bob secret\r\n",
        b'a login "bob" "secret"\r\n',
        b"a LOGIN {3+}\r\nbob {6+}\r\nsecret\r\n",
        b'a LOGIN bob "sec\\ret"\r\n'.replace(b"\\r", b"\\\\r").replace(b"\\\\r", b"r"),
    ],
)
def test_login_becomes_a_plain_message_however_it_is_spelt_and_cut(command: bytes) -> None:
    expected = [Authenticate("PLAIN", b"\0bob\0secret")]
    assert events(core(), command) == expected
    one = core()
    found = [event for octet in command for event in events(one, bytes([octet]))]
    assert found == expected
    assert one.tag == "a"


def test_a_synchronising_literal_is_asked_for() -> None:
    one = core()
    assert events(one, b"a LOGIN {3}\r\n") == [Send(b"+ OK\r\n")]
    assert events(one, b"bob {6}\r\n") == [Send(b"+ OK\r\n")]
    assert events(one, b"secret\r\n") == [Authenticate("PLAIN", b"\0bob\0secret")]


def test_a_name_with_nul_is_no_second_field() -> None:
    (event,) = events(core(), b"a LOGIN {5+}\r\nb\0ob! secret\r\n")
    assert isinstance(event, Send)
    assert event.data.startswith(b"a BAD")


def test_authenticate_with_a_challenge() -> None:
    one = core()
    assert events(one, b"a AUTHENTICATE LOGIN\r\n") == [Authenticate("LOGIN", None)]
    assert one.challenge(b"Username:") == b"+ VXNlcm5hbWU6\r\n"
    assert events(one, b"Ym9i\r\n") == [Continue(b"bob")]
    assert one.challenge(b"Password:") == b"+ UGFzc3dvcmQ6\r\n"
    assert events(one, b"c2VjcmV0\r\nb NOOP\r\n") == [Continue(b"secret")]
    assert one.refused(Refusal.WRONG) == b"a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"
    assert drain(one) == [Send(b"b OK NOOP completed.\r\n")]


def test_initial_responses() -> None:
    message = base64.b64encode(b"\0bob\0secret")
    assert events(core(), b"a AUTHENTICATE PLAIN " + message + b"\r\n") == [Authenticate("PLAIN", b"\0bob\0secret")]
    assert events(core(), b"a AUTHENTICATE PLAIN =\r\n") == [Authenticate("PLAIN", b"")]
    (event,) = events(core(), b"a AUTHENTICATE PLAIN !!!\r\n")
    assert event == Slipped(Slip.MALFORMED, "PLAIN", b"a BAD Invalid base64 data in initial response\r\n")
    (event,) = events(core(), b"a AUTHENTICATE GSSAPI\r\n")
    assert isinstance(event, Slipped)
    assert event.slip is Slip.UNSUPPORTED_MECHANISM


def test_the_client_may_give_up_an_exchange_or_spoil_it() -> None:
    one = core()
    events(one, b"a AUTHENTICATE PLAIN\r\n")
    assert one.challenge(b"") == b"+ \r\n"
    assert events(one, b"*\r\nb NOOP\r\n") == [
        Cancel(b"a BAD Authentication aborted by client.\r\n"),
        Send(b"b OK NOOP completed.\r\n"),
    ]
    events(one, b"c AUTHENTICATE PLAIN\r\n")
    one.challenge(b"")
    (event,) = events(one, b"!!!\r\n")
    assert isinstance(event, Slipped)
    assert event.slip is Slip.MALFORMED
    assert events(one, b"d NOOP\r\n") == [Send(b"d OK NOOP completed.\r\n")]


def test_an_endless_response_is_cut_off() -> None:
    one = core()
    events(one, b"a AUTHENTICATE PLAIN\r\n")
    one.challenge(b"")
    found: list[Event] = []
    for _ in range(100):
        assert one.buffered < 40_000
        found += events(one, b"A" * 1000)
        if found:
            break
    assert isinstance(found[0], Close)


def test_plaintext_is_refused_without_security_and_says_what_to_do() -> None:
    one = core(is_secured=False)
    (event,) = events(one, b"a LOGIN bob secret\r\n")
    assert isinstance(event, Slipped)
    assert event.slip is Slip.DISABLED_PLAINTEXT
    assert event.user == "bob"
    assert b"\r\na NO [PRIVACYREQUIRED] " in event.data
    (event,) = events(one, b"b AUTHENTICATE PLAIN\r\n")
    assert isinstance(event, Slipped)
    assert event.data == b"b NO [PRIVACYREQUIRED] Plaintext authentication disabled.\r\n"


def test_starttls_forgets_everything_before_it() -> None:
    one = core(is_secured=False)
    found = events(one, b"a STARTTLS\r\nb LOGIN bob injected\r\nc AUTH")
    assert found == [StartTls(b"a OK Begin TLS negotiation now.\r\n")]
    one.tls_started()
    assert drain(one) == []
    assert events(one, b"d LOGIN bob secret\r\n") == [Authenticate("PLAIN", b"\0bob\0secret")]
    one.refused(Refusal.WRONG)
    (event,) = events(one, b"e STARTTLS\r\n")
    assert event == Send(b"e BAD TLS is already active.\r\n")


def test_what_follows_a_login_is_given_back() -> None:
    one = core()
    assert len(events(one, b"a LOGIN bob secret\r\nb SELECT inbox\r\nc FET")) == 1
    one.receive_data(b"CH 1")
    assert one.unread() == b"b SELECT inbox\r\nc FETCH 1"


@pytest.mark.parametrize(
    ("why", "answer"),
    [
        (Refusal.WRONG, b"a NO [AUTHENTICATIONFAILED] "),
        (Refusal.DISABLED, b"a NO [AUTHORIZATIONFAILED] "),
        (Refusal.TEMPORARY, b"a NO [UNAVAILABLE] "),
        (Refusal.LIMIT, b"a NO [LIMIT] "),
        (Refusal.INTERNAL, b"a NO [UNAVAILABLE] "),
    ],
)
def test_refusals_carry_the_response_code_of_their_kind(why: Refusal, answer: bytes) -> None:
    one = core()
    events(one, b"a LOGIN bob secret\r\n")
    assert one.refused(why).startswith(answer)


@pytest.mark.parametrize(
    "flood",
    [
        b"a LOGIN {4097}\r\n" * 3,
        b"a LOGIN {99999999999+}\r\n" + b"x" * 60_000,
        b"a " + b"x" * 60_000,
        b"a LOGIN " + b"{1+}\r\nx " * 20_000,
        b"x\r\n" * 3,
        b"\0\r\n" * 3,
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\na LOGIN bob secret\r\n",
    ],
)
def test_floods_and_nonsense_end_the_connection(flood: bytes) -> None:
    one = core()
    found: list[Event] = []
    for start in range(0, len(flood), 4096):
        found += events(one, flood[start : start + 4096])
        if any(isinstance(event, Close) for event in found):
            break
        assert one.buffered < 40_000
    assert isinstance(found[-1], Close)
    assert found[-1].data.startswith(b"* BYE ")
    assert not any(isinstance(event, Authenticate) for event in found)


def test_endless_polite_commands_end_the_connection_too() -> None:
    found = events(core(), b"a NOOP\r\n" * 1001)
    assert isinstance(found[-1], Close)
    assert len(found) == 1001


def test_endings_have_words() -> None:
    assert all(core().ending(why).startswith(b"* BYE ") for why in Ending)


VERBS = [b"LOGIN", b"AUTHENTICATE", b"CAPABILITY", b"ID", b"STARTTLS", b"NOOP", b"LOGOUT", b"ENABLE", b"PLAIN", b"NIL"]
PIECES = st.sampled_from(
    [*VERBS, b"a ", b" ", b"\r\n", b"\n", b"{3}", b"{3+}\r\n", b'"', b"\\", b"(", b")", b"*", b"=", b"AGIAYw==", b"\0"]
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
        assert one.tag.isascii()
        assert "\r" not in one.tag


def test_only_the_first_octets_say_that_it_is_a_browser() -> None:
    one = core()
    assert events(one, b"nonsense\r\n") == [Send(b"nonsense BAD Error in IMAP command received by server.\r\n")]
    assert events(one, b"GET / HTTP/1.1\r\n") == [Send(b"GET BAD Error in IMAP command received by server.\r\n")]
