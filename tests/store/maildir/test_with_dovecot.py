"""Dovecot's imapd and we on the same Maildir, one after the other and at the same time."""

import os
import pwd
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.core.identifiers import DeliveryId, Uid
from posthouse.store.flush import Volumes
from posthouse.store.interface import FlagChange
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.location import MailLocation
from posthouse.store.maildir.store import MaildirStore
from tests.store.maildir.test_foreign_writers import WIRE

pytestmark = pytest.mark.foreign
IMAPD = "/usr/lib/dovecot/imap"


class Dovecot:
    """Its imapd as a child with pipes, as a user without rights (it refuses root)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "Maildir"
        self.root.mkdir()
        (directory / "run").mkdir()
        nobody = pwd.getpwnam("nobody")
        self.uid, self.gid = (nobody.pw_uid, nobody.pw_gid) if os.geteuid() == 0 else (os.getuid(), os.getgid())
        self.configuration = directory / "dovecot.conf"
        self.configuration.write_text(
            f"base_dir = {directory}/run\nstate_dir = {directory}/run\nlog_path = {directory}/log\nssl = no\n"
            f"protocols = imap\nmail_location = maildir:{self.root}\nmail_uid = {self.uid}\nmail_gid = {self.gid}\n"
            "first_valid_uid = 1\nfirst_valid_gid = 1\nnamespace inbox {\n  inbox = yes\n}\n"
        )

    def own(self) -> None:
        """What we made belongs to whoever runs the tests; Dovecot wants to write there."""
        if os.geteuid() == 0:
            for path in (self.directory, *self.directory.rglob("*")):
                os.chown(path, self.uid, self.gid)

    def talk(self, *commands: str) -> str:
        self.own()
        lines = "".join(f"{number} {command}\r\n" for number, command in enumerate(commands))
        answer = subprocess.run(
            [IMAPD, "-c", str(self.configuration)],
            input=lines.encode() + b"z LOGOUT\r\n",
            capture_output=True,
            timeout=30,
            check=False,
            env={**os.environ, "USER": "tester", "HOME": str(self.directory)},
        )
        text = answer.stdout.decode()
        assert "z OK" in text, text + answer.stderr.decode()
        assert " BAD " not in text, text
        return text


@pytest.fixture
def dovecot(open_directory: Path, foreign: Callable[[str], str]) -> Dovecot:
    foreign("dovecot")
    return Dovecot(open_directory)


@pytest.fixture
def store(dovecot: Dovecot) -> Iterator[MaildirStore]:
    environment = Environment(Volumes())
    store = MaildirStore(MailLocation(str(dovecot.root)), environment)
    yield store
    store.close()
    environment.close()


def append(mailbox: str, flags: str, text: str) -> str:
    return f'APPEND "{mailbox}" ({flags}) {{{len(text)}+}}\r\n{text}'


def test_a_maildir_of_dovecot_keeps_uids_flags_names_and_subscriptions(dovecot: Dovecot, store: MaildirStore) -> None:
    text = dovecot.talk(
        append("INBOX", "\\Seen Work $Label1", "Subject: one\r\n\r\n1\r\n"),
        append("INBOX", "", "Subject: two\r\n\r\n2\r\n"),
        append("INBOX", "\\Flagged Work", "Subject: three\r\n\r\n3\r\n"),
        "SELECT INBOX",
        "STORE 1 +FLAGS (\\Deleted)",
        "EXPUNGE",
        'CREATE "Entw&APw-rfe.2026"',
        'SUBSCRIBE "Entw&APw-rfe.2026"',
        "SUBSCRIBE INBOX",
        'UID COPY 2:3 "Entw&APw-rfe.2026"',
        "UID FETCH 1:* (FLAGS RFC822.SIZE INTERNALDATE)",
    )
    inbox = store.open("INBOX")
    validity = re.search(r"UIDVALIDITY (\d+)", text)
    assert validity is not None
    assert inbox.uid_validity == int(validity[1])
    assert [(row.uid, row.flags) for row in inbox.rows()] == [(2, frozenset()), (3, {"\\Flagged", "Work"})]
    assert inbox.uid_next == 4
    assert inbox.content(Uid(3)) == b"Subject: three\r\n\r\n3\r\n"
    sizes = dict(re.findall(r"UID (\d+) .*RFC822\.SIZE (\d+)", text))
    assert {str(row.uid): str(row.size) for row in inbox.rows()}.items() <= sizes.items()
    assert list(store.subscriptions()) == ["Entwürfe/2026", "INBOX"]
    by_name = {info.name: info for info in store.mailboxes()}
    assert by_name["Entwürfe/2026"].subscribed
    assert not by_name["Entwürfe"].selectable
    assert [(row.uid, row.flags) for row in store.open("Entwürfe/2026").rows()] == [
        (1, frozenset()),
        (2, {"\\Flagged", "Work"}),
    ]


def test_dovecot_reads_what_we_wrote(dovecot: Dovecot, store: MaildirStore) -> None:
    store.create("Entwürfe/2026")
    store.subscribe("Entwürfe/2026", True)
    drafts = store.open("Entwürfe/2026")
    drafts.append(WIRE, frozenset({"\\Draft", "\\Seen", "Work"}), 1_000_000_000.0, None)
    store.deliver(WIRE, DeliveryId("4bXyZ1abcdz0.0.0"), "INBOX", False)
    store.flush_now()
    text = dovecot.talk(
        'LSUB "" "*"',
        'SELECT "Entw&APw-rfe.2026"',
        "FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])",
        "STORE 1 +FLAGS (\\Flagged Private)",
        "SELECT INBOX",
        "FETCH 1 (RFC822.SIZE BODY.PEEK[TEXT])",
    )
    assert '"." Entw&APw-rfe.2026' in text
    assert r"\Seen" in text
    assert r"\Draft" in text
    assert "Work" in text
    assert '"09-Sep-2001' in text or '"08-Sep-2001' in text
    assert text.count(f"RFC822.SIZE {len(WIRE)}") == 2
    assert "* 1 RECENT" in text
    drafts.refresh()
    assert drafts.rows()[0].flags == {"\\Draft", "\\Seen", "\\Flagged", "Work", "Private"}


def test_both_at_the_same_time(dovecot: Dovecot, store: MaildirStore) -> None:
    inbox = store.open("INBOX")
    for number in range(5):
        inbox.append(WIRE + b"%d\r\n" % number, frozenset(), None, None)
    events: list[tuple[int, ...]] = []
    inbox.listen(lambda event: events.append(event.expunged))
    dovecot.talk(
        "SELECT INBOX",
        "STORE 2 +FLAGS (\\Seen)",
        "STORE 3 +FLAGS (\\Deleted)",
        "EXPUNGE",
        append("INBOX", "", "x: y\r\n\r\n"),
    )
    inbox.refresh()
    assert [(row.uid, "\\Seen" in row.flags) for row in inbox.rows()] == [
        (1, False),
        (2, True),
        (4, False),
        (5, False),
        (6, False),
    ]
    assert (3,) in events
    inbox.store_flags([Uid(1)], FlagChange.ADD, frozenset({"\\Answered", "Mine"}), None)
    inbox.expunge([Uid(5)], None)
    text = dovecot.talk("SELECT INBOX", "FETCH 1:* FLAGS")
    assert "* 4 EXISTS" in text
    assert r"\Answered" in text
    assert "Mine" in text
    # Our file names tell Dovecot the sizes; it must agree with them.
    assert "* 4 FETCH" in dovecot.talk("SELECT INBOX", "FETCH 1:* (RFC822.SIZE BODY.PEEK[])")
    assert not (dovecot.directory / "log").exists() or "Error" not in (dovecot.directory / "log").read_text()
