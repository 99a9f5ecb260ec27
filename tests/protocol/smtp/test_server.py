"""The core's dialogue: pipelines, chunks, AUTH, STARTTLS, limits."""

import pytest

from posthouse.core.address import Address
from posthouse.core.reply import Reply
from posthouse.protocol.smtp import replies
from posthouse.protocol.smtp.events import Auth, AuthResponse, Etrn, Hello, Mail, Rcpt, Refusal, Unknown, Vrfy
from posthouse.protocol.smtp.options import Options
from posthouse.protocol.smtp.parameters import MailParameters
from posthouse.protocol.smtp.server import SmtpServer
from posthouse.protocol.smtp.states import State, Verb
from tests.protocol.smtp.talk import Talk, to_data, to_rcpt

SESSION = (
    b"EHLO client.example\r\n"
    b"MAIL FROM:<s@example.org> SIZE=20 BODY=8BITMIME\r\n"
    b"RCPT TO:<a@example.test>\r\nRCPT TO:<b@example.test> NOTIFY=NEVER\r\n"
    b"DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\n"
    b"MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\n"
    b"BDAT 5\r\nhalf BDAT 5 LAST\r\nway\r\nNOOP hello\r\nQUIT\r\n"
)


@pytest.mark.parametrize("step", [1, 3, 17, 10_000])
def test_a_whole_session_reads_the_same_in_any_packets(step: int) -> None:
    talk = Talk()
    answers = talk.slowly(SESSION, step)
    assert [line[:3] for line in answers.splitlines()] == [
        b"250", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"250", b"250", b"250", b"221",
    ]  # fmt: skip
    assert talk.messages == [b"Subject: x\r\n\r\n.dot\r\n", b"half way\r\n"]
    assert talk.state is State.CLOSED


def test_events_carry_what_the_client_said() -> None:
    talk = Talk()
    talk.send(
        b"ehlo [192.0.2.1]\r\nmail from: <s@example.org> size=7\r\nRcpt To:<a@example.test> ORCPT=rfc822;x@y\r\n"
        b"vrfy someone\r\nRSET\r\netrn @example.test\r\n"
    )
    assert talk.events[0] == Hello(Verb.EHLO, "[192.0.2.1]")
    assert talk.events[1] == Mail(Address("s", "example.org"), MailParameters(7))
    assert talk.events[2] == Rcpt(Address("a", "example.test"), (), "x@y")
    assert talk.events[3] == Vrfy("someone")
    assert talk.events[5] == Etrn("@example.test")


def test_no_event_comes_before_the_last_one_is_answered() -> None:
    core = SmtpServer(Options())
    core.receive_data(b"NOOP\r\nNOOP\r\n")
    assert core.next_event() is None  # nobody said 220 yet
    core.reply(Reply.of(220, "", "hello"))
    assert core.next_event() is not None
    assert core.next_event() is None
    core.reply(replies.OK)
    assert core.next_event() is not None


def test_after_a_refused_greeting_only_quit_makes_sense_but_commands_are_heard() -> None:
    core = SmtpServer(Options())
    core.reply(Reply.of(554, "5.7.1", "no"))
    core.receive_data(b"QUIT\r\n")
    assert core.next_event() is not None
    core.reply(replies.BYE)
    assert core.state is State.CLOSED


def test_starttls_forgets_everything_sent_ahead_and_said_before() -> None:
    talk = Talk()
    talk.send(b"EHLO c\r\n")
    talk.core.is_authenticated = True
    answers = talk.send(b"MAIL FROM:<s@example.org>\r\nSTARTTLS\r\nRCPT TO:<injected@example.test>\r\nDATA\r\n")
    assert answers.splitlines() == [b"250 2.0.0 Ok", b"220 2.0.0 Ready to start TLS"]
    assert talk.core.unread == 0
    assert talk.state is State.CONNECTED
    assert not talk.core.hello
    assert not talk.core.is_authenticated
    talk.core.tls_started()
    assert talk.codes(b"EHLO c\r\nSTARTTLS\r\n") == [250, 554]


def test_octets_that_come_between_starttls_and_its_answer_are_forgotten_too() -> None:
    talk = Talk()
    talk.send(b"EHLO c\r\n")
    talk.core.receive_data(b"STARTTLS\r\n")
    assert talk.core.next_event() is not None
    talk.core.receive_data(b"MAIL FROM:<evil@example.org>\r\n")
    talk.core.reply(replies.READY_FOR_TLS)
    assert talk.core.unread == 0
    assert talk.core.next_event() is None


def test_a_refused_starttls_changes_nothing() -> None:
    talk = Talk()
    talk.send(b"EHLO c\r\n")
    talk.core.receive_data(b"STARTTLS\r\nNOOP\r\n")
    talk.core.next_event()
    talk.core.reply(replies.NO_TLS)
    assert talk.state is State.GREETED
    assert talk.pump() == b"250 2.0.0 Ok\r\n"


def test_auth_with_and_without_initial_response() -> None:
    talk = Talk()
    talk.send(b"EHLO c\r\nAUTH plain AGEAYg==\r\n")
    assert talk.events[-1] == Auth("PLAIN", b"\0a\0b")
    assert talk.core.is_authenticated
    assert talk.codes(b"AUTH PLAIN AGEAYg==\r\n") == [503]
    talk = Talk()
    assert talk.send(b"EHLO c\r\nAUTH LOGIN\r\n").endswith(b"334 \r\n")
    assert talk.state is State.SASL
    talk.send(b"YWxpY2U=\r\n")
    assert talk.events[-1] == AuthResponse(b"alice")
    assert talk.state is State.GREETED


def test_an_empty_initial_response_is_an_equals_sign() -> None:
    talk = Talk()
    talk.send(b"EHLO c\r\nAUTH EXTERNAL =\r\n")
    assert talk.events[-1] == Auth("EXTERNAL", b"")


@pytest.mark.parametrize("line", [b"not base64!", b"====", b"YQ", b"YW\0x"])
def test_what_is_no_base64_ends_the_exchange(line: bytes) -> None:
    talk = Talk()
    talk.send(b"EHLO c\r\nAUTH LOGIN\r\n")
    assert talk.send(line + b"\r\n").startswith(b"501 5.5.2 ")
    assert talk.state is State.GREETED


def test_a_star_cancels_the_exchange() -> None:
    talk = Talk()
    talk.send(b"EHLO c\r\nAUTH LOGIN\r\n")
    assert talk.codes(b"*\r\n") == [501]
    assert talk.events[-1] == AuthResponse(None)
    assert talk.state is State.GREETED


def test_auth_needs_ehlo_and_no_transaction() -> None:
    assert Talk().codes(b"AUTH PLAIN AGEAYg==\r\nHELO c\r\nAUTH PLAIN AGEAYg==\r\n") == [503, 250, 503]
    assert to_rcpt().codes(b"AUTH PLAIN AGEAYg==\r\n") == [503]


def test_auth_lines_may_be_long_and_others_not() -> None:
    talk = Talk(Options(command_limit=512))
    talk.send(b"EHLO c\r\n")
    assert talk.codes(b"AUTH PLAIN " + b"QUFB" * 1000 + b"\r\n") == [235]
    talk = Talk(Options(command_limit=512))
    assert talk.codes(b"NOOP " + b"x" * 600 + b"\r\nNOOP\r\n") == [500, 250]
    talk.send(b"EHLO c\r\nAUTH LOGIN\r\n")
    assert talk.send(b"QUFB" * 4000 + b"\r\n").startswith(b"500 5.5.2 Error: line too long")


def test_a_line_without_end_is_kept_nowhere() -> None:
    talk = Talk()
    for _ in range(200):
        assert talk.send(b"A" * 10_000) == b""
        assert talk.core.unread <= 12_288 + 2
    assert talk.codes(b"A\r\nNOOP\r\n") == [500, 250]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"", b"500 5.5.2"),
        (b"   ", b"500 5.5.2"),
        (b"FROB", b"500 5.5.2"),
        (b"\x80\x81", b"500 5.5.2 Error: bad UTF-8 syntax"),
        (b"EHLO", b"501 5.5.4"),
        (b"EHLO " + b"x" * 300, b"501 5.5.4"),
        (b"MAIL", b"501 5.5.4"),
        (b"MAIL FROM", b"501 5.5.4"),
        (b"MAIL FROM:", b"501 5.1.7"),
        (b"MAIL FROM:<", b"501 5.1.7"),
        (b"MAIL FROM:<a@b>x", b"501 5.1.7"),
        (b"MAIL FROM:<a\0b@example.org>", b"500 5.5.2"),
        (b"MAIL FROM:<a\rb@example.org>", b"500 5.5.2"),
        (b"MAIL FROM:<\xff\xfe@example.org>", b"500 5.5.2"),
        ("MAIL FROM:<grüße@example.org>".encode(), b"553 5.6.7"),
        (b"MAIL FROM:<a@b> SIZE=99999999", b"552 5.3.4"),
        (b"MAIL FROM:<a@b> FOO", b"555 5.5.4"),
        (b"VRFY", b"501 5.5.4"),
        (b"ETRN", b"500 5.5.4"),
        (b"ETRN a b", b"500 5.5.4"),
        (b"RSET now", b"501 5.5.4"),
        (b"STARTTLS now", b"501 5.5.4"),
        (b"AUTH", b"501 5.5.4"),
        (b"AUTH PLAIN a b", b"501 5.5.4"),
        (b"AUTH PLAIN !", b"501 5.5.2"),
        (b"DATA", b"503 5.5.1"),
        (b"RCPT TO:<a@b>", b"503 5.5.1"),
    ],
)
def test_half_and_wrong_commands_get_a_clear_answer(line: bytes, answer: bytes) -> None:
    talk = Talk(Options(size_limit=1000))
    talk.send(b"EHLO c\r\n")
    assert talk.send(line + b"\r\n").startswith(answer)
    assert talk.codes(b"NOOP\r\n") == [250]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"RCPT TO:<>", b"501 5.1.3"),
        (b"RCPT TO:<a@>", b"501 5.1.3"),
        (b"RCPT TO a@b", b"501 5.5.4"),
        (b"RCPT TO:<a@b> NOTIFY=X", b"501 5.5.4"),
        ("RCPT TO:<grüße@example.org>".encode(), b"553 5.6.7"),
        (b"DATA now", b"501 5.5.4"),
        (b"MAIL FROM:<x@y>", b"503 5.5.1 Error: nested MAIL command"),
    ],
)
def test_wrong_commands_inside_a_transaction(line: bytes, answer: bytes) -> None:
    talk = to_rcpt()
    assert talk.send(line + b"\r\n").startswith(answer)
    assert talk.state is State.RCPT


def test_with_smtputf8_addresses_may_be_international() -> None:
    talk = Talk()
    talk.send(b"EHLO c\r\n")
    text = "MAIL FROM:<grüße@bücher.example> SMTPUTF8\r\nRCPT TO:<驿站@example.test>\r\nRSET\r\n"
    assert talk.codes(text.encode()) == [250, 250, 250]
    assert talk.codes("MAIL FROM:<a@b>\r\nRCPT TO:<驿站@example.test>\r\n".encode()) == [250, 553]


def test_where_smtputf8_is_not_required_addresses_may_be_international_anyway() -> None:
    talk = Talk(Options(requires_smtputf8=False))
    assert talk.codes("MAIL FROM:<grüße@b>\r\nRCPT TO:<驿站@example.test>\r\n".encode()) == [250, 250]


def test_data_with_no_recipient_is_the_fault_of_the_recipients() -> None:
    talk = Talk()
    talk.send(b"EHLO c\r\nMAIL FROM:<s@example.org>\r\n")
    assert talk.send(b"DATA\r\n") == b"554 5.5.1 Error: no valid recipients\r\n"


def test_recipients_beyond_the_limit_are_for_another_time() -> None:
    talk = Talk(Options(recipient_limit=2))
    talk.send(b"EHLO c\r\nMAIL FROM:<s@example.org>\r\n")
    assert talk.codes(b"RCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>\r\nDATA\r\n") == [250, 250, 452, 354]


@pytest.mark.parametrize("line", [b"BDAT", b"BDAT x", b"BDAT -1", b"BDAT 1 2 3", b"BDAT 5 FIRST", b"BDAT " + b"9" * 19])
def test_a_chunk_of_unknown_length_ends_the_session(line: bytes) -> None:
    talk = to_rcpt()
    assert talk.send(line + b"\r\nxxxxx").startswith(b"521 5.5.4 ")
    assert talk.state is State.CLOSED


def test_chunks_out_of_sequence_go_by_unread() -> None:
    talk = Talk()
    talk.send(b"EHLO c\r\n")
    assert talk.codes(b"BDAT 13\r\nRSET\r\nQUIT\r\nx" + b"NOOP\r\n") == [503, 250]
    talk.send(b"MAIL FROM:<s@example.org>\r\n")
    assert talk.codes(b"BDAT 6 LAST\r\nRSET\r\nNOOP\r\n") == [554, 250]
    assert talk.state is State.MAIL


def test_chunks_over_the_limit_are_discarded_until_the_last() -> None:
    talk = to_rcpt(Options(size_limit=10))
    assert talk.codes(b"BDAT 8\r\n12345678") == [250]
    assert talk.send(b"BDAT 8\r\n12345678") == b"552 5.3.4 Chunk exceeds message size limit\r\n"
    assert talk.send(b"BDAT 2\r\n12") == b"551 5.0.0 Discarded 2 bytes after earlier error\r\n"
    assert talk.send(b"BDAT 0 LAST\r\n") == b"551 5.0.0 Discarded 0 bytes after earlier error\r\n"
    assert talk.state is State.GREETED
    assert talk.messages == []


def test_reset_between_chunks_begins_anew() -> None:
    talk = to_rcpt()
    assert talk.codes(b"BDAT 3\r\nabcRSET\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<a@x>\r\n") == [250, 250, 250, 250]
    talk.send(b"BDAT 4 LAST\r\nde\r\n")
    assert talk.messages == [b"de\r\n"]


def test_large_chunks_come_in_pieces() -> None:
    talk = to_rcpt(Options(inline_limit=10_000))
    content = b"0123456\r\n" * 10_000
    talk.slowly(b"BDAT %d LAST\r\n" % len(content) + content, 4096)
    assert talk.messages == [content]
    assert len(talk.events) > 8


def test_a_bare_newline_ends_no_command() -> None:
    assert Talk().send(b"NOOP\n").startswith(b"550 5.5.2 ")
    assert Talk(normalizes=True).codes(b"NOOP\nNOOP\r\n") == [250, 250]


def test_without_chunking_bdat_ends_the_session() -> None:
    assert to_rcpt(Options(offers_chunking=False)).send(b"BDAT 1\r\nx").startswith(b"521 ")


def test_unknown_commands_are_reported_with_their_line() -> None:
    talk = Talk()
    talk.send(b"GET / HTTP/1.1\r\n")
    assert talk.events == [Unknown("GET", "GET / HTTP/1.1")]


def test_a_reply_that_closes_leaves_nothing_to_read() -> None:
    talk = to_data()
    talk.core.receive_data(b"x\r\n.\r\nNOOP\r\n")
    talk.core.next_event()
    talk.core.reply(Reply.of(421, "4.3.2", "bye"))
    assert talk.state is State.CLOSED
    assert talk.core.next_event() is None
    assert talk.core.unread == 0


def test_refusals_keep_the_line_for_the_log() -> None:
    talk = Talk()
    talk.send(b"MAIL TO:<x>\r\n")
    event = talk.events[-1]
    assert isinstance(event, Refusal)
    assert event.line == "MAIL TO:<x>"


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_line_that_is_too_long_is_called_so_however_it_comes_in(end: bytes) -> None:
    line = b"NOOP " + b"x" * 600 + end
    whole, pieces = Talk(Options(command_limit=512)), Talk(Options(command_limit=512))
    assert whole.send(line) == pieces.slowly(line) == b"500 5.5.2 Error: line too long\r\n"
