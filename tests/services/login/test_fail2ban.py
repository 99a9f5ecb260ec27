"""fail2ban's own dovecot filter reads the lines of real failures."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.services.auth.world import until

from .world import Client, LoginWorld, run

FILTER = Path("/etc/fail2ban/filter.d/dovecot.conf")


def fail2ban(path: Path, mode: str, what: str) -> list[str]:
    """One row per match: "ip" or "msg"."""
    done = subprocess.run(
        ["fail2ban-regex", "-o", what, str(path), f"{FILTER}[mode={mode}]"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.splitlines()


@pytest.mark.foreign
@pytest.mark.skipif(not shutil.which("fail2ban-regex") or not FILTER.exists(), reason="fail2ban is not installed")
def test_failures_are_found_and_successes_are_not(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        async def try_login(port: str, host: str, *commands: bytes) -> None:
            before = len(world.lines)
            client = await Client.connect(world.ports[port], host=host)
            await client.line()
            for command in commands:
                await client.ask(command + b"\r\n")
            client.close()
            await until(lambda: any("Disconnected" in line or "Login:" in line for line in world.log()[before:]))

        await try_login("imap", "127.0.0.1", b"a LOGIN bob@example.org secret")
        await try_login("imap", "127.0.0.1", b"a LOGIN bob@example.org wrong")
        await try_login("imap", "127.0.0.1", b'a LOGIN "b>o, b rip=192.0.2.99" wrong')
        await try_login("imap", "127.0.0.2", b"a LOGIN bob@example.org secret")
        await try_login("pop3", "127.0.0.1", b"USER nobody@example.org", b"PASS wrong")
        await try_login("pop3", "127.0.0.1")

        log = tmp_path / "mail.log"
        log.write_text("".join(f"Nov 23 12:00:00 mail dovecot: {line}\n" for line in world.log()))

    run(scene, tmp_path, dovecot={"auth_verbose": "yes"})
    path = tmp_path / "mail.log"
    assert set(fail2ban(path, "normal", "ip")) == {"127.0.0.1"}, "no name a client invents moves the address"
    words = "\n".join(fail2ban(path, "normal", "msg"))
    assert words.count("imap-login: Disconnected") == 3
    assert words.count("pop3-login: Disconnected") == 1
    assert words.count("auth: directory(") == 3
    assert "Login:" not in words
    assert "no auth attempts" not in words
    assert "no auth attempts" in "\n".join(fail2ban(path, "aggressive", "msg"))
