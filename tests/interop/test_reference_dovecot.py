"""The reference dovecot.conf and dovecot-mysql.conf, unchanged and in their places, and the dialogue with them.

The whole installed system, with a MariaDB that has PostfixAdmin's table, on ports 143 and 110 of a network of its own.
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.foreign_root import ForeignRoot
from tests.security.conftest import readable_python

pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(
        os.getuid() != 0 or shutil.which("mariadbd") is None, reason="needs root and Debian's mariadb-server"
    ),
]
REFERENCE = Path(__file__).parents[1] / "data/reference"
UID = 89
LATER = (
    *("SORT", "SORT=DISPLAY", "THREAD=REFERENCES", "THREAD=REFS", "MULTIAPPEND", "CONDSTORE", "QRESYNC", "ESEARCH"),
    *("ESORT", "SEARCHRES", "WITHIN", "CONTEXT=SEARCH", "LIST-STATUS", "LIST-EXTENDED", "I18NLEVEL=1"),
)
"""Capabilities of the dialogue that are not there yet, and so not named."""
PREPARE = """\
chmod 711 /root
sed -i 's/^postfix:x:[0-9]*:[0-9]*:/postfix:x:89:89:/' /etc/passwd
sed -i 's/^postfix:x:[0-9]*:/postfix:x:89:/' /etc/group
mkdir -p /etc/dovecot /var/vmail /var/spool/postfix/private /run/mysqld /var/log
chown postfix:postfix /var/vmail
chmod 711 /var/spool/postfix /var/spool/postfix/private
cp "$1/dovecot-mysql.conf" /etc/dovecot/dovecot-mysql.conf
chmod 600 /etc/dovecot/dovecot-mysql.conf
"""
TABLE = """
CREATE DATABASE postfix;
CREATE USER postfix@localhost IDENTIFIED BY 'postfix123456';
GRANT SELECT ON postfix.* TO postfix@localhost;
USE postfix;
CREATE TABLE mailbox (username varchar(255) NOT NULL PRIMARY KEY, password varchar(255) NOT NULL,
  name varchar(255) NOT NULL DEFAULT '', maildir varchar(255) NOT NULL, quota bigint NOT NULL DEFAULT 0,
  local_part varchar(255) NOT NULL DEFAULT '', domain varchar(255) NOT NULL, active tinyint(1) NOT NULL DEFAULT 1);
INSERT INTO mailbox (username, password, maildir, domain) VALUES ('user1', '%s', 'user1/', '');
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignRoot]:
    directory = tmp_path_factory.mktemp("reference")
    root = ForeignRoot(directory, with_network=True)
    try:
        root.run("sh", "-ec", PREPARE, "sh", REFERENCE)
        start_mariadb(root)
        python, environment = readable_python()
        posthouse = [*python, "-m", "posthouse.cli.posthouse"]
        root.run(*posthouse, "init", "--type", "internet", "--mailname", "example.test", environment=environment)
        root.shell(
            f"cp {REFERENCE}/dovecot.conf /etc/posthouse/dovecot.conf;"
            " printf 'virtual_user = postfix\\nmail_store_directories = /var/vmail\\n' >> /etc/posthouse/main.cf"
        )
        checked = root.run(*posthouse, "check", environment=environment, check=False)
        assert checked.returncode == 0, checked.stdout
        root.checked = checked.stdout
        root.run(*posthouse, "start", environment=environment)
        try:
            yield root
        finally:
            root.run(*posthouse, "stop", environment=environment)
    finally:
        root.close()


def start_mariadb(root: ForeignRoot) -> None:
    options = ["--no-defaults", "--datadir=/run/mariadb-data", "--user=root"]
    root.run("mariadb-install-db", *options, "--auth-root-authentication-method=socket")
    root.start("mariadbd", *options, "--socket=/run/mysqld/mysqld.sock", "--skip-networking")
    give_up = time.monotonic() + 60
    while root.run("mariadb", "-e", "SELECT 1", check=False).returncode:
        assert time.monotonic() < give_up, "mariadbd does not start"
        time.sleep(0.1)
    stored = subprocess.run(["openssl", "passwd", "-1", "123"], capture_output=True, text=True, check=True, timeout=60)
    root.run("mariadb", input=TABLE % stored.stdout.strip())


def telnet(root: ForeignRoot, *lines: str, port: str, last_s: float = 0.6) -> list[str]:
    """What the terminal shows, with what was typed."""
    typed = "; ".join(f"sleep 0.3; echo '{line}'" for line in lines)
    return root.shell(f"({typed}; sleep {last_s}) | telnet 127.0.0.1 {port} 2>&1 || true").splitlines()


def words(line: str) -> set[str]:
    found = re.search(r"\[CAPABILITY ([^]]*)\]", line)
    assert found, line
    return set(found[1].split())


def test_the_dialogue_of_the_reference(root: ForeignRoot) -> None:
    wanted = (REFERENCE / "imap-session.txt").read_text().splitlines()
    assert wanted[0] == "telnet 127.0.0.1"
    typed = wanted[5]
    assert typed == "1 login user1 123"
    shown = telnet(root, typed, "2 logout", port="143")
    assert shown[:3] == wanted[1:4]
    assert shown[3].startswith("* OK [CAPABILITY ")
    assert words(wanted[4]) <= words(shown[3])
    assert "STARTTLS" not in words(shown[3]), "ssl = no"
    assert shown[4].startswith("1 OK [CAPABILITY ")
    assert shown[4].endswith("] Logged in")
    missing = words(wanted[6]) - words(shown[4])
    assert missing == set(LATER)
    assert words(wanted[4]) - {"AUTH=PLAIN", "AUTH=LOGIN"} <= words(shown[4])
    refused = telnet(root, "1 login user1 124", port="143", last_s=3)
    assert refused[4].startswith("1 NO [AUTHENTICATIONFAILED]")


def test_mail_is_where_the_file_says_and_belongs_to_the_user_of_the_database(root: ForeignRoot) -> None:
    shown = telnet(
        root, "1 login user1 123", "2 append inbox {21+}", "Subject: x", "", "hello", "", "3 logout", port="143"
    )
    assert any(line.startswith("2 OK") for line in shown), shown
    listed = root.shell(
        "find /var/vmail -type f -path '*/cur/*' -o -type f -path '*/new/*' | head -1; stat -c %u /var/vmail/user1"
    )
    path, owner = listed.splitlines()
    assert path.startswith("/var/vmail/user1/")
    assert owner == str(UID)
    uidls = telnet(root, "user user1", "pass 123", "uidl", "quit", port="110")
    validity = next(line for line in shown if "APPENDUID" in line).split("APPENDUID ")[1].split()[:2]
    uid = int(validity[1].rstrip("]"))
    # pop3_uidl_format = %08Xu%08Xv inside protocol pop3 { }
    assert f"1 {uid:08x}{int(validity[0]):08x}" in uidls


def test_every_setting_of_the_file_has_its_effect(root: ForeignRoot) -> None:
    ports = root.shell("ss -Hltn | awk '{print $4}'").split()
    assert {"0.0.0.0:143", "0.0.0.0:110"} <= set(ports), "listen = *, protocols = pop3 imap"
    assert not [one for one in ports if one.endswith((":993", ":995"))], "ssl = no"
    assert root.shell("stat -c '%a %U %G %F' /var/spool/postfix/private/auth").strip() == "660 postfix postfix socket"
    stamp = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
    info = root.shell("sleep 0.2; cat /var/log/dovecot.info")
    assert re.search(stamp + r"imap-login: Info: Login: user=<user1>, method=PLAIN, rip=127.0.0.1", info, re.MULTILINE)
    assert all(re.match(stamp + r"[^:]+: (Info|Debug): ", line) for line in info.splitlines())
    assert root.shell("cat /var/log/dovecot.log") == ""
    assert "dovecot" not in root.shell("cat /var/log/mail.log | grep -c ' dovecot: ' || true").replace("0", "")
    # disable_plaintext_auth = no: a login over an open connection of another machine's would be let in; here the banner
    # says so to everybody.
    assert "LOGINDISABLED" not in telnet(root, "1 logout", port="143")[3]
    # That user owns the mail here, and what strangers talk to must not.
    assert "default_login_user = postfix is not used: that user owns the mail" in root.checked
    users = root.shell("ps -eo user:20,args | grep '[p]osthouse: login'")
    assert "postfix" not in users


def test_doveadm_and_postfix_find_the_auth_socket(root: ForeignRoot) -> None:
    said = root.run(
        "doveadm", "-c", "/dev/null", "auth", "test", "-a", "/var/spool/postfix/private/auth", "user1", "123"
    )
    assert "auth succeeded" in said.stdout


@pytest.mark.parametrize(
    ("trouble", "words", "command"),
    [
        (
            "chown -R 0:0 /var/vmail/user1",
            r"missing \+x perm: /var/vmail/user1, dir owned by 0:0 mode=0700",
            "chown -R 89:89",
        ),
        ("chmod -R 500 /var/vmail/user1", r"missing \+w perm: /var/vmail/user1", "chmod -R u+rwX /var/vmail/user1"),
        ("chmod 700 /var/vmail", r"missing \+x perm: /var/vmail, dir owned by 0:0 mode=0700", "chmod o+x /var/vmail"),
    ],
    ids=["another owner", "read only", "not searchable"],
)
def test_permission_trouble_is_explained_with_the_command_that_ends_it(
    root: ForeignRoot, trouble: str, words: str, command: str
) -> None:
    root.shell("chown -R 89:89 /var/vmail; chmod -R u+rwX /var/vmail; chown 0:0 /var/vmail; chmod 711 /var/vmail")
    body = ["1 login user1 123", "2 append inbox {21+}", "Subject: y", "", "hello", "", "3 select inbox", "4 logout"]
    assert any(line.startswith("2 OK") for line in telnet(root, *body, port="143"))
    root.shell(f": > /var/log/dovecot.log; {trouble}")
    shown = telnet(root, *body, port="143")
    assert any(line.startswith(("1 NO", "2 NO", "* BYE")) for line in shown), shown
    assert not any("/var/vmail" in line for line in shown), "paths are no business of the client"
    log = root.shell("sleep 0.3; cat /var/log/dovecot.log")
    denied = r"Error: .* failed: Permission denied \(euid=89\(postfix\) egid=89 "
    explained = re.search(rf"{denied}{words}.*?; to repair: ([^()]*?)(?: \(|\)|$)", log, re.MULTILINE)
    assert explained, log
    assert explained[1].startswith(command)
    root.shell(explained[1])
    shown = telnet(root, *body, port="143")
    assert any(line.startswith("2 OK") for line in shown), (explained[1], shown)
    assert any(line.startswith("3 OK") for line in shown)
