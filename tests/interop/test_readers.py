"""Foreign programs read: imaplib, poplib, curl, mbsync, mutt, fetchmail."""

import imaplib
import os
import poplib
import smtplib
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from tests.interop import messages
from tests.interop.world import World


@pytest.fixture
def letter(world: World) -> str:
    """One message in the inbox, named by its subject."""
    subject = f"letter {time.monotonic_ns()}"
    host, port = world.endpoint("smtp")
    with smtplib.SMTP(host, port, timeout=20) as client:
        client.sendmail("s@example.org", [world.user], f"Subject: {subject}\r\n\r\nhello reader\r\n")
    world.wait_for_subject(subject)
    return subject


def test_imaplib_reads_flags_moves_and_expunges(world: World, letter: str) -> None:
    with world.imap() as client:
        assert client.create("Archive")[0] == "OK"
        client.select("INBOX")
        _, found = client.search(None, "SUBJECT", f'"{letter}"')
        number = found[0].split()[0].decode()
        assert client.store(number, "+FLAGS", "(\\Flagged)")[0] == "OK"
        _, flags = client.fetch(number, "(FLAGS)")
        assert b"\\Flagged" in flags[0]
        _, uid = client.fetch(number, "(UID)")
        assert client.uid("MOVE", uid[0].split()[-1].rstrip(b")").decode(), "Archive")[0] == "OK"
        _, left = client.search(None, "SUBJECT", f'"{letter}"')
        assert left[0] == b""
        client.select("Archive")
        _, moved = client.search(None, "SUBJECT", f'"{letter}"', "FLAGGED")
        assert moved[0]


def test_imap_announces_new_mail_while_idle(world: World) -> None:
    with world.imap() as client:
        client.select("INBOX")
        client.send(b"i1 IDLE\r\n")
        assert client.readline().startswith(b"+ ")
        host, port = world.endpoint("smtp")
        with smtplib.SMTP(host, port, timeout=20) as sender:
            sender.sendmail("s@example.org", [world.user], b"Subject: wake up\r\n\r\nhi\r\n")
        client.sock.settimeout(10)
        lines = []
        while not any(b"EXISTS" in line for line in lines):
            lines.append(client.readline())
        client.send(b"DONE\r\n")
        while not client.readline().startswith(b"i1 OK"):
            pass


def test_imap_over_tls_with_a_verified_certificate(world: World) -> None:
    host, port = world.endpoint("imaps")
    context = ssl.create_default_context(cafile=world.ca_file)
    with imaplib.IMAP4_SSL(host, port, ssl_context=context, timeout=20) as client:
        assert client.login(world.user, world.password)[0] == "OK"
        status, _ = client.append("INBOX", None, None, b"Subject: appended\r\n\r\n" + b"x" * 300_000 + b"\r\n")
        assert status == "OK"
        client.select("INBOX")
        _, found = client.search(None, "SUBJECT", "appended")
        _, data = client.fetch(found[0].split()[-1].decode(), "(BODY.PEEK[TEXT])")
        assert data[0][1] == b"x" * 300_000 + b"\r\n"


def test_starttls_on_imap(world: World) -> None:
    host, port = world.endpoint("imap")
    context = ssl.create_default_context(cafile=world.ca_file)
    with imaplib.IMAP4(host, port, timeout=20) as client:
        client.starttls(context)
        assert client.login(world.user, world.password)[0] == "OK"


def test_poplib_lists_reads_and_deletes(world: World, letter: str) -> None:
    host, port = world.endpoint("pop3")
    client = poplib.POP3(host, port, timeout=20)
    client.stls(ssl.create_default_context(cafile=world.ca_file))
    client.user(world.user)
    client.pass_(world.password)
    count, _ = client.stat()
    numbers = [n for n in range(1, count + 1) if f"Subject: {letter}".encode() in client.top(n, 0)[1]]
    assert len(numbers) == 1
    uidl = client.uidl(numbers[0]).split()[-1]
    assert b"hello reader" in client.retr(numbers[0])[1]
    client.dele(numbers[0])
    client.quit()
    again = poplib.POP3(host, port, timeout=20)
    again.user(world.user)
    again.pass_(world.password)
    assert uidl not in b" ".join(again.uidl()[1])
    again.quit()


def test_curl_reads_by_imap_and_pop3(world: World, letter: str) -> None:
    host, port = world.endpoint("imaps")
    done = world.run(
        "curl", "-sS", "--cacert", world.ca_file, "-u", f"{world.user}:{world.password}",
        f"imaps://{host}:{port}/INBOX?SUBJECT%20%22{letter.replace(' ', '%20')}%22",
    )  # fmt: skip
    number = done.stdout.split()[-1]
    done = world.run(
        "curl", "-sS", "--cacert", world.ca_file, "-u", f"{world.user}:{world.password}",
        f"imaps://{host}:{port}/INBOX;MAILINDEX={number}",
    )  # fmt: skip
    assert letter in done.stdout
    host, port = world.endpoint("pop3s")
    listing = world.run(
        "curl", "-sS", "--cacert", world.ca_file, "-u", f"{world.user}:{world.password}", f"pop3s://{host}:{port}/"
    )
    assert listing.stdout.strip()


def test_mbsync_mirrors_both_ways(world: World, letter: str, tmp_path: Path) -> None:
    _, port = world.endpoint("imaps")
    (tmp_path / "mail").mkdir()
    configuration = tmp_path / "mbsyncrc"
    configuration.write_text(
        f"IMAPAccount a\nHost localhost\nPort {port}\nUser {world.user}\nPass {world.password}\nSSLType IMAPS\n"
        f"CertificateFile {world.ca_file}\n\nIMAPStore far\nAccount a\n\nMaildirStore near\nPath {tmp_path}/mail/\n"
        f"Inbox {tmp_path}/mail/INBOX\nSubFolders Verbatim\n\nChannel c\nFar :far:\nNear :near:\nPatterns INBOX\n"
        f"Create Both\n"
        f"Expunge Both\nSyncState *\n"
    )
    world.run("mbsync", "-c", configuration, "c")
    files = [path for part in ("new", "cur") for path in (tmp_path / "mail/INBOX" / part).iterdir()]
    assert any(letter.encode() in path.read_bytes() for path in files)
    ours = tmp_path / "mail/INBOX/cur/1.local.host:2,S"
    ours.write_bytes(b"Subject: from mbsync\n\npushed\n")
    world.run("mbsync", "-c", configuration, "c")
    assert b"pushed" in world.wait_for_subject("from mbsync")
    world.run("mbsync", "-c", configuration, "c")  # a third run finds nothing to do and does not complain


def test_mutt_opens_the_inbox(world: World, letter: str, tmp_path: Path) -> None:
    host, port = world.endpoint("imaps")
    world.require("mutt")
    saved = tmp_path / "saved"
    configuration = tmp_path / "muttrc"
    configuration.write_text(
        f"set imap_user='{world.user}'\nset imap_pass='{world.password}'\nset ssl_force_tls=yes\n"
        f"set certificate_file='{world.ca_file}'\nset ssl_usesystemcerts=no\nset ssl_verify_host=no\n"
        f"set copy=no\nset confirmappend=no\nset delete=no\nset wait_key=no\nset quit=yes\nset mbox_type=mbox\n"
        f"set folder='{tmp_path}'\nset header_cache=''\nset resolve=no\n"
        f'push "<limit>~s \\"{letter}\\"<enter><copy-message>{saved}<enter>y<exit>"\n'
    )
    environment = {**os.environ, "TERM": "xterm", "HOME": str(tmp_path)}
    command = f"mutt -F {configuration} -f imaps://{host}:{port}/INBOX"
    subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip
    assert b"hello reader" in saved.read_bytes()


def test_fetchmail_collects_by_pop3(world: World, letter: str, tmp_path: Path) -> None:
    host, port = world.endpoint("pop3")
    world.require("fetchmail")
    configuration = tmp_path / "fetchmailrc"
    collected = tmp_path / "collected"
    configuration.write_text(
        f"poll {host} service {port} protocol pop3 user '{world.user}' password '{world.password}'\n"
        f"  sslproto '' keep mda \"cat >> {collected}\"\n"
    )
    configuration.chmod(0o600)
    environment = {**os.environ, "HOME": str(tmp_path), "FETCHMAILHOME": str(tmp_path)}
    subprocess.run(
        ["fetchmail", "-f", configuration, "--pidfile", tmp_path / "pid", "--nosyslog", "-i", tmp_path / "ids"],
        env=environment, check=True, timeout=60, capture_output=True,
    )  # fmt: skip
    assert letter.encode() in collected.read_bytes()


def test_non_ascii_content_reads_back_octet_for_octet_by_pop3(world: World) -> None:
    content = messages.gb18030().replace(b"Subject: ", b"X-Case: pop-gb\r\nSubject: ", 1)
    host, port = world.endpoint("smtp")
    with smtplib.SMTP(host, port, timeout=20) as client:
        client.sendmail("s@example.org", [world.user], content, mail_options=["BODY=8BITMIME"])
    world.wait_for_text("X-Case: pop-gb")
    host, port = world.endpoint("pop3")
    reader = poplib.POP3(host, port, timeout=20)
    reader.user(world.user)
    reader.pass_(world.password)
    newest = reader.stat()[0]
    arrived = b"\r\n".join(reader.retr(newest)[1]) + b"\r\n"
    reader.quit()
    assert b"X-Case: pop-gb" in arrived
    assert messages.body(arrived) == messages.GB18030_BODY
