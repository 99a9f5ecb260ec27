"""A Debian Postfix relays into Posthouse, and Posthouse relays into it; a permanent failure comes back as a bounce."""

import os
import re
import shutil
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.interop import messages
from tests.interop.world import World

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

MAIN = """\
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {root}/mail.log
maillog_file_prefixes = {root}
myhostname = peer.example.net
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
alias_maps =
virtual_mailbox_domains = peer.example.net
virtual_mailbox_base = {root}/vmail
virtual_mailbox_maps = inline:{{ {{reader@peer.example.net = reader/}} }}
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
transport_maps = inline:{{ {{example.test = smtp:[127.0.0.1]:{posthouse}}} }}
minimal_backoff_time = 1s
maximal_backoff_time = 5s
queue_run_delay = 1s
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Peer:
    """A Debian Postfix with its own configuration directory."""

    def __init__(self, root: Path, port: int) -> None:
        self.root, self.port = root, port

    def start(self, posthouse_port: int, extra: Mapping[str, str] | None = None) -> None:
        import pwd

        owner, writer = pwd.getpwnam("postfix"), pwd.getpwnam("mail")
        self.root.chmod(0o755)
        for name in ("etc", "queue", "data", "vmail"):
            (self.root / name).mkdir()
        os.chown(self.root / "data", owner.pw_uid, owner.pw_gid)
        os.chown(self.root / "vmail", writer.pw_uid, writer.pw_gid)
        (self.root / "etc/main.cf").write_text(
            MAIN.format(root=self.root, uid=writer.pw_uid, gid=writer.pw_gid, posthouse=posthouse_port)
            + "".join(f"{name} = {value}\n" for name, value in (extra or {}).items())
        )
        (self.root / "etc/master.cf").write_text(MASTER.format(port=self.port))
        for name in ("postfix-files", "dynamicmaps.cf"):
            shutil.copy(f"/etc/postfix/{name}", self.root / "etc")
        self.postfix("start")

    def postfix(self, verb: str) -> None:
        subprocess.run(["postfix", "-c", str(self.root / "etc"), verb], check=False, capture_output=True, timeout=60)

    def messages(self) -> list[bytes]:
        return [path.read_bytes() for path in (self.root / "vmail").rglob("new/*")]

    def log(self) -> str:
        path = self.root / "mail.log"
        return path.read_text(errors="replace") if path.exists() else ""


@pytest.fixture(scope="module")
def peer_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def world_settings(peer_port: int) -> tuple[str, ...]:
    """Everything that is not ours goes to the peer; retries come soon."""
    World.require("postfix")
    if os.getuid() != 0:
        pytest.skip("Debian's Postfix starts as root only")
    return (
        f"relayhost=[127.0.0.1]:{peer_port}",
        "minimal_backoff_time=1s",
        "maximal_backoff_time=5s",
        "queue_run_delay=1s",
    )


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory, peer_port: int) -> Iterator[Peer]:
    postfix = Peer(tmp_path_factory.mktemp("peer"), peer_port)
    yield postfix
    postfix.postfix("stop")


def send(port: str | int, sender: str, recipient: str, content: bytes, options: tuple[str, ...] = ()) -> None:
    with smtplib.SMTP("127.0.0.1", int(port), timeout=20) as client:
        client.sendmail(sender, [recipient], content, mail_options=list(options))


def test_mail_waits_for_a_server_that_is_down_and_arrives_when_it_comes_up(world: World, peer: Peer) -> None:
    content = messages.gb18030().replace(b"Subject: ", b"X-Case: out\r\nSubject: ", 1)
    send(world.endpoint("smtp")[1], world.user, "reader@peer.example.net", content, ("BODY=8BITMIME",))
    world.wait_for_log(r"to=<reader@peer\.example\.net>.*status=deferred \(connect to .*Connection refused")
    listing = world.postqueue("-p")
    assert "reader@peer.example.net" in listing
    assert "Connection refused" in listing
    peer.start(world.endpoint("smtp")[1])
    world.postqueue("-f")
    world.wait_until(lambda: any(b"X-Case: out" in one for one in peer.messages()), "the message at the peer", 40)
    arrived = next(one for one in peer.messages() if b"X-Case: out" in one)
    assert messages.body(arrived) == messages.GB18030_BODY
    line = world.wait_for_log(
        r"to=<reader@peer\.example\.net>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+, .*status=sent \((.*)\)"
    )
    assert line[1].startswith("250 2.0.0 Ok: queued as ")


@pytest.mark.parametrize("name", ["utf8", "dots", "all-octets", "long-lines"])
def test_every_octet_survives_the_way_out(world: World, peer: Peer, name: str) -> None:
    content = messages.ALL[name]().replace(b"Subject: ", f"X-Case: out-{name}\r\nSubject: ".encode(), 1)
    send(world.endpoint("smtp")[1], world.user, "reader@peer.example.net", content, ("BODY=8BITMIME",))
    mark = f"X-Case: out-{name}".encode()
    world.wait_until(lambda: any(mark in one for one in peer.messages()), "the message at the peer", 40)
    arrived = next(one for one in peer.messages() if mark in one)
    assert messages.body(arrived) == messages.body(content)


@pytest.mark.parametrize("name", messages.ALL)
def test_every_octet_survives_the_way_in(world: World, peer: Peer, name: str) -> None:
    content = messages.ALL[name]().replace(b"Subject: ", f"X-Case: in-{name}\r\nSubject: ".encode(), 1)
    send(peer.port, "s@peer.example.net", world.user, content, ("BODY=8BITMIME",))
    assert messages.body(world.wait_for_text(f"X-Case: in-{name}", within_s=40)) == messages.body(content)


def test_a_refused_recipient_comes_back_as_a_bounce(world: World, peer: Peer) -> None:
    send(world.endpoint("smtp")[1], world.user, "nobody@peer.example.net", b"Subject: to nobody\r\n\r\nhi\r\n")
    bounce = world.wait_for_text("Undelivered Mail Returned to Sender", within_s=40)
    assert b"Content-Type: multipart/report; report-type=delivery-status" in bounce
    assert re.search(rb"^Final-Recipient: rfc822; ?nobody@peer\.example\.net", bounce, re.MULTILINE)
    assert re.search(rb"^Action: failed", bounce, re.MULTILINE)
    assert re.search(rb"^Status: 5\.1\.1", bounce, re.MULTILINE)
    assert b"Return-Path: <>" in bounce
    assert b"Subject: to nobody" in bounce
    world.wait_for_log(r": sender non-delivery notification: ")


def test_a_bounce_of_the_peer_reaches_its_sender(world: World, peer: Peer) -> None:
    send(peer.port, "s@peer.example.net", "nobody@example.test", b"Subject: stray\r\n\r\nhi\r\n")
    give_up = time.monotonic() + 30
    while "status=bounced" not in peer.log():
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert re.search(r"to=<nobody@example\.test>.*dsn=5\.1\.1, status=bounced", peer.log())
