"""As a real service: init, start, status, reload, stop; as root with the users of the process table."""

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from tests.conftest import _reachable
from tests.security.conftest import SETTINGS, needs_root, readable_python


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Service:
    def __init__(self, prefix: Path) -> None:
        needs_root()
        self.prefix = prefix
        self.etc = prefix / "etc/posthouse"
        command, environment = readable_python()
        self._command = [*command, "-m", "posthouse.cli.posthouse"]
        self._environment = {**os.environ, **environment}
        self.port = free_port()

    def run(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, env=self._environment, timeout=60
        )
        if check:
            assert done.returncode == 0, f"{arguments}:\n{done.stdout}{done.stderr}"
        return done

    def configure(self) -> None:
        """High ports on the loopback interface, users that exist."""
        main = self.etc / "main.cf"
        main.write_text(main.read_text() + "".join(f"{one.replace('=', ' = ')}\n" for one in SETTINGS))
        master = self.etc / "master.cf"
        text = re.sub(r"^submission.*?(?=^\S+ +unix)", "", master.read_text(), flags=re.MULTILINE | re.DOTALL)
        master.write_text(text.replace("smtp        inet", f"127.0.0.1:{self.port} inet"))
        dovecot = self.etc / "dovecot.conf"
        dovecot.write_text(dovecot.read_text().replace("protocols = imap pop3", "protocols ="))


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    # A short name: run/posthouse below it holds sockets.
    return Service(_reachable(tmp_path_factory.mktemp("svc")))


def test_a_fresh_installation_starts_reloads_and_stops(service: Service) -> None:
    made = service.run(
        "-c", "/etc/posthouse", "init", "--type", "internet", "--mailname", "example.org", "--root", str(service.prefix)
    ).stdout
    assert f"made {service.etc}/main.cf" in made
    maildrop = service.prefix / "var/spool/posthouse/maildrop"
    assert maildrop.stat().st_mode & 0o7777 == 0o3733
    again = service.run("init", "-c", "/etc/posthouse", "--type", "internet", "--root", str(service.prefix)).stdout
    assert f"kept {service.etc}/main.cf" in again
    service.configure()
    directory = ["-c", str(service.etc)]
    assert service.run(*directory, "status", check=False).returncode == 1
    service.run(*directory, "start")
    try:
        assert maildrop.owner() == "news"
        assert maildrop.group() == "news"
        assert "is running: PID:" in service.run(*directory, "status").stdout
        refused = service.run(*directory, "start", check=False)
        assert refused.returncode == 1
        assert "already running" in refused.stderr
        with socket.create_connection(("127.0.0.1", service.port), 10) as client:
            assert client.recv(200).startswith(b"220 ")
        service.run(*directory, "reload")
    finally:
        service.run(*directory, "stop")
    assert service.run(*directory, "status", check=False).returncode == 1
    log = (service.prefix / "var/log/mail.log").read_text()
    assert "daemon started" in log
    assert "reload -- version" in log
    assert not re.search(r"(warning|error|fatal|panic): ", log), log


def test_start_refuses_what_check_refuses_with_the_same_text(service: Service) -> None:
    service.run("init", "--type", "internet", "--mailname", "example.org", "--root", str(service.prefix))
    service.configure()
    main = service.etc / "main.cf"
    main.write_text(main.read_text() + "message_size_limit = many\nsmtpd_banner = $smtpd_banner\n")
    checked = service.run("-c", str(service.etc), "check", check=False)
    started = service.run("-c", str(service.etc), "start", check=False)
    assert checked.returncode == started.returncode == 1
    errors = [line for line in checked.stdout.splitlines() if ": error: " in line]
    assert len(errors) >= 2
    for line in errors:
        assert line in started.stderr


def test_systemd_hears_when_the_system_is_ready(service: Service) -> None:
    service.run("init", "--type", "local", "--mailname", "example.org", "--root", str(service.prefix))
    service.configure()
    path = service.prefix / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(20)
        process = subprocess.Popen(
            [*service._command, "-c", str(service.etc), "start", "--foreground"],
            env={**service._environment, "NOTIFY_SOCKET": str(path)},
        )
        try:
            assert systemd.recv(1000).decode().splitlines()[0] == "READY=1"
            process.send_signal(1)
            assert systemd.recv(1000).decode().splitlines()[0] == "RELOADING=1"
            assert systemd.recv(1000).decode().splitlines()[0] == "READY=1"
            process.terminate()
            assert systemd.recv(1000) == b"STOPPING=1"
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("kind", ["internet", "smarthost", "satellite", "local", "none"])
def test_every_type_gives_a_configuration_without_errors(service: Service, kind: str) -> None:
    relayhost = ["--relayhost", "[smart.example.net]"] if kind in ("smarthost", "satellite") else []
    service.run("init", "--type", kind, "--mailname", "example.org", *relayhost, "--root", str(service.prefix))
    if kind == "none":
        assert not (service.etc / "main.cf").exists()
        return
    checked = service.run("-c", str(service.etc), "check", check=False)
    assert ": error: " not in checked.stdout
    main = (service.etc / "main.cf").read_text()
    assert ("relayhost = [smart.example.net]" in main) == bool(relayhost)


def test_a_smarthost_without_a_name_is_refused(service: Service) -> None:
    done = service.run("init", "--type", "smarthost", "--root", str(service.prefix), check=False)
    assert done.returncode == 2
    assert "--relayhost" in done.stderr


def test_commands_are_linked_on_request(service: Service) -> None:
    links = service.prefix / "usr/local/bin"
    service.run("init", "--type", "none", "--root", str(service.prefix), "--link", str(links))
    for link in links.iterdir():
        assert link.is_symlink()
