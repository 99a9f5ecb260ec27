"""Accounts in a running system, as an administrator and the users see them."""

import imaplib
import json
import poplib
import re
import smtplib
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.running import RunningSystem


def posthouse(system: RunningSystem, *arguments: str, stdin: str = "") -> str:
    command = [str(Path(sys.executable).parent / "posthouse"), "-c", system.configuration, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imap(system: RunningSystem, password: str) -> bool:
    with imaplib.IMAP4(*system.endpoint("imap"), timeout=20) as client:
        try:
            client.login("zoe@example.test", password)
        except imaplib.IMAP4.error:
            return False
        return client.select("INBOX")[0] == "OK"


def pop3(system: RunningSystem, password: str) -> bool:
    client = poplib.POP3(*system.endpoint("pop3"), timeout=20)
    try:
        client.user("zoe@example.test")
        client.pass_(password)
    except poplib.error_proto:
        return False
    finally:
        client.close()
    return True


def smtp(system: RunningSystem, password: str) -> bool:
    context = ssl.create_default_context(cafile=str(system.facts["ca_file"]))
    context.check_hostname = False
    with smtplib.SMTP_SSL(*system.endpoint("submissions"), timeout=20, context=context) as client:
        try:
            client.login("zoe@example.test", password)
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code != 535
    return True


def test_app_passwords_of_a_running_system(new_sandbox: Callable[..., RunningSystem]) -> None:
    system = new_sandbox("auth_last_login_interval=1", "dovecot/auth_failure_delay=0", "auth_rehash_weak_passwords=yes")
    system.expect_log(r'authentication failed: app password "reader" is not for smtp')
    system.expect_log(r"authentication failed: only app passwords are good for this user")
    posthouse(system, "user", "add", "--hashed", "zoe@example.test", stdin="{PLAIN}main\n")
    phone = posthouse(system, "app-password", "add", "--for", "imap,smtp", "zoe@example.test", "phone").strip()
    reader = posthouse(system, "app-password", "add", "--for", "pop3", "zoe@example.test", "reader").strip()
    assert [imap(system, phone), pop3(system, phone), smtp(system, phone)] == [True, False, True]
    assert [imap(system, reader), pop3(system, reader), smtp(system, reader)] == [False, True, False]
    assert [imap(system, "main"), pop3(system, "main"), smtp(system, "main")] == [True, True, True]
    posthouse(system, "user", "set", "--app-passwords-only", "yes", "zoe@example.test")
    assert [imap(system, "main"), pop3(system, "main"), smtp(system, "main")] == [False, False, False]
    assert imap(system, phone)
    posthouse(system, "app-password", "remove", "zoe@example.test", "phone")
    assert not imap(system, phone)
    give_up = time.monotonic() + 20
    while True:
        facts = json.loads(posthouse(system, "user", "show", "--json", "zoe@example.test"))
        if set(facts["logins"]) == {"imap", "pop3", "smtp"} and facts["app_passwords"][0]["last_used"]:
            break
        assert time.monotonic() < give_up, facts
        time.sleep(0.2)
    assert facts["scheme"] == "ARGON2ID", "the plain text was replaced at a right login"
    assert re.search(r"ARGON2ID +\d+ +0", posthouse(system, "user", "rehash-report"))


@pytest.mark.parametrize("name", ["domain", "user"])
def test_whoever_is_disabled_gets_mail_but_no_session(new_sandbox: Callable[..., RunningSystem], name: str) -> None:
    system = new_sandbox("dovecot/auth_failure_delay=0")
    posthouse(system, "user", "add", "zoe@example.test", stdin="main\n")
    assert imap(system, "main")
    what = "example.test" if name == "domain" else "zoe@example.test"
    posthouse(system, name, "disable", what)
    assert not imap(system, "main")
    with smtplib.SMTP(*system.endpoint("smtp"), timeout=20) as client:
        client.sendmail("a@b.example", ["zoe@example.test"], "Subject: x\r\n\r\nhello\r\n")
    posthouse(system, name, "enable", what)
    give_up = time.monotonic() + 20
    with imaplib.IMAP4(*system.endpoint("imap"), timeout=20) as client:
        client.login("zoe@example.test", "main")
        while client.select("INBOX")[1] != [b"1"]:
            assert time.monotonic() < give_up
            time.sleep(0.1)
