"""Names that lead out of the place they are meant for."""

import os
from pathlib import Path

import pytest

from tests.attacks.wire import Wire
from tests.running import RunningSystem

MAILBOXES = (
    *(b"../evil", b"..", b".", b"../../../../tmp/evil", b"/tmp/evil", b"a/../../evil", b"a/..", b"INBOX/../../evil"),
    *(
        b"INBOX/..",
        b"~root/evil",
        b"~",
        b"./evil",
        b"a//b",
        b"/",
        b"a/./b",
        b"&AC4ALg-",
        b"&AC4ALg-/evil",
        b"&AC8-evil",
    ),
    *(b"%2e%2e/evil", b"..%2fevil", b"..\\evil", b"C:\\evil", b"cur", b"new", b"tmp", b"INBOX/cur", b"x" * 300),
    *(b"a/" * 200 + b"b", b"dovecot-uidlist", b"posthouse.index", b"&ANwn-&AAA-evil", b".hidden", b"a/.b", b"a.b"),
)
RECIPIENTS = (
    *(b"../alice", b"alice/../bob", b"/etc/passwd", b"..", b".", b"alice\\0", b"alice+../../../../tmp/evil", b"a/b"),
    *(b"alice+/etc/passwd", b"alice/", b"|touch /tmp/evil", b'"|touch /tmp/evil"', b'":include:/etc/passwd"'),
    *(b'"/tmp/evil"', b'"alice/../bob"', b"root/../../evil", b"x" * 64 + b"/../.."),
)
DOMAINS = (b"../../etc", b"example.test/../..", b"..", b"/etc", b"example.test\\0.org", b"example.test/.")


def tree(root: Path) -> dict[str, int]:
    """Every path below, with its size; sockets and what changes by itself (queue, log, index files) left out."""
    return {
        os.path.relpath(path, root): path.lstat().st_size
        for path in sorted(root.rglob("*"))
        if path.is_file() and "posthouse." not in path.name
    }


@pytest.fixture
def outside(system: RunningSystem) -> Path:
    """Where alice's mail is not."""
    return system.directory / "vmail/example.test"


@pytest.mark.parametrize("name", MAILBOXES, ids=lambda name: repr(name[:30]))
def test_mailbox_names_stay_in_the_mailbox(system: RunningSystem, outside: Path, name: bytes) -> None:
    before = {where: tree(Path(where)) for where in (str(outside / "bob"), str(system.directory / "etc"))}
    tmp_before = set(os.listdir("/tmp"))
    maildir = outside / "alice/Maildir"
    with Wire(system.endpoint("imap")) as wire:
        wire.line()
        assert b"l OK" in wire.send(b"l LOGIN alice@example.test wonderland\r\n").tagged(b"l")
        literal = b"{%d+}\r\n%s" % (len(name), name)
        wire.send(b"c CREATE %s\r\n" % literal).tagged(b"c")
        wire.send(b"s SELECT %s\r\n" % literal).tagged(b"s")
        answer = wire.send(b"a APPEND %s {18+}\r\nSubject: x\r\n\r\nevil\r\n" % literal).tagged(b"a")
        assert answer, "the connection is lost"
        wire.send(b'n LIST "" %s\r\n' % literal).tagged(b"n")
        wire.send(b"o CREATE ordinary\r\n").tagged(b"o")
        wire.send(b"r RENAME ordinary %s\r\n" % literal).tagged(b"r")
        wire.send(b"u SUBSCRIBE %s\r\n" % literal).tagged(b"u")
        wire.send(b"x CLOSE\r\n").tagged(b"x")
        wire.send(b"d DELETE %s\r\n" % literal).tagged(b"d")
        wire.send(b"d DELETE ordinary\r\n").tagged(b"d")
        assert b"e OK" in wire.send(b"e NOOP\r\n").tagged(b"e")
    for where, contents in before.items():
        assert tree(Path(where)) == contents
    assert {one for one in set(os.listdir("/tmp")) - tmp_before if "evil" in one} == set()
    assert {one.name for one in outside.iterdir()} <= {"alice", "bob"}
    assert {one.name for one in (outside / "alice").iterdir()} <= {"Maildir"}
    for path in maildir.iterdir():
        assert path.name.startswith((".", "posthouse.", "dovecot")) or path.name in (
            "cur",
            "new",
            "tmp",
            "subscriptions",
        )
        assert not path.is_symlink()


@pytest.mark.parametrize("endpoint", ["smtp", "lmtp"])
@pytest.mark.parametrize(
    "recipient", [*(one + b"@example.test" for one in RECIPIENTS), *(b"alice@" + one for one in DOMAINS)], ids=repr
)
def test_addresses_lead_to_mailboxes_only(
    system: RunningSystem, outside: Path, recipient: bytes, endpoint: str
) -> None:
    before = tree(outside / "bob")
    with Wire(system.endpoint(endpoint)) as wire:
        wire.reply()
        wire.send(b"%s x.example\r\n" % (b"LHLO" if endpoint == "lmtp" else b"EHLO")).reply()
        wire.send(b"MAIL FROM:<stranger@example.org>\r\n").reply()
        if wire.send(b"RCPT TO:<%s>\r\n" % recipient).reply().startswith(b"250"):
            # An extension, and nothing but that.
            assert recipient.startswith(b"alice+")
            wire.send(b"DATA\r\n").reply()
            wire.send(b"Subject: path\r\n\r\nx\r\n.\r\n").reply()
            system.wait_until(lambda: "Mail queue is empty" in system.command("postqueue", "-p").stdout, "delivery")
    assert tree(outside / "bob") == before
    assert not Path("/tmp/evil").exists()
    assert {one.name for one in outside.iterdir()} <= {"alice", "bob"}
    assert {one.name for one in outside.parent.iterdir()} == {"example.test"}
