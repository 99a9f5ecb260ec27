"""`posthouse sandbox` keeps what it promises to tests and to people."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import NewSandbox
from tests.running import RunningSystem

SANDBOX = [sys.executable, "-m", "posthouse.cli.posthouse", "sandbox"]
KEYS = {
    *(
        "pid",
        "dir",
        "domain",
        "accounts",
        "smtp",
        "submission",
        "submissions",
        "lmtp",
        "imap",
        "imaps",
        "pop3",
        "pop3s",
    ),
    *("mail_log", "mail_location", "ca_file"),
}


def run(*arguments: object, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*SANDBOX, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)


def test_json_names_every_fact(sandbox: RunningSystem) -> None:
    assert set(sandbox.facts) >= KEYS
    assert sandbox.facts["domain"] == "example.test"
    assert {"user": "alice@example.test", "password": "wonderland"} in sandbox.facts["accounts"]  # type: ignore[comparison-overlap]
    for name in ("smtp", "imaps", "lmtp"):
        assert re.fullmatch(r"127\.0\.0\.1:\d+", sandbox.facts[name])


def test_ports_accounts_and_mail_are_kept_between_runs(new_sandbox: NewSandbox) -> None:
    system = new_sandbox()
    before = dict(system.facts)
    system.send("kept")
    system.wait_for_message("kept")
    system.interrupt()
    system.start()
    assert {name: value for name, value in system.facts.items() if name != "pid"} == {
        name: value for name, value in before.items() if name != "pid"
    }
    with system.imap() as client:
        assert client.select("INBOX")[1] == [b"1"]


def test_exec_gets_the_facts_and_its_status_is_returned(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    script = (
        "import os, smtplib; h, p = os.environ['POSTHOUSE_SMTP'].split(':'); smtplib.SMTP(h, int(p)).quit(); exit(7)"
    )
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(script)}"
    done = run("--dir", tmp_path / "box", "--exec", command)
    assert done.returncode == 7, done.stderr


def test_without_a_directory_nothing_is_left() -> None:
    done = run("--exec", "echo $POSTHOUSE_DIR $POSTHOUSE_USER $POSTHOUSE_PASSWORD")
    assert done.returncode == 0, done.stderr
    directory, user, password = done.stdout.split()
    assert user == "alice@example.test"
    assert len(password) >= 8
    assert not Path(directory).exists()


def test_set_overrides_a_parameter_and_postconf_shows_it(new_sandbox: NewSandbox) -> None:
    system = new_sandbox("message_size_limit=54321", arguments=("--domain", "example.com"))
    assert system.facts["domain"] == "example.com"
    assert system.command("postconf", "-h", "message_size_limit").stdout == "54321\n"
    with system.smtp() as client:
        client.ehlo("client.example.org")
        assert client.esmtp_features["size"] == "54321"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--set", "message_size_limit=lots"), "message_size_limit"),
        (("--set", "novalue"), "--set"),
        (("--user", "carol"), "--user"),
        (("--conf-dir", "/nonexistent"), "/nonexistent"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    done = run("--dir", tmp_path / "box", *arguments)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_an_existing_configuration_runs_on_loopback_ports(new_sandbox: NewSandbox, tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "main.cf").write_text(
        "compatibility_level = 3.6\nmyhostname = mail.example.net\nmydestination = localhost\n"
        "queue_directory = /var/spool/postfix\nsmtpd_banner = $myhostname ESMTP from the old place\n"
        "virtual_mailbox_domains = directory:domains\nvirtual_mailbox_maps = directory:accounts\n"
        "smtpd_peername_lookup = no\nmynetworks = 127.0.0.0/8\n"
    )
    (etc / "master.cf").write_text(
        "smtp inet n - y - - smtpd\nsubmission inet n - y - - smtpd\n  -o smtpd_sasl_auth_enable=yes\n"
        "pickup unix n - y 60 1 pickup\ncleanup unix n - y - 0 cleanup\n"
    )
    system = new_sandbox(arguments=("--conf-dir", str(etc)))
    system.expect_log(r"warning: ")
    assert "submission" in system.facts
    assert "submissions" not in system.facts
    import socket

    with socket.create_connection(system.endpoint("smtp"), 10) as connection:
        assert b"from the old place" in connection.recv(200)
    assert (etc / "main.cf").read_text().startswith("compatibility_level = 3.6\nmyhostname = mail.example.net\n")
    system.send("through an existing configuration")


def _arguments_of_all_processes() -> str:
    """What everybody on the machine can read."""
    found: list[bytes] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(path.read_bytes())
    return b"\n".join(found).decode(errors="replace")


def test_run_sends_a_first_message_and_goes_on_with_the_same_data(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    command = [sys.executable, "-m", "posthouse.cli.posthouse", "run", "--dir", str(tmp_path / "box")]
    for expected in (1, 1):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        seen: list[str] = []
        for line in process.stdout:
            seen.append(line)
            if "Stop:" in line:
                break
        new = tmp_path / "box/vmail/example.test/alice/Maildir/new"
        for _ in range(500):
            if new.is_dir() and len(os.listdir(new)) == expected:
                break
            subprocess.run(["sleep", "0.02"], check=True)
        assert len(os.listdir(new)) == expected, "".join(seen)
        state = json.loads((tmp_path / "box/sandbox.json").read_text())
        assert state["accounts"][0]["password"] not in _arguments_of_all_processes()
        process.send_signal(2)
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == 0, rest
        assert "imap://127.0.0.1:" in "".join(seen)
    assert json.loads((tmp_path / "box/sandbox.json").read_text())["domain"] == "example.test"
