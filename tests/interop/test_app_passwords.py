"""Application passwords for servers that ask Posthouse: the scope is the service they ask for."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.running import RunningSystem

pytestmark = pytest.mark.foreign


def test_doveadm_is_told_for_which_service_a_password_is_good(
    new_sandbox: Callable[..., RunningSystem], tmp_path: Path, foreign: Callable[[str], str]
) -> None:
    path = str(tmp_path / "auth")
    listener = "dovecot/service/auth/unix_listener/" + path.replace("/", "\\s")
    system = new_sandbox(f"{listener}/mode=0666", "dovecot/auth_failure_delay=0")
    doveadm = foreign("doveadm")

    def ask(service: str, password: str) -> bool:
        command = [doveadm, "auth", "test", "-a", path, "-x", f"service={service}", "alice@example.test", password]
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
        assert "auth succeeded" in said or "auth failed" in said
        return "auth succeeded" in said

    def make(*words: str) -> str:
        return system.command("posthouse", "app-password", "add", *words).stdout.strip()

    relay = make("--for", "smtp", "alice@example.test", "relay")
    courier = make("--for", "imap,pop3", "alice@example.test", "courier")
    assert [ask(service, relay) for service in ("smtp", "submission", "imap", "pop3")] == [True, True, False, False]
    assert [ask(service, courier) for service in ("smtp", "imap", "pop3")] == [False, True, True]
    assert ask("smtp", "wonderland")
    system.command("posthouse", "user", "set", "--app-passwords-only", "yes", "alice@example.test")
    assert not ask("smtp", "wonderland")
    assert ask("smtp", relay)
    system.command("posthouse", "app-password", "remove", "alice@example.test", "relay")
    assert not ask("smtp", relay)
