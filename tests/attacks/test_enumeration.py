"""Who has an account here? No reply may tell, and no difference in the work that is done."""

import base64
from collections.abc import Callable

import pytest

from tests.attacks.wire import Wire
from tests.running import RunningSystem


def by_smtp(system: RunningSystem, user: bytes) -> bytes:
    with Wire(system.endpoint("submission")) as wire:
        wire.ehlo()
        wire.send(b"STARTTLS\r\n").reply()
        wire.encrypt()
        wire.send(b"EHLO x.example\r\n").reply()
        return wire.send(b"AUTH PLAIN " + base64.b64encode(b"\0" + user + b"\0wrong") + b"\r\n").reply()


def by_imap(system: RunningSystem, user: bytes) -> bytes:
    with Wire(system.endpoint("imap")) as wire:
        wire.line()
        return wire.send(b'a LOGIN "%s" wrong\r\n' % user).tagged(b"a")


def by_pop3(system: RunningSystem, user: bytes) -> bytes:
    with Wire(system.endpoint("pop3")) as wire:
        wire.line()
        first = wire.send(b"USER " + user + b"\r\n").line()
        return first + wire.send(b"PASS wrong\r\n").line()


@pytest.mark.parametrize("ask", [by_smtp, by_imap, by_pop3])
def test_replies_do_not_tell_an_unknown_user_from_a_wrong_password(
    system: RunningSystem, ask: Callable[[RunningSystem, bytes], bytes]
) -> None:
    answers = {
        ask(system, name) for name in (b"alice@example.test", b"nobody@example.test", b"alice@nowhere.test", b"x")
    }
    assert len(answers) == 1, answers
    assert answers.pop()


def test_vrfy_and_expn_tell_nothing(system: RunningSystem) -> None:
    with Wire(system.endpoint("smtp")) as wire:
        wire.ehlo()
        known = [wire.send(b"VRFY %s\r\n" % one).reply() for one in (b"alice@example.test", b"alice")]
        assert all(answer[:3] in (b"252", b"502", b"550", b"554") for answer in known)
        assert all(wire.send(b"EXPN %s\r\n" % one).reply()[:1] == b"5" for one in (b"alice", b"staff"))


def test_a_dictionary_of_recipients_ends_the_session(system: RunningSystem) -> None:
    """smtpd_hard_error_limit."""
    with Wire(system.endpoint("smtp")) as wire:
        wire.ehlo()
        wire.send(b"MAIL FROM:<stranger@example.org>\r\n").reply()
        answers = []
        for number in range(60):
            answer = wire.send(b"RCPT TO:<guess%d@example.test>\r\n" % number).reply()
            answers.append(answer[:3])
            if not answer or answer.startswith(b"421"):
                break
        assert len(answers) <= 25
        assert answers[-1] == b"421"
    system.wait_for_log(r"too many errors")
