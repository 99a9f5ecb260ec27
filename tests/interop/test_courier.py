"""courier-imap, sqwebmail and courier-authlib's commands ask our authdaemon socket and read our Maildirs."""

import imaplib
import os
import re
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.foreign_root import ForeignRoot
from tests.running import RunningSystem

pytestmark = [pytest.mark.foreign, pytest.mark.skipif(os.getuid() != 0, reason="needs root")]
UID = 7777
USER = "alice@example.test"
COURIER = """\
echo 'courier:x:990:990::/var/lib/courier:/usr/sbin/nologin' >> /etc/passwd
echo 'courier:x:990:' >> /etc/group
mkdir -p /run/courier/authdaemon /var/lib/courier
mount --bind "$1" /run/courier/authdaemon
chown courier:courier /run/courier /var/lib/courier
chmod 1777 /var/cache/sqwebmail
"""


@dataclass
class Place:
    system: RunningSystem
    root: ForeignRoot


@pytest.fixture
def place(new_sandbox: Callable[..., RunningSystem], tmp_path: Path) -> Iterator[Place]:
    """With one message for alice, whose Maildir belongs to a user of its own, as Courier wants it."""
    sockets = tmp_path / "sockets"
    sockets.mkdir(mode=0o755)
    name = str(sockets / "socket").replace("/", "\\s")
    listed = tmp_path / "users"
    home = tmp_path / "box0/vmail/example.test/alice"
    listed.write_text(f"{USER}:{{PLAIN}}wonderland:{UID}:{UID}::{home}::\n")
    listed.chmod(0o644)
    passwd_file = {"driver": "passwd-file", "args": str(listed)}
    system = new_sandbox(
        f"dovecot/service/auth/unix_listener/{name}/mode=0666",
        f"dovecot/service/auth/unix_listener/{name}/type=authdaemon",
        *(f"dovecot/passdb/1/{key}={value}" for key, value in passwd_file.items()),
        "dovecot/passdb/2/driver=directory",
        *(f"dovecot/userdb/1/{key}={value}" for key, value in passwd_file.items()),
        "dovecot/userdb/2/driver=directory",
        "dovecot/auth_failure_delay=0",
    )
    system.expect_log(f"uid={UID}, but mailboxes are opened with uid")
    system.send("hello courier")
    system.wait_for_message("hello courier")
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(home)], check=True)
    for directory in (home, *home.parents):
        if directory.is_relative_to(tmp_path):
            directory.chmod(directory.stat().st_mode | 0o055)
    root = ForeignRoot(tmp_path)
    root.run("sh", "-ec", COURIER, "sh", sockets)
    yield Place(system, root)
    root.close()


def test_courier_authlib_asks_who_a_user_is_and_whether_the_password_is_right(place: Place) -> None:
    known = place.root.run("authtest", "-s", "imap", USER).stdout
    assert f"Authenticated: {USER}  (uid {UID}, gid {UID})" in known
    assert re.search(r"Maildir: .*/vmail/example.test/alice/Maildir\n", known)
    assert "Encrypted Password: (none)" in known, "hashes stay with us"
    assert place.root.run("authtest", "-s", "imap", USER, "wonderland").returncode == 0
    for arguments in ((USER, "wrong"), ("nobody@example.test",), ("nobody@example.test", "x"), ("x\ty", "x")):
        assert place.root.run("authtest", "-s", "imap", *arguments, check=False).returncode == 1
    listed = place.root.run("authenumerate").stdout.splitlines()
    assert [line.split("\t")[:3] for line in listed if USER in line] == [[USER, str(UID), str(UID)]]


def test_a_password_of_the_directory_can_be_changed_by_who_knows_it(place: Place) -> None:
    def change(old: str, new: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(Path(place.system.directory).parent / "sockets/socket"))
            client.sendall(f"PASSWD imap\tbob@example.test\t{old}\t{new}\n".encode())
            return client.recv(100)

    assert change("wrong", "mine now") == b"FAIL\n"
    assert change("builder", "") == b"FAIL\n"
    assert change("builder", "rebuilt") == b"OK\n"
    assert change("builder", "again") == b"FAIL\n"
    with imaplib.IMAP4(*place.system.endpoint("imap"), timeout=20) as client:
        assert client.login("bob@example.test", "rebuilt")[0] == "OK"


def test_courier_imap_logs_our_users_in(place: Place) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    daemon = ["/usr/sbin/couriertcpd", "-address=127.0.0.1", "-nodnslookup", "-noidentlookup", port]
    session = ["/usr/lib/courier/courier/imaplogin", "/usr/bin/imapd", "Maildir"]
    place.root.start(*daemon, *session, environment={"IMAP_CAPABILITY": "IMAP4rev1 AUTH=CRAM-MD5"})
    client = connected(port)
    with pytest.raises(imaplib.IMAP4.error):
        client.login(USER, "wrong")
    assert client.login(USER, "wonderland")[0] == "OK"
    assert client.select("INBOX") == ("OK", [b"1"])
    assert b"hello courier" in client.fetch("1", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1][0][1]
    client.logout()
    client = connected(port)
    client.login_cram_md5(USER, "wonderland")
    assert client.select("INBOX") == ("OK", [b"1"])
    client.logout()


def connected(port: int) -> imaplib.IMAP4:
    give_up = time.monotonic() + 20
    while True:
        try:
            return imaplib.IMAP4("127.0.0.1", port, timeout=20)
        except (OSError, imaplib.IMAP4.abort):
            assert time.monotonic() < give_up
            time.sleep(0.1)


def test_sqwebmail_logs_in_and_lists_a_message(place: Place) -> None:
    place.root.start("sh", "-c", "set -a; . /etc/courier/sqwebmaild; exec /usr/lib/courier/courier/sqwebmaild")

    def ask(path: str = "", query: str = "", **form: str) -> str:
        """One run of the CGI program, as a web server does it."""
        body = urllib.parse.urlencode(form)
        environment = {
            "REQUEST_METHOD": "POST" if body else "GET",
            "SCRIPT_NAME": "/cgi-bin/sqwebmail",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_ADDR": "192.0.2.9",
            "SERVER_NAME": "localhost",
            "HTTP_HOST": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.0",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "HTTP_ACCEPT_LANGUAGE": "en-us",
        }
        if body:
            environment |= {
                "CONTENT_TYPE": "application/x-www-form-urlencoded",
                "CONTENT_LENGTH": str(len(body)),
            }
        return place.root.run("/usr/lib/cgi-bin/sqwebmail", input=body, environment=environment, check=False).stdout

    place.system.wait_until(lambda: "Location:" in ask(), "sqwebmaild to answer")
    refused = ask(username=USER, password="wrong", **{"do.login": "Login"})
    assert "Location:" not in refused or "/login/" not in refused
    admitted = ask(username=USER, password="wonderland", sameip="1", **{"do.login": "Login"})
    session = re.search(r"Location: http://localhost/cgi-bin/sqwebmail(/login/\S+?)\?", admitted)
    assert session, admitted
    path = urllib.parse.unquote(session[1])
    assert "INBOX" in ask(path, "folder=INBOX&form=folders")
    page = ask(path, "folder=INBOX&form=folder")
    assert re.search(r"hello(?: |&nbsp;)courier", page), page
    assert "No messages" not in page
