"""doveadm on a running system: who may log in, who is here, all users' mail; and when nobody answers."""

import contextlib
import imaplib
import json
import os
import poplib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import NewSandbox
from tests.running import RunningSystem

ALICE, BOB = "alice@example.test", "bob@example.test"


def run(system: RunningSystem, *words: str, given: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    path = Path(sys.executable).with_name("doveadm")
    return subprocess.run(
        [str(path), "-c", system.configuration, *words],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def _twice(ask: Callable[[], object]) -> None:
    """The first answer may be the farewell."""
    ask()
    ask()


def test_users_are_looked_up_and_listed(sandbox: RunningSystem) -> None:
    assert run(sandbox, "user", "*").stdout.split() == [ALICE, BOB]
    assert run(sandbox, "user", "b*").stdout.split() == [BOB]
    fields = dict(line.split("\t") for line in run(sandbox, "user", ALICE).stdout.splitlines())
    assert fields["mail"].startswith("maildir:")
    assert run(sandbox, "user", "-f", "mail", ALICE).stdout.strip() == fields["mail"]
    unknown = run(sandbox, "user", "nobody@example.test")
    assert (unknown.returncode, "doesn't exist" in unknown.stderr) == (67, True)


def test_a_password_is_tried_and_is_nobodys_login(sandbox: RunningSystem) -> None:
    right = run(sandbox, "auth", "test", BOB, "builder")
    assert (right.returncode, right.stdout) == (0, f"passdb: {BOB} auth succeeded\nextra fields:\n  user={BOB}\n")
    for _ in range(3):
        wrong = run(sandbox, "auth", "test", BOB, "wrong")
        assert (wrong.returncode, wrong.stdout) == (77, f"passdb: {BOB} auth failed\nextra fields:\n  user={BOB}\n")
    asked = run(sandbox, "auth", "login", BOB, given="builder\n")
    assert asked.returncode == 0
    assert "userdb extra fields:" in asked.stdout
    assert run(sandbox, "auth", "lookup", BOB).returncode == 0
    assert run(sandbox, "auth", "lookup", "nobody@example.test").returncode == 67
    assert run(sandbox, "auth", "cache", "flush").stdout == "0 cache entries flushed\n"
    # Penalties would make the next login wait.
    began = time.monotonic()
    sandbox.imap("bob").logout()
    assert time.monotonic() - began < 2
    with contextlib.closing(sqlite3.connect(sandbox.directory / "data/auth/directory.sqlite")) as database:
        services = {row[0] for row in database.execute("SELECT service FROM logins")}
    assert "doveadm" not in services


@pytest.fixture
def to_close() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def test_who_is_here_and_may_be_sent_away(sandbox: RunningSystem, to_close: contextlib.ExitStack) -> None:
    alice, bob = sandbox.imap("alice"), poplib.POP3(*sandbox.endpoint("pop3"), timeout=20)
    to_close.callback(alice.shutdown)
    to_close.callback(bob.close)
    bob.user(BOB)
    bob.pass_("builder")
    found = json.loads(run(sandbox, "-f", "json", "who").stdout)
    assert [(one["username"], one["connections"], one["service"], one["ips"]) for one in found] == [
        (ALICE, "1", "imap", "(127.0.0.1)"),
        (BOB, "1", "pop3", "(127.0.0.1)"),
    ]
    assert found[0]["pids"].strip("()") in {str(pid) for pid in sandbox.processes().values()}
    assert len(run(sandbox, "who", "-1", "alice*").stdout.splitlines()) == 2
    assert len(run(sandbox, "who", "10.0.0.0/8").stdout.splitlines()) == 1
    assert run(sandbox, "kick", "nobody*").returncode == 68
    kicked = run(sandbox, "kick", "alice*")
    assert (kicked.returncode, kicked.stdout) == (
        0,
        f"kicked connections from the following users:\n{ALICE} \n",
    )
    with pytest.raises(imaplib.IMAP4.abort):
        _twice(alice.noop)
    assert bob.noop().startswith(b"+OK")
    assert run(sandbox, "kick", "127.0.0.0/8").returncode == 0
    with pytest.raises((poplib.error_proto, OSError)):
        _twice(bob.noop)


def test_a_session_over_tls_is_known_too(sandbox: RunningSystem) -> None:
    """login carries its octets; the mailbox process has the session."""
    import ssl

    context = ssl.create_default_context(cafile=sandbox.facts["ca_file"])
    with imaplib.IMAP4_SSL(*sandbox.endpoint("imaps"), ssl_context=context, timeout=20) as client:
        client.login(ALICE, "wonderland")
        assert ALICE in run(sandbox, "who").stdout
        assert run(sandbox, "kick", ALICE).returncode == 0
        with pytest.raises(imaplib.IMAP4.abort):
            _twice(client.noop)


def test_commands_go_through_the_mail_of_all_users(sandbox: RunningSystem) -> None:
    for user in (ALICE, BOB):
        assert run(sandbox, "save", "-u", user, given="Subject: for all\n\nx\n").returncode == 0
    found = run(sandbox, "-f", "tab", "fetch", "-A", "hdr.subject", "mailbox", "INBOX", "subject", "for all")
    assert found.stdout.splitlines() == ["Username\thdr.subject", f"{ALICE}\tfor all", f"{BOB}\tfor all"]
    listing = sandbox.directory / "users"
    listing.write_text(f"{BOB}\nnobody@example.test\n")
    some = run(sandbox, "mailbox", "list", "-F", str(listing))
    assert (some.returncode, some.stdout) == (67, f"{BOB} INBOX\n")
    assert run(sandbox, "expunge", "-u", "*@example.test", "mailbox", "INBOX", "subject", "for all").returncode == 0
    assert run(sandbox, "search", "-A", "subject", "for all").stdout == ""
    assert sandbox.wait_for_log(rf"dovecot: doveadm\({ALICE}\)<[0-9]+><[^>]*>: Disconnected: ")


def test_a_query_may_be_longer_than_a_line_of_clients(sandbox: RunningSystem) -> None:
    numbers = ",".join(str(number) for number in range(1, 40_000, 2))
    assert len(numbers) > 100_000
    found = run(sandbox, "search", "-u", ALICE, "mailbox", "INBOX", "uid", numbers)
    assert (found.returncode, found.stderr) == (0, "")


def test_an_idling_client_hears_what_doveadm_does(sandbox: RunningSystem) -> None:
    client = sandbox.imap("alice")
    client.select("INBOX")
    run(sandbox, "save", "-u", ALICE, given="Subject: idle\n\nx\n")
    client.noop()
    assert client.response("EXISTS")[1][-1] is not None
    client.logout()


@pytest.mark.parametrize(
    ("words", "status"),
    [(["mailbox", "list", "-u", "nobody@example.test"], 67), (["nosuch"], 64), (["sync"], 64), (["search"], 64)],
)
def test_what_cannot_be_done_is_said(sandbox: RunningSystem, words: list[str], status: int) -> None:
    done = run(sandbox, *words)
    assert done.returncode == status
    assert done.stderr


def test_with_the_system_stopped_it_says_what_to_do(new_sandbox: NewSandbox) -> None:
    system = new_sandbox()
    log = run(system, "log", "find").stdout.splitlines()
    assert log[0] == f"Debug: {system.directory}/log/mail.log"
    assert run(system, "reload").returncode == 0
    system.wait_for_log("(?i)reload")
    assert run(system, "stop").returncode == 0
    for words in (["mailbox", "list", "-u", ALICE], ["who"], ["user", ALICE]):
        done = run(system, *words)
        assert done.returncode == 75
        assert "Posthouse is not running; 'posthouse -c " in done.stderr
    assert run(system, "reload").returncode == 75
