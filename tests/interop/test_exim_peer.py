"""Debian's Exim logs its users in at our socket, with its dovecot authenticator."""

import os
import smtplib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.foreign_root import ForeignRoot
from tests.interop.test_postfix_peer import free_port
from tests.running import RunningSystem

pytestmark = [pytest.mark.foreign, pytest.mark.skipif(os.getuid() != 0, reason="needs root")]
CONFIGURATION = """\
primary_hostname = exim.example
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
spool_directory = /run/exim
log_file_path = /run/exim/log-%slog
pid_file_path = /run/exim/pid
tls_advertise_hosts =
auth_advertise_hosts = *
acl_smtp_rcpt = acl_rcpt
acl_smtp_vrfy = deny

begin acl
acl_rcpt:
  accept authenticated = *
         log_message = let in
  deny   message = relay not permitted

begin authenticators
{authenticators}
begin routers
away:
  driver = manualroute
  route_list = * 127.0.0.2
  transport = nowhere
begin transports
nowhere:
  driver = smtp
"""
AUTHENTICATOR = """\
posthouse_{name}:
  driver = dovecot
  public_name = {mechanism}
  server_socket = {socket}
  server_set_id = $auth1

"""
MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5")


@pytest.fixture
def exim(new_sandbox: Callable[..., RunningSystem], tmp_path: Path) -> Iterator[int]:
    socket = tmp_path / "auth"
    name = str(socket).replace("/", "\\s")
    listed = tmp_path / "users"
    listed.write_text("alice@example.test:{PLAIN}wonderland::::::\n")
    listed.chmod(0o644)
    new_sandbox(
        f"dovecot/service/auth/unix_listener/{name}/mode=0666",
        "dovecot/auth_mechanisms=plain login cram-md5",
        "dovecot/passdb/1/driver=passwd-file",
        f"dovecot/passdb/1/args={listed}",
        "dovecot/auth_failure_delay=0",
    )
    root = ForeignRoot(tmp_path)
    port = free_port()
    authenticators = "".join(
        AUTHENTICATOR.format(name=mechanism.replace("-", "_").lower(), mechanism=mechanism, socket=socket)
        for mechanism in MECHANISMS
    )
    configuration = tmp_path / "exim.conf"
    configuration.write_text(CONFIGURATION.format(port=port, authenticators=authenticators))
    root.shell(
        "echo 'Debian-exim:x:991:991::/run/exim:/usr/sbin/nologin' >> /etc/passwd;"
        " echo 'Debian-exim:x:991:' >> /etc/group;"
        " mkdir -p /run/exim; chown Debian-exim /run/exim"
    )
    root.start("/usr/sbin/exim4", "-bdf", "-C", configuration)
    yield port
    root.close()


def connected(port: int) -> smtplib.SMTP:
    give_up = time.monotonic() + 20
    while True:
        try:
            return smtplib.SMTP("127.0.0.1", port, timeout=20)
        except OSError:
            assert time.monotonic() < give_up
            time.sleep(0.1)


def test_exim_logs_its_users_in_here(exim: int) -> None:
    for mechanism in MECHANISMS:
        with connected(exim) as client:
            client.ehlo("client.example")
            assert set(client.esmtp_features["auth"].split()) == set(MECHANISMS)
            client.esmtp_features["auth"] = mechanism
            assert client.mail("a@b.example")[0] == 250
            assert client.rcpt("far@elsewhere.example")[0] == 550
            client.rset()
            for user, password in (
                ("alice@example.test", "wrong"),
                ("nobody@example.test", "wonderland"),
            ):
                with pytest.raises(smtplib.SMTPAuthenticationError):
                    client.login(user, password)
            assert client.login("alice@example.test", "wonderland")[0] == 235
            assert client.mail("a@b.example")[0] == 250
            assert client.rcpt("far@elsewhere.example")[0] == 250
