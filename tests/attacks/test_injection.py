"""Commands and lines that are slipped in where another meaning was agreed on."""

import base64
import contextlib
import re

import pytest

from tests.attacks.wire import Recorder, Wire
from tests.running import RunningSystem

LOG_LINE = re.compile(r"^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ \S+: ")
AUTH = b"AUTH PLAIN " + base64.b64encode(b"\0alice@example.test\0wonderland") + b"\r\n"
PLAINTEXT_TAILS = (
    b"MAIL FROM:<evil@example.test>\r\n",
    b"MAIL FROM:<evil@example.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n",
    b"NOOP\r\n",
    b"NOO",
)


def lines_are_ours(system: RunningSystem) -> bool:
    """Nobody has made a line of his own in the log."""
    return all(LOG_LINE.match(line) for line in system.log().splitlines())


# ── in front of STARTTLS ──


@pytest.mark.parametrize("tail", PLAINTEXT_TAILS, ids=repr)
@pytest.mark.parametrize("endpoint", ["smtp", "submission"])
def test_plaintext_behind_starttls_is_not_read_as_if_it_had_been_encrypted(
    system: RunningSystem, endpoint: str, tail: bytes
) -> None:
    """CVE-2011-0411."""
    with Wire(system.endpoint(endpoint)) as wire:
        wire.ehlo()
        answer = wire.send(b"STARTTLS\r\n" + tail).reply()
        if not answer.startswith(b"220"):
            assert answer[:1] == b"5"
            return
        try:
            wire.encrypt()
        except OSError:
            return  # the handshake got plaintext, and the connection is over
        assert wire.rest() == b"", "an answer to what was injected"
        wire.send(b"RSET\r\nDATA\r\n")
        wire.reply()
        assert wire.reply()[:1] == b"5"


@pytest.mark.parametrize(
    ("endpoint", "start", "injected", "probe"),
    [
        ("imap", b"a STARTTLS\r\n", b"b LOGIN alice@example.test wonderland\r\n", b"c NOOP\r\n"),
        ("imap", b"a STARTTLS\r\n", b"b CAPABI", b"LITY\r\nc NOOP\r\n"),
        ("pop3", b"STLS\r\n", b"USER alice@example.test\r\nPASS wonderland\r\n", b"NOOP\r\n"),
    ],
)
def test_plaintext_behind_starttls_of_readers(
    system: RunningSystem, endpoint: str, start: bytes, injected: bytes, probe: bytes
) -> None:
    with Wire(system.endpoint(endpoint)) as wire:
        wire.line()
        answer = wire.send(start + injected).line()
        if not answer.startswith((b"a OK", b"+OK")):
            return
        try:
            wire.encrypt()
        except OSError:
            return
        assert wire.rest() == b""
        answer = wire.send(probe).rest()
        assert b"b OK" not in answer
        assert answer.count(b"\r\n") <= 2, answer


@pytest.mark.parametrize(
    "envelope", [b"MAIL FROM:<evil@example.org>\r\n", b"MAIL FROM:<x@example.org>\r\nRCPT TO:<bob@example.test>\r\n"]
)
def test_what_was_said_in_plaintext_is_forgotten_by_tls(system: RunningSystem, envelope: bytes) -> None:
    with Wire(system.endpoint("smtp")) as wire:
        wire.ehlo()
        wire.send(envelope)
        for _ in range(envelope.count(b"\r\n")):
            wire.reply()
        wire.send(b"STARTTLS\r\n").reply()
        wire.encrypt()
        assert wire.send(b"DATA\r\n").reply()[:1] == b"5"
        assert wire.send(b"RCPT TO:<alice@example.test>\r\n").reply()[:1] == b"5"


# ── across AUTH ──


def encrypted(system: RunningSystem) -> Wire:
    wire = Wire(system.endpoint("submission"))
    wire.ehlo()
    wire.send(b"STARTTLS\r\n").reply()
    wire.encrypt()
    wire.send(b"EHLO x.example\r\n").reply()
    return wire


def test_a_command_in_place_of_credentials_is_never_carried_out(system: RunningSystem) -> None:
    with encrypted(system) as wire:
        wire.send(b"AUTH LOGIN\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<victim@example.net>\r\n")
        answers = wire.rest()
        assert b"250 2.1" not in answers
        assert b"235" not in answers


def test_commands_pipelined_behind_a_refused_login_have_no_rights(system: RunningSystem, recorder: Recorder) -> None:
    wrong = b"AUTH PLAIN " + base64.b64encode(b"\0alice@example.test\0wrong") + b"\r\n"
    with encrypted(system) as wire:
        wire.send(wrong + b"MAIL FROM:<alice@example.test>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n")
        answers = wire.reply()
        assert answers.startswith(b"535")
        answers += wire.rest()
        assert b"354" not in answers
    assert recorder.streams == []


def test_a_login_in_the_middle_of_a_message_is_refused(system: RunningSystem) -> None:
    with encrypted(system) as wire:
        wire.send(AUTH)
        assert wire.reply().startswith(b"235")
        assert wire.send(AUTH).reply().startswith(b"503"), "twice"
        wire.send(b"MAIL FROM:<alice@example.test>\r\n").reply()
        assert wire.send(AUTH).reply()[:1] == b"5"


# ── line ends in names ──

LINE_ENDS = (b"\r\n", b"\n", b"\r", b"\0", b"\x0b", b"\x85", b"\xe2\x80\xa8")


@pytest.mark.parametrize("end", LINE_ENDS, ids=repr)
@pytest.mark.parametrize(
    "command",
    [
        b"EHLO x%sX-Injected: yes\r\n",
        b"HELO x%sX-Injected: yes\r\n",
        b'MAIL FROM:<"a%sX-Injected: yes"@example.org>\r\n',
        b"MAIL FROM:<a%sX-Injected: yes@example.org>\r\n",
        b'MAIL FROM:<"a\\%sX-Injected: yes"@example.org>\r\n',
    ],
)
def test_no_header_or_log_line_is_made_by_names(system: RunningSystem, command: bytes, end: bytes) -> None:
    mark = b"%x" % (abs(hash((command, end))) & 0xFFFFFFFF)
    with Wire(system.endpoint("smtp")) as wire:
        wire.ehlo()
        answer = b""
        # A bare newline, or a header line in place of a command, ends the session.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(command % end).rest(0.05)
            wire.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n").rest(0.05)
            answer = wire.send(b"Subject: n%s\r\n\r\nx\r\n.\r\n" % mark).rest(0.1)
    if b"queued as" in answer:
        content = system.wait_for_message(f"Subject: n{mark.decode()}\n")
        assert not re.search(rb"^X-Injected:", content, re.MULTILINE)
    assert lines_are_ours(system)


@pytest.mark.parametrize("end", LINE_ENDS, ids=repr)
def test_no_log_line_is_made_by_login_names(system: RunningSystem, end: bytes) -> None:
    name = b"eve" + end + b"Nov 26 00:00:00 host forged[1]: line"
    with encrypted(system) as wire:
        wire.send(b"AUTH PLAIN " + base64.b64encode(b"\0" + name + b"\0x") + b"\r\n")
        assert wire.reply()[:1] == b"5"
    with Wire(system.endpoint("imap")) as wire:
        wire.line()
        wire.send(b"a LOGIN {%d+}\r\n%s x\r\n" % (len(name), name))
        assert b"a OK" not in wire.tagged(b"a")
    with Wire(system.endpoint("pop3")) as wire:
        wire.line()
        wire.send(b"USER " + name + b"\r\nPASS x\r\n")
        assert b"logged" not in wire.rest().lower()
    assert lines_are_ours(system)
