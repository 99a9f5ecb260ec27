"""Penalties and the line for ban tools in the running auth process."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from posthouse.auth import failures
from posthouse.runtime.schema import AUTH_LOGIN, AuthFailure, AuthSuccess
from tests.queue.asynchronous import asynchronous
from tests.services.auth.world import auth_running, plain

ON = {"auth_penalty_lifetime": "29s"}
FILTER = Path(__file__).parents[3] / "packaging/fail2ban/filter.d/posthouse.conf"


def test_after_a_wrong_login_the_next_one_waits_even_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "FIRST_PENALTY_S", 0.2)

    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, ON) as world:
            login = world.peer(AUTH_LOGIN, "login")
            waits: list[float] = []
            for password in ("1", "2", "secret", "secret"):
                begin = time.monotonic()
                answer = await login.call(plain("bob@example.org", password))
                waits.append(time.monotonic() - begin)
                assert isinstance(answer, AuthSuccess if password == "secret" else AuthFailure)
            assert waits[1] >= 0.4
            assert waits[2] >= 0.8

    test()


def test_anvils_socket_mode_switches_penalties_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "FIRST_PENALTY_S", 3600.0)
    monkeypatch.setattr(failures, "MAXIMAL_PENALTY_S", 3600.0)

    @asynchronous
    async def test() -> None:
        off = {"service/anvil/unix_listener/anvil-auth-penalty/mode": "0"}
        async with auth_running(tmp_path, ON, off) as world:
            login = world.peer(AUTH_LOGIN, "login")
            for password in ("1", "2", "3"):
                assert isinstance(await login.call(plain("bob@example.org", password)), AuthFailure)

    test()


def test_many_different_wrong_logins_give_a_line_that_fail2ban_reads(tmp_path: Path) -> None:
    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {"auth_ban_failures": "4"}) as world:
            login = world.peer(AUTH_LOGIN, "login")
            for _ in range(10):
                await login.call(plain("bob@example.org", "stale"))
            assert not any("ban:" in line for line in world.log())
            for user in ("ann@example.org", "rip=203.0.113.1, (x)", "zoe@example.org"):
                await login.call(plain(user, "guess"))
            [line] = [line for line in world.log() if "ban:" in line]
            assert line == (
                "ban: rip=192.0.2.7, 4 different wrong logins in 0 secs (imap 4) for 4 users (bob@example.org,"
                " ann@example.org, rip=203.0.113.1???x?, zoe@example.org), 9 repeats not counted;"
                " the last: unknown user"
            )
            if shutil.which("fail2ban-regex"):
                log = tmp_path / "mail.log"
                log.write_text(f"Nov 27 14:00:00 mail dovecot[17]: auth: {line}\n")
                command = ["fail2ban-regex", "--print-all-matched", str(log), str(FILTER)]
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
                assert "1 matched" in done.stdout, done.stdout
                assert (
                    "192.0.2.7"
                    in subprocess.run(
                        ["fail2ban-regex", "-o", "ip", str(log), str(FILTER)],
                        capture_output=True,
                        text=True,
                        check=False,
                        timeout=60,
                    ).stdout
                )

    test()
