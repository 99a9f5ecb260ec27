"""Our smtpd asks a real Dovecot whether passwords are right (smtpd_sasl_type = dovecot, smtpd_sasl_path)."""

import contextlib
import os
import signal
import smtplib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.test_postfix_peer import free_port
from tests.running import RunningSystem

pytestmark = [pytest.mark.foreign, pytest.mark.skipif(os.getuid() != 0, reason="Dovecot starts as root only")]
NewSandbox = Callable[..., RunningSystem]
CONFIGURATION = """\
base_dir = {directory}/run
state_dir = {directory}/run
protocols =
ssl = no
log_path = {directory}/log
default_internal_user = root
default_internal_group = root
default_login_user = nobody
auth_mechanisms = plain login cram-md5 scram-sha-256
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = {directory}/users
}}
userdb {{
  driver = static
  args = uid=1 gid=1 home=/tmp
}}
service auth {{
  unix_listener {directory}/auth {{
    mode = 0600
  }}
  inet_listener {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""
OWN_USER = ("alice@example.test", "wonderland")
THEIR_USER = ("dora@example.test", "explorer")


class Dovecot:
    def __init__(self, directory: Path, program: str) -> None:
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        self._program = program
        self._file = directory / "dovecot.conf"
        self._file.write_text(CONFIGURATION.format(directory=directory, port=self.port))
        (directory / "users").write_text(f"{THEIR_USER[0]}:{{PLAIN}}{THEIR_USER[1]}::::::\n")
        self.socket = directory / "auth"
        self.start()

    def start(self) -> None:
        quiet = subprocess.DEVNULL  # a pipe would stay open in its processes
        subprocess.run([self._program, "-c", str(self._file)], check=True, timeout=60, stdout=quiet, stderr=quiet)

    def stop(self) -> None:
        """At once: in order, its auth process would wait for us to leave."""
        master = int((self._file.parent / "run/master.pid").read_text())
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        for pid in (master, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        (self._file.parent / "run/master.pid").unlink()


@pytest.fixture
def dovecot(tmp_path: Path, foreign: Callable[[str], str]) -> Iterator[Dovecot]:
    server = Dovecot(tmp_path / "dovecot", foreign("dovecot"))
    yield server
    server.stop()


def offered(system: RunningSystem) -> set[str]:
    with system.smtp("submission") as client:
        client.starttls()
        client.ehlo("client.example")
        return set(client.esmtp_features.get("auth", "").split())


def login(system: RunningSystem, user: str, password: str, mechanism: str = "PLAIN") -> int:
    with system.smtp("submission") as client:
        client.starttls()
        client.ehlo("client.example")
        client.esmtp_features["auth"] = mechanism
        try:
            return client.login(user, password)[0]
        except smtplib.SMTPAuthenticationError as error:
            return error.smtp_code


@pytest.mark.parametrize("by", ["socket", "inet"])
def test_a_real_dovecot_checks_the_passwords_of_smtp_clients(
    dovecot: Dovecot, new_sandbox: NewSandbox, by: str
) -> None:
    place = str(dovecot.socket) if by == "socket" else f"inet:127.0.0.1:{dovecot.port}"
    system = new_sandbox(f"smtpd_sasl_path={place}")
    system.wait_until(lambda: offered(system) == {"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"}, "its mechanisms")
    system.expect_log("authentication failed")
    for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
        assert login(system, *THEIR_USER, mechanism) == 235
        assert login(system, THEIR_USER[0], "wrong", mechanism) == 535
        assert login(system, *OWN_USER, mechanism) == 535, "our own users are not asked"
    system.wait_for_log(r"sasl_username=dora@example\.test|authentication failed")
    # IMAP is our own business.
    with system.imap("alice") as session:
        assert session.noop()[0] == "OK"


def test_while_it_is_away_nobody_is_refused_and_nobody_let_in(dovecot: Dovecot, new_sandbox: NewSandbox) -> None:
    system = new_sandbox(f"smtpd_sasl_path={dovecot.socket}")
    system.wait_until(lambda: "PLAIN" in offered(system), "its mechanisms")
    assert login(system, *THEIR_USER) == 235
    system.expect_log("smtpd_sasl_path")
    system.expect_log("authentication failed")
    dovecot.stop()
    system.wait_for_log(r"smtpd_sasl_path .*auth: (the connection ended|Connection refused|No such file)")
    assert login(system, *THEIR_USER) == 454
    assert login(system, THEIR_USER[0], "wrong") == 454
    dovecot.start()
    system.wait_until(lambda: login(system, *THEIR_USER) == 235, "it to be back")


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"VERSION\t9\t0\n",
        b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nDONE\n",  # and then only nonsense
        b"\xff\xfe\n",
        b"x" * 100_000,
    ],
)
def test_a_server_that_talks_nonsense_lets_nobody_in(new_sandbox: NewSandbox, tmp_path: Path, greeting: bytes) -> None:
    path = tmp_path / "auth"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(10)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(greeting)
                    connection.settimeout(20)
                    try:
                        while data := connection.recv(4096):
                            if b"AUTH\t" in data:
                                number = data.split(b"AUTH\t")[1].split(b"\t")[0]
                                connection.sendall(b"OK\t%d\tuser=\nOK\t99999\tuser=root\nOK\t%s\n" % (7, number))
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        system = new_sandbox(f"smtpd_sasl_path={path}")
        system.expect_log("smtpd_sasl_path")
        system.expect_log("authentication failed")
        time.sleep(1.5)
        assert login(system, *THEIR_USER) == 454
        server.shutdown(socket.SHUT_RDWR)


def test_a_socket_that_dovecot_conf_makes_is_our_own(new_sandbox: NewSandbox, tmp_path: Path) -> None:
    name = str(tmp_path / "private/auth").replace("/", "\\s")
    (tmp_path / "private").mkdir()
    system = new_sandbox(
        "smtpd_sasl_type=dovecot",
        "smtpd_sasl_path=private/auth",
        f"dovecot/service/auth/unix_listener/{name}/mode=0600",
    )
    assert login(system, *OWN_USER) == 235
