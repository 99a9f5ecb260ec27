"""Log analysers and ban tools read our log as it is: pflogsumm, and fail2ban's stock postfix and dovecot filters."""

import contextlib
import imaplib
import re
import smtplib

from tests.interop.world import World


def test_pflogsumm_counts_our_messages(world: World) -> None:
    host, port = world.endpoint("smtp")
    with smtplib.SMTP(host, port, timeout=20) as client:
        for number in range(3):
            client.sendmail("s@example.org", [world.user], f"Subject: sum {number}\r\n\r\nx\r\n")
        with contextlib.suppress(smtplib.SMTPException):
            client.sendmail("s@example.org", ["nobody@example.test"], "Subject: no\r\n\r\nx\r\n")
    for number in range(3):
        world.wait_for_subject(f"sum {number}")
    world.wait_until(lambda: world.log().count(": removed") >= 3, "the queue to be empty")
    summary = world.run("pflogsumm", world.log_path).stdout
    assert re.search(r"^\s+3\s+received$", summary, re.MULTILINE), summary
    assert re.search(r"^\s+3\s+delivered$", summary, re.MULTILINE), summary
    assert re.search(r"^\s+1\s+rejected", summary, re.MULTILINE), summary
    assert "User unknown" in summary


def test_fail2ban_sees_failed_smtp_logins(world: World) -> None:
    world.expect_log("SASL (PLAIN|LOGIN) authentication failed")
    host, port = world.endpoint("submissions")
    with contextlib.suppress(smtplib.SMTPAuthenticationError), smtplib.SMTP_SSL(host, port, timeout=30) as client:
        client.login(world.user, "wrong")
    world.wait_for_log("authentication failed")
    assert matched_lines(world, "postfix[mode=auth]") >= 1


def test_fail2ban_sees_refused_recipients(world: World) -> None:
    host, port = world.endpoint("smtp")
    with smtplib.SMTP(host, port, timeout=20) as client:
        client.helo("client.example")
        client.mail("s@example.org")
        assert client.rcpt("nobody@example.test")[0] == 550
    world.wait_for_log("NOQUEUE: reject: RCPT from")
    assert matched_lines(world, "postfix[mode=aggressive]") >= 1


def test_fail2ban_sees_failed_imap_logins(world: World) -> None:
    host, port = world.endpoint("imap")
    with imaplib.IMAP4(host, port, timeout=30) as client, contextlib.suppress(imaplib.IMAP4.error):
        client.login(world.user, "wrong")
    world.wait_for_log(r"imap-login: .*auth failed")
    assert matched_lines(world, "dovecot") >= 1


def matched_lines(world: World, filter_name: str) -> int:
    done = world.run("fail2ban-regex", "--print-all-matched", world.log_path, filter_name)
    match = re.search(r"Lines: \d+ lines, \d+ ignored, (\d+) matched", done.stdout)
    assert match, done.stdout
    return int(match[1])
