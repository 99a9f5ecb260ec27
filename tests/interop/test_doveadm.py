"""doveadm on a running system, beside Debian's own on a copy of the same Maildir: same command, same output."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningSystem

USER = "alice@example.test"
OURS = str(Path(sys.executable).parent / "doveadm")
MESSAGES = (
    "From: =?utf-8?q?J=C3=BCrgen?= <a@b.example>\nTo: x@y.example\nSubject: =?utf-8?q?h=C3=A4llo?=\n folded\n"
    "Received: one\nReceived: two\nDate: Mon, 1 Jan 2024 10:00:00 +0100\nMessage-ID: <1@x.example>\n\nbody\nof one\n",
    "From: b@b.example\nTo: x@y.example, z@y.example\nSubject: two\nDate: Tue, 2 Jan 2024 10:00:00 -0500\n\nsecond\n",
    "From: c@b.example\nSubject: three\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n"
    "--x\n\nplain\n--x\nContent-Type: text/html\n\n<p>\n--x--\n",
)


class Both:
    """Their doveadm has a copy of the Maildir that ours reads through the running system."""

    def __init__(self, system: RunningSystem, theirs: str, directory: Path) -> None:
        self.system = system
        self._theirs = theirs
        self.home = directory / "home"
        maildir = Path(system.facts["mail_location"].removeprefix("maildir:").replace("%d", "example.test"))
        maildir = Path(str(maildir).replace("%n", "alice"))
        for folder in ("", ".Sent", ".Work.2024"):
            for part in ("new", "cur", "tmp"):
                (maildir / folder / part).mkdir(parents=True, exist_ok=True)
        for number, text in enumerate(MESSAGES, 1):
            for folder in ("", ".Sent") if number == 1 else ("",):
                file = maildir / folder / f"cur/170000000{number}.M{number}P1.here:2,{'S' if number == 1 else ''}"
                file.write_text(text)
                os.utime(file, (1_700_000_000 + number, 1_700_000_000 + number))
        # The lists of UIDs are Dovecot's, so that both have the same ones, and the same names of mailboxes.
        shutil.copytree(maildir, self.home / "Maildir")
        (self.home / "Maildir/subscriptions").write_text("V\t2\n\nSent\n")
        self._config = directory / "dovecot.conf"
        self._config.write_text(
            f"base_dir = {directory}/run\nstate_dir = {directory}/run\nlog_path = {directory}/log\nprotocols = imap\n"
            f"ssl = no\nmail_location = maildir:{self.home}/Maildir\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n"
            "mail_plugins = quota\nplugin {\n  quota = maildir:User quota\n  quota_rule = *:storage=10M\n}\n"
        )
        if os.geteuid() == 0:
            with self._config.open("a") as config:
                config.write("mail_uid = mail\nmail_gid = mail\n")
            subprocess.run(["chown", "-R", "mail:mail", str(self.home)], check=True)
            for one in (directory, *directory.parents[:-2]):
                one.chmod(one.stat().st_mode | 0o011)
        self.theirs("mailbox", "status", "messages", "*")
        for path in (self.home / "Maildir").rglob("dovecot-uidlist"):
            shutil.copy(path, maildir / path.relative_to(self.home / "Maildir"))
        shutil.copy(self.home / "Maildir/subscriptions", maildir / "subscriptions")
        if os.geteuid() == 0:
            owner = maildir.parent.stat()
            for path in (maildir, *maildir.rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid)

    def ours(self, *words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        return self._run([OURS, "-c", self.system.configuration, *words], given)

    def theirs(self, *words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        return self._run([self._theirs, "-c", str(self._config), *words], given)

    def _run(self, words: list[str], given: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "USER": USER, "HOME": str(self.home), "LC_ALL": "C.UTF-8"}
        return subprocess.run(words, input=given, capture_output=True, text=True, timeout=60, env=environment)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    theirs = shutil.which("doveadm", path="/usr/bin:/usr/sbin")
    if theirs is None:
        pytest.skip("Debian's doveadm is not installed")
    directory = tmp_path_factory.mktemp("doveadm")
    system = RunningSystem(directory / "box")
    subprocess.run(
        [str(Path(OURS).with_name("posthouse")), "-c", system.configuration, "user", "quota", USER, "10M"], check=True
    )
    (directory / "theirs").mkdir()
    yield Both(system, theirs, directory / "theirs")
    system.stop()


def _sorted(text: str) -> list[str]:
    """Dovecot lists mailboxes in the order of the directory."""
    return sorted(text.splitlines())


@pytest.mark.parametrize(
    "words",
    [
        ("mailbox", "list"),
        ("mailbox", "list", "-s"),
        ("mailbox", "list", "S*"),
        ("mailbox", "list", "Work.%"),
        ("mailbox", "status", "messages unseen uidnext uidvalidity vsize guid", "*"),
        ("mailbox", "status", "-t", "messages unseen vsize", "*"),
        ("-f", "tab", "mailbox", "status", "messages unseen", "*"),
        ("-f", "table", "mailbox", "status", "messages unseen", "INBOX"),
        ("-f", "pager", "mailbox", "status", "messages unseen", "INBOX"),
        ("-f", "json", "mailbox", "status", "messages unseen", "INBOX"),
        ("mailbox", "status", "messages", "nosuch*"),
        ("mailbox", "status", "bogus", "INBOX"),
        ("mailbox", "mutf7", "Entwürfe", "A&B"),
        ("mailbox", "mutf7", "-7", "Entw&APw-rfe"),
        ("search", "all"),
        ("search", "mailbox", "INBOX"),
        ("search", "mailbox", "nosuch"),
        ("search", "subject", "hällo"),
        ("search", "not", "subject", "two"),
        ("search", "(", "from", "a@b", "or", "subject", "two", ")", "uid", "1:3"),
        ("search", "from", "a", "or", "subject", "two"),
        ("search", "from", "a@b", "or", "subject", "two", "seen"),
        ("search", "before", "4w"),
        ("search", "since", "4w"),
        ("search", "since", "1700000002"),
        ("search", "before", "1700000002"),
        ("search", "on", "2023-11-14"),
        ("search", "sentsince", "2-Jan-2024", "mailbox", "INBOX"),
        ("search", "larger", "1k"),
        ("search", "header", "message-id", "1@x"),
        ("search", "mailbox", "INBOX", "2:*"),
        ("search", "unseen", "text", "plain"),
        ("search", "bogus"),
        ("search", "subject"),
        ("search", "since", "bogus"),
        ("-f", "tab", "search", "mailbox", "INBOX"),
        ("-f", "table", "search", "mailbox", "INBOX"),
        ("-f", "pager", "search", "mailbox", "INBOX"),
        ("-f", "json", "search", "mailbox", "INBOX"),
        ("fetch", "uid seq size.physical size.virtual date.received date.received.unixtime", "mailbox", "INBOX"),
        ("fetch", "mailbox user mailbox-guid", "mailbox", "Sent"),
        (
            "fetch",
            "hdr.subject hdr.subject.utf8 hdr.received hdr.nosuch date.sent date.sent.unixtime",
            "mailbox",
            "INBOX",
        ),
        ("fetch", "hdr uid", "mailbox", "INBOX"),
        ("fetch", "text", "mailbox", "INBOX"),
        ("fetch", "uid body", "mailbox", "INBOX"),
        ("fetch", "body.1", "mailbox", "INBOX", "uid", "3"),
        ("fetch", "imap.envelope imap.body imap.bodystructure", "mailbox", "INBOX", "uid", "2:3"),
        ("-f", "tab", "fetch", "uid hdr.subject", "mailbox", "INBOX", "uid", "2:3"),
        ("-f", "table", "fetch", "uid size.virtual", "mailbox", "INBOX"),
        ("-f", "flow", "fetch", "uid size.virtual", "mailbox", "INBOX"),
        ("-f", "json", "fetch", "uid hdr text", "mailbox", "INBOX"),
        ("quota", "get"),
        ("-f", "tab", "quota", "get"),
        ("-f", "json", "quota", "get"),
        ("quota", "recalc"),
        ("force-resync", "*"),
        ("pw", "-t", "{PLAIN}x", "-p", "x"),
        ("pw", "-t", "{PLAIN}x", "-p", "y"),
        ("pw", "-t", "{SSHA256}AwLPgx3QIIKyIHF4pJVbqrxOmNS9H5zbCoFi1lqKs2VOPC5K", "-p", "wrong"),
        ("pw", "-s", "PLAIN-MD5", "-p", "x"),
        ("pw", "-s", "BOGUS", "-p", "x"),
        ("expunge", "all"),
        ("expunge", "mailbox", "INBOX"),
        ("move", "Sent", "mailbox", "INBOX"),
        ("copy", "nosuch", "mailbox", "INBOX", "all"),
        ("mailbox", "create", "Sent"),
        ("mailbox", "delete", "nosuch"),
        ("-f", "bogus", "mailbox", "list"),
        ("kick",),
    ],
    ids=" ".join,
)
def test_same_command_same_output(both: Both, words: tuple[str, ...]) -> None:
    ours, theirs = both.ours(*words), both.theirs(*words)
    assert _sorted(ours.stdout) == _sorted(theirs.stdout)
    assert ours.returncode == theirs.returncode
    complaint = re.sub(
        r"(?m)^(Available fetch fields|doveadm\([^)]*\): (?=Fatal)|doveadm: ).*?(?=Fatal|$)", "", theirs.stderr
    )
    if not words[0].startswith("-f"):
        assert ours.stderr == complaint


def test_the_schemes_are_the_same(both: Both) -> None:
    assert sorted(both.ours("pw", "-l").stdout.split()) == sorted(both.theirs("pw", "-l").stdout.split())


@pytest.mark.parametrize("scheme", ["SHA512-CRYPT", "SSHA256", "PBKDF2", "SCRAM-SHA-256", "CRAM-MD5", "PLAIN-MD5"])
def test_hashes_of_one_are_right_for_the_other(both: Both, scheme: str) -> None:
    stored = both.ours("pw", "-s", scheme, "-p", "secret", "-u", USER).stdout.strip()
    assert both.theirs("pw", "-t", stored, "-p", "secret", "-u", USER).stdout == f"{stored} (verified)\n"
    stored = both.theirs("pw", "-s", scheme, "-p", "secret", "-u", USER).stdout.strip()
    assert both.ours("pw", "-t", stored, "-p", "secret", "-u", USER).stdout == f"{stored} (verified)\n"


Change = tuple[str, ...]
CHANGES: tuple[Change, ...] = (
    ("mailbox", "create", "-s", "New", "New.Below"),
    ("copy", "New", "mailbox", "INBOX", "subject", "two"),
    ("flags", "add", "\\Flagged", "mailbox", "New", "all"),
    ("flags", "remove", "\\Seen", "mailbox", "INBOX", "all"),
    ("flags", "replace", "\\Answered", "mailbox", "Sent", "all"),
    ("move", "New.Below", "mailbox", "INBOX", "subject", "three"),
    ("mailbox", "rename", "New.Below", "Old"),
    ("mailbox", "unsubscribe", "Sent"),
    ("expunge", "mailbox", "INBOX", "subject", "two"),
    ("mailbox", "delete", "Work.2024"),
)


def test_changes_lead_to_the_same_mail(both: Both) -> None:
    """Last in this module: it changes what the others look at."""
    for words in CHANGES:
        ours, theirs = both.ours(*words), both.theirs(*words)
        assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr), words
    both.ours("save", "-m", "Old", given=MESSAGES[1])
    both.theirs("save", "-m", "Old", given=MESSAGES[1])
    for words in (
        ("mailbox", "list"),
        ("mailbox", "list", "-s"),
        ("mailbox", "status", "messages unseen", "*"),
        ("-f", "flow", "fetch", "mailbox uid hdr.subject size.physical", "all"),
        ("search", "answered"),
    ):
        ours, theirs = both.ours(*words), both.theirs(*words)
        if words[0] == "search":
            assert len(ours.stdout.splitlines()) == len(theirs.stdout.splitlines()) == 1
        else:
            assert _sorted(ours.stdout) == _sorted(theirs.stdout), words
