"""master keeps processes running: whoever dies comes back, reload keeps connections, a second start is refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bench.process_tree import tree

from tests.conftest import NewSandbox
from tests.running import RunningSystem

ALL = ("control", "auth", "tables", "queue", "mailbox", "local", "smtp", "smtpd", "login")


@pytest.mark.parametrize("name", ALL)
def test_a_killed_process_is_started_again_and_mail_goes_on(sandbox: RunningSystem, name: str) -> None:
    sandbox.expect_log(r"process \S+ 0 pid \d+ killed by signal 9")
    killed = sandbox.kill(f"{name} 0")
    sandbox.wait_until(lambda: sandbox.processes().get(f"{name} 0", killed) != killed, f"a new {name}")
    sandbox.send_until_accepted(f"after the death of {name}")
    sandbox.wait_for_message(f"after the death of {name}")
    with sandbox.imap() as client:
        status, _ = client.select("INBOX")
        assert status == "OK"


def test_reload_keeps_open_smtp_and_imap_connections(sandbox: RunningSystem) -> None:
    before = sandbox.processes()
    with sandbox.smtp() as smtp, sandbox.imap() as imap:
        smtp.ehlo("client.example.org")
        smtp.mail("stranger@example.org")
        imap.select("INBOX")
        sandbox.reload()
        sandbox.wait_until(
            lambda: all(
                sandbox.processes().get(f"{name} 0", before[f"{name} 0"]) != before[f"{name} 0"]
                for name in ("smtpd", "login", "tables")
            ),
            "new front ends",
        )
        code, _ = smtp.rcpt("alice@example.test")
        assert code == 250
        code, _ = smtp.data(b"Subject: across a reload\r\n\r\nhello\r\n")
        assert code == 250
        assert smtp.noop()[0] == 250
        assert imap.noop()[0] == "OK"
    after = sandbox.processes()
    for name in ("control", "auth", "queue", "mailbox"):
        assert after[f"{name} 0"] == before[f"{name} 0"], f"{name} is to be changed in place"
    sandbox.wait_for_message("across a reload")


def test_reload_takes_new_settings(new_sandbox: NewSandbox) -> None:
    system = new_sandbox("smtpd_banner=$myhostname ESMTP before")
    system.command("postconf", "-e", "smtpd_banner=$myhostname ESMTP after")
    system.command("posthouse", "reload")

    def greets_anew() -> bool:
        with system.smtp() as client:
            client.ehlo("client.example.org")
        import socket

        with socket.create_connection(system.endpoint("smtp"), 10) as connection:
            return b"after" in connection.recv(200)

    system.wait_until(greets_anew, "the new banner")


def test_a_wrong_configuration_is_not_loaded(new_sandbox: NewSandbox) -> None:
    system = new_sandbox()
    system.expect_log(r"error: ")
    main = Path(system.configuration, "main.cf")
    main.write_text(main.read_text() + "message_size_limit = many\n")
    refused = system.command("posthouse", "reload", check=False)
    assert refused.returncode == 1
    assert "message_size_limit" in refused.stdout + refused.stderr
    before = system.processes()
    system.reload()
    system.wait_for_log("the configuration is not reloaded, because it has errors")
    assert system.processes() == before
    system.send("still here")
    system.wait_for_message("still here")


def test_a_second_start_on_the_same_directory_is_refused(sandbox: RunningSystem) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "posthouse.cli.posthouse", "sandbox", "--dir", str(sandbox.directory), "--json"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert f"already running: PID: {sandbox.pid}" in done.stderr
    sandbox.send("after the refused start")
    sandbox.wait_for_message("after the refused start")


def test_status_names_every_process(sandbox: RunningSystem) -> None:
    printed = sandbox.command("posthouse", "status").stdout
    assert f"is running: PID: {sandbox.pid}" in printed
    for name in ALL:
        assert f"{name} 0" in printed


def test_children_end_when_master_is_killed(new_sandbox: NewSandbox) -> None:
    system = new_sandbox()
    children = list(system.processes().values())
    os.kill(system.pid, signal.SIGKILL)
    system.interrupt(status=-signal.SIGKILL)
    system.wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "the end of all children")
    system.start()
    system.send("after the death of master")
    system.wait_for_message("after the death of master")


def test_sigint_stops_everything_without_complaint(new_sandbox: NewSandbox) -> None:
    system = new_sandbox()
    children = list(system.processes().values())
    system.interrupt(signal.SIGINT)
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    system.start()


def test_the_system_answers_within_a_second_and_a_half(new_sandbox: NewSandbox) -> None:
    system = new_sandbox()
    system.interrupt()
    times = []
    for _ in range(3):
        system.start()
        times.append(system.start_s)
        system.interrupt()
    system.start()
    print(f"cold start: {min(times):.2f} s")
    # The promise is 1.5 s on an idle machine; the suite runs beside others.
    assert min(times) < (3.0 if os.environ.get("PYTEST_XDIST_WORKER") else 1.5)


def test_a_rotated_log_is_followed_by_a_new_file(sandbox: RunningSystem) -> None:
    log = Path(sandbox.facts["mail_log"])
    rotated = log.with_suffix(".log.1")
    log.rename(rotated)
    sandbox.wait_until(log.exists, "a new log file")
    sandbox.send("after rotation")
    sandbox.wait_for_message("after rotation")
    sandbox.wait_for_log("to=<alice@example.test>")
    # Nothing is lost for the tests that read the log later.
    log.write_text(rotated.read_text() + log.read_text())


def test_logrotate_compresses_the_old_log_and_begins_a_new_one(new_sandbox: NewSandbox) -> None:
    system = new_sandbox("maillog_file_rotate_suffix=old")
    system.command("posthouse", "logrotate")
    log = Path(system.facts["mail_log"])
    assert log.with_name("mail.log.old.gz").exists()
    assert log.with_name("mail.err.old.gz").exists()
    system.send("after logrotate")
    system.wait_for_message("after logrotate")
    system.wait_for_log("to=<alice@example.test>")


@pytest.mark.skipif(os.geteuid() != 0, reason="delivers to a system user that is not the caller's")
def test_system_users_get_mail_again_after_the_maker_of_deliverers_died(new_sandbox: NewSandbox) -> None:
    sandbox = new_sandbox("minimal_backoff_time=1s", "maximal_backoff_time=2s", "queue_run_delay=1s")
    sandbox.expect_log(r"local|master")
    maker = "local (makes deliverers)"

    def makers() -> list[int]:
        return [pid for pid in tree(sandbox.pid) if maker in Path(f"/proc/{pid}/cmdline").read_text()]

    os.kill(makers()[0], signal.SIGKILL)
    sandbox.send("after the maker", "games@localhost")
    mbox = sandbox.directory / "mail/games"
    sandbox.wait_until(lambda: mbox.exists() and "after the maker" in mbox.read_text(), "mail for a system user")
