"""Golden texts: every log line of the house, word for word, as log analysers and ban tools read it."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import posthouse
from posthouse.access.login import lines as login
from posthouse.auth import loglines as auth
from posthouse.core.logline import LogLine
from posthouse.delivery.outbound import loglines as outbound
from posthouse.delivery.virtual import VirtualDelivered
from posthouse.queue import loglines as queue
from posthouse.services import control, local
from posthouse.services.smtpd import loglines as smtpd

CLIENT = "mx.example.org[192.0.2.1]"
ID = "4jY7NQ4ZSlz3"
LOGIN = ("alice@example.test", "PLAIN", "192.0.2.1", "192.0.2.9", "TLS", "a1b2")
LOGIN_TEXT = "user=<alice@example.test>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.9"
ATTEMPT = (
    ID,
    "a@example.test",
    "info@example.test",
    "mx[192.0.2.2]:25",
    (0.1, 0.004, 1.25, 12.0),
    "2.0.0",
    "sent",
    "ok",
)
ATTEMPT_TEXT = (
    "4jY7NQ4ZSlz3: to=<a@example.test>, orig_to=<info@example.test>, relay=mx[192.0.2.2]:25, delay=13,"
    " delays=0.1/0/1.2/12, dsn=2.0.0, status=sent (ok)"
)
ABORTED = ("Aborted login by logging out", "no auth attempts in 2 secs")
REJECTED = ("NOQUEUE", "RCPT", CLIENT, "554 5.7.1 <b@c.example>: Relay access denied")
PASSWORD = ("directory", "alice@example.test", "192.0.2.1", "a1b2", "Password mismatch")

GOLDEN: list[tuple[LogLine, str]] = [
    # smtpd, lmtpd
    (smtpd.Connected(CLIENT), f"connect from {CLIENT}"),
    (
        smtpd.Disconnected(CLIENT, " ehlo=1 rcpt=0/1 quit=1 commands=2/3"),
        f"disconnect from {CLIENT} ehlo=1 rcpt=0/1 quit=1 commands=2/3",
    ),
    (smtpd.Ended("lost connection", "RCPT", CLIENT), f"lost connection after RCPT from {CLIENT}"),
    (smtpd.ClientOf(ID, CLIENT), f"{ID}: client={CLIENT}"),
    (
        smtpd.ClientOf(ID, CLIENT, "PLAIN", "alice@example.test"),
        f"{ID}: client={CLIENT}, sasl_method=PLAIN, sasl_username=alice@example.test",
    ),
    (
        smtpd.Rejected(*REJECTED, "s@example.org", "b@c.example", "ESMTP", "mx.example.org"),
        f"NOQUEUE: reject: RCPT from {CLIENT}: 554 5.7.1 <b@c.example>: Relay access denied;"
        " from=<s@example.org> to=<b@c.example> proto=ESMTP helo=<mx.example.org>",
    ),
    (
        smtpd.Rejected("NOQUEUE", "CONNECT", CLIENT, "421 4.7.0 no", None, None, "SMTP", ""),
        f"NOQUEUE: reject: CONNECT from {CLIENT}: 421 4.7.0 no; proto=SMTP",
    ),
    (smtpd.Pipelined("DATA", CLIENT, "x"), f"improper command pipelining after DATA from {CLIENT}: x"),
    (
        smtpd.ProtocolError("MAIL", CLIENT, "503 5.5.1 Error: nested MAIL command", "MAIL FROM:<>"),
        f"protocol error after MAIL from {CLIENT}: 503 5.5.1 nested MAIL command: MAIL FROM:<>",
    ),
    (
        smtpd.TlsEstablished(CLIENT, "TLSv1.3 with cipher X (256/256 bits)"),
        f"Anonymous TLS connection established from {CLIENT}: TLSv1.3 with cipher X (256/256 bits)",
    ),
    (smtpd.TlsFailed(CLIENT, "-1"), f"SSL_accept error from {CLIENT}: -1"),
    (
        smtpd.AuthRefused(CLIENT, "LOGIN", "authentication failure", "alice"),
        f"warning: {CLIENT}: SASL LOGIN authentication failed: authentication failure, sasl_username=alice",
    ),
    (smtpd.SmtpdWarning("words"), "warning: words"),
    # pickup, cleanup, qmgr, bounce, postsuper
    (queue.PickedUp(ID, 1000, "alice"), f"{ID}: uid=1000 from=<alice>"),
    (queue.Cleaned(ID, "<1@example.org>"), f"{ID}: message-id=<1@example.org>"),
    (queue.QueueActive(ID, "s@example.org", 601, 2), f"{ID}: from=<s@example.org>, size=601, nrcpt=2 (queue active)"),
    (queue.Removed(ID), f"{ID}: removed"),
    (queue.Expired(ID, "s@example.org"), f"{ID}: from=<s@example.org>, status=expired, returned to sender"),
    (
        queue.Notified(ID, "sender non-delivery notification", "4jY7WH35nqz4"),
        f"{ID}: sender non-delivery notification: 4jY7WH35nqz4",
    ),
    (queue.SuperAction(ID, "placed on hold"), f"{ID}: placed on hold"),
    (queue.QueueWarning(ID, "words"), f"warning: {ID}: words"),
    # attempts
    (queue.ErrorAttempt(*ATTEMPT), ATTEMPT_TEXT),
    (queue.DiscardAttempt(*ATTEMPT), ATTEMPT_TEXT),
    (queue.LocalAttempt(*ATTEMPT), ATTEMPT_TEXT),
    (local.Delivered(*ATTEMPT), ATTEMPT_TEXT),
    (VirtualDelivered(*ATTEMPT), ATTEMPT_TEXT),
    (outbound.SmtpDelivery(*ATTEMPT), ATTEMPT_TEXT),
    (outbound.LmtpDelivery(*ATTEMPT), ATTEMPT_TEXT),
    (outbound.SmtpNote("words"), "words"),
    (outbound.LmtpNote("words"), "words"),
    # imap-login, pop3-login, auth
    (login.ImapLoggedIn(*LOGIN, 29), f"Login: {LOGIN_TEXT}, mpid=29, TLS, session=<a1b2>"),
    (login.Pop3LoggedIn(*LOGIN, 29), f"Login: {LOGIN_TEXT}, mpid=29, TLS, session=<a1b2>"),
    (
        login.ImapDisconnected(*LOGIN, *ABORTED),
        f"Disconnected: Aborted login by logging out (no auth attempts in 2 secs): {LOGIN_TEXT}, TLS, session=<a1b2>",
    ),
    (
        login.Pop3Disconnected(*LOGIN, *ABORTED),
        f"Disconnected: Aborted login by logging out (no auth attempts in 2 secs): {LOGIN_TEXT}, TLS, session=<a1b2>",
    ),
    (auth.LoginFailed(*PASSWORD), "directory(alice@example.test,192.0.2.1,<a1b2>): Password mismatch"),
    (auth.LoginError(*PASSWORD), "Error: directory(alice@example.test,192.0.2.1,<a1b2>): Password mismatch"),
    (auth.AnonymousLogin("192.0.2.1", "a1b2", "me"), "anonymous(,192.0.2.1,<a1b2>): trace me"),
    (
        auth.WrongLogins("192.0.2.1", 5, 60.4, ("a", "b"), (("imap", 4), ("smtp", 1)), 2, "Password mismatch"),
        "ban: rip=192.0.2.1, 5 different wrong logins in 60 secs (imap 4, smtp 1) for 2 users (a, b),"
        " 2 repeats not counted; the last: Password mismatch",
    ),
    # anvil
    (control.Statistics("max cache size 1 at Nov 23 14:19:02"), "statistics: max cache size 1 at Nov 23 14:19:02"),
]


def _below(base: type[LogLine]) -> Iterator[type[LogLine]]:
    for one in base.__subclasses__():
        yield one
        yield from _below(one)


def written() -> set[type[LogLine]]:
    """All classes that are emitted: those with a program and a text. (`Message` has its program in the line.)"""
    for module in pkgutil.walk_packages(posthouse.__path__, "posthouse."):
        # Alembic alone can import its scripts.
        if not module.name.startswith("posthouse.auth.migrations."):
            importlib.import_module(module.name)
    return {
        one
        for one in _below(LogLine)
        if one.__module__.startswith("posthouse.") and one.program and one.text is not LogLine.text
    }


@pytest.mark.parametrize(("line", "text"), GOLDEN, ids=[type(line).__qualname__ for line, _ in GOLDEN])
def test_a_line_reads_word_for_word_like_this(line: LogLine, text: str) -> None:
    assert line.text() == text


def test_every_line_has_a_golden_text() -> None:
    assert not {f"{one.__module__}.{one.__qualname__}" for one in written() - {type(line) for line, _ in GOLDEN}}


def test_every_line_says_when_it_appears() -> None:
    assert not {f"{one.__module__}.{one.__qualname__}" for one in written() if not one.doc}
