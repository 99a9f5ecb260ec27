"""A policy server of our own on real HTTP: asked before and after logins, told how they ended, away, slow, or mad."""

import hashlib
import imaplib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posthouse.auth.databases.configured import uses_network
from posthouse.runtime.schema import (
    AUTH_LOGIN,
    AuthChallenge,
    Authenticate,
    AuthFailure,
    AuthSuccess,
    ContinueAuth,
    Record,
)
from tests.queue.asynchronous import asynchronous
from tests.running import RunningSystem
from tests.services.auth.token_server import Asked, HttpServer, Said
from tests.services.auth.world import AuthWorld, auth_running, plain, until

GO_ON = (200, b'{"status": 0, "msg": ""}')
REFUSE = (200, b'{"status": -1, "msg": "too many\\nlogins"}')


def policy(url: str, **more: str) -> dict[str, str]:
    return {
        "auth_policy_server_url": f"{url}/",
        "auth_policy_hash_nonce": "pepper",
        "auth_policy_server_api_header": "Authorization: Basic d2ZvcmNlOnN1cGVy",
        "auth_verbose": "yes",
        **{f"auth_policy_{name}": value for name, value in more.items()},
    }


def commands(server: HttpServer) -> list[str]:
    return [one.target.partition("command=")[2] for one in server.asked]


def told(asked: Asked) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(asked.body)
    return found


def run(
    directory: Path,
    answer: Callable[[Asked], Said],
    act: Callable[[AuthWorld, HttpServer], Any],
    main: dict[str, str] | None = None,
    **more: str,
) -> None:
    @asynchronous
    async def test() -> None:
        with HttpServer(answer) as server:
            values = policy(server.url, **more)
            assert uses_network(values)
            async with auth_running(directory, main, values) as world:
                await act(world, server)

    test()


def test_it_is_asked_and_told(tmp_path: Path) -> None:
    async def act(world: AuthWorld, server: HttpServer) -> None:
        login = world.peer(AUTH_LOGIN, "login")
        assert isinstance(await login.call(plain("bob@example.org", "secret")), AuthSuccess)
        await until(lambda: len(server.asked) == 3)
        answer = await login.call(plain("bob@example.org", "wrong", secured=False, service="smtp"))
        assert isinstance(answer, AuthFailure)
        await until(lambda: len(server.asked) == 6)
        assert commands(server) == ["allow", "allow", "report"] * 2
        assert {one.method for one in server.asked} == {"POST"}
        assert {one.headers["authorization"] for one in server.asked} == {"Basic d2ZvcmNlOnN1cGVy"}
        digest = hashlib.sha256(b"pepper" + b"bob@example.org" + b"\0" + b"secret").hexdigest()
        common = {
            "login": "bob@example.org", "pwhash": "0" + digest[:3], "remote": "192.0.2.7", "device_id": "",
            "protocol": "imap", "session_id": "s1", "tls": True,
        }  # fmt: skip
        assert told(server.asked[0]) == common
        assert told(server.asked[1]) == {**common, "success": True, "policy_reject": False}
        assert told(server.asked[2]) == {**common, "success": True, "policy_reject": False}
        last = told(server.asked[5])
        assert (last["success"], last["tls"], last["protocol"]) == (False, False, "smtp")
        assert not any(b"secret" in one.body or b"wrong" in one.body for one in server.asked)

    run(tmp_path, lambda asked: GO_ON, act)


@pytest.mark.parametrize("when", ["before", "after"])
def test_it_can_refuse(tmp_path: Path, when: str) -> None:
    def answer(asked: Asked) -> Said:
        return REFUSE if ("success" in told(asked)) == (when == "after") else GO_ON

    async def act(world: AuthWorld, server: HttpServer) -> None:
        login = world.peer(AUTH_LOGIN, "login")
        refused = await login.call(plain("bob@example.org", "secret"))
        assert isinstance(refused, AuthFailure)
        assert not refused.temporary
        await until(lambda: "report" in commands(server))
        assert commands(server) == ["allow", *(["allow"] if when == "after" else []), "report"]
        assert told(server.asked[-1])["policy_reject"] is True
        assert told(server.asked[-1])["success"] is False
        assert any("policy server says -1 (refuse)" in line and "\n" not in line for line in world.log())

    run(tmp_path, answer, act)


def test_it_can_make_wait(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Said:
        return (200, b'{"status": 3600}') if "success" not in told(asked) else GO_ON

    async def act(world: AuthWorld, server: HttpServer) -> None:
        began_s = time.monotonic()
        answer = await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "secret"))
        assert isinstance(answer, AuthSuccess)
        assert 0.9 < time.monotonic() - began_s < 10

    run(tmp_path, answer, act, {"auth_policy_delay_limit": "1s"})


def test_log_only_does_nothing_else(tmp_path: Path) -> None:
    async def act(world: AuthWorld, server: HttpServer) -> None:
        answer = await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "secret"))
        assert isinstance(answer, AuthSuccess)
        assert any("(auth_policy_log_only)" in line for line in world.log())

    run(tmp_path, lambda asked: REFUSE, act, log_only="yes")


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("check_before_auth", ["allow", "report"]),
        ("check_after_auth", ["allow", "report"]),
        ("report_after_auth", ["allow", "allow"]),
    ],
)
def test_each_question_can_be_left_out(tmp_path: Path, setting: str, wanted: list[str]) -> None:
    async def act(world: AuthWorld, server: HttpServer) -> None:
        login = world.peer(AUTH_LOGIN, "login")
        assert isinstance(await login.call(plain("bob@example.org", "secret")), AuthSuccess)
        await until(lambda: len(server.asked) == len(wanted))
        assert commands(server) == wanted
        assert ("success" in told(server.asked[0])) == (setting == "check_before_auth")

    run(tmp_path, lambda asked: GO_ON, act, **{setting: "no"})


def test_mechanisms_that_show_no_password(tmp_path: Path) -> None:
    async def act(world: AuthWorld, server: HttpServer) -> None:
        login = world.peer(AUTH_LOGIN, "login")
        request = Authenticate(7, "CRAM-MD5", None, "imap", "192.0.2.7", "192.0.2.1", True, "s1")
        answer: Record = await login.call(request)
        assert isinstance(answer, AuthChallenge)
        answer = await login.call(ContinueAuth(7, b"bob@example.org " + b"0" * 32))
        assert isinstance(answer, AuthFailure)
        await until(lambda: "report" in commands(server))
        assert commands(server) == ["allow", "allow", "report"]
        assert {told(one)["pwhash"] for one in server.asked} == {""}
        assert {told(one)["login"] for one in server.asked} == {"bob@example.org"}

    @asynchronous
    async def test() -> None:
        with HttpServer(lambda asked: GO_ON) as server:
            async with auth_running(
                tmp_path, None, {**policy(server.url), "auth_mechanisms": "plain cram-md5"}
            ) as world:
                await act(world, server)

    test()


def test_attributes_may_be_objects(tmp_path: Path) -> None:
    async def act(world: AuthWorld, server: HttpServer) -> None:
        await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "secret"))
        assert told(server.asked[0]) == {"user": "bob", "attrs": {"a": "imap", "b": {"c": "%"}}, "tls": True}

    run(tmp_path, lambda asked: GO_ON, act, request_attributes="user=%n attrs/a=%s attrs/b/c=%%")


BAD_ANSWERS = {
    "500": (500, b'{"status": 0}'),
    "302": (302, b""),
    "not JSON": (200, b"go away"),
    "no object": (200, b"[0]"),
    "no status": (200, b"{}"),
    "a status that is no number": (200, b'{"status": "0"}'),
    "true": (200, b'{"status": true}'),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
@pytest.mark.parametrize("rejects", ["no", "yes"])
def test_what_it_says_makes_no_sense(tmp_path: Path, name: str, rejects: str) -> None:
    async def act(world: AuthWorld, server: HttpServer) -> None:
        answer = await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "secret"))
        if rejects == "yes":
            assert isinstance(answer, AuthFailure)
            assert answer.temporary
        else:
            assert isinstance(answer, AuthSuccess)
        assert any("policy server" in line for line in world.log())

    run(tmp_path, lambda asked: BAD_ANSWERS[name], act, reject_on_fail=rejects)


@pytest.mark.parametrize("rejects", ["no", "yes"])
def test_it_is_away_or_slow(tmp_path: Path, rejects: str) -> None:
    @asynchronous
    async def test() -> None:
        with HttpServer(lambda asked: GO_ON) as gone:
            url = gone.url

        def slow(asked: Asked) -> Said:
            time.sleep(0.5)
            return GO_ON

        with HttpServer(slow) as server:
            for name, place in (("a", url), ("b", server.url)):
                (tmp_path / name).mkdir()
                values = policy(place, reject_on_fail=rejects, server_timeout_msecs="100")
                async with auth_running(tmp_path / name, None, values) as world:
                    answer = await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "secret"))
                    assert isinstance(answer, AuthFailure if rejects == "yes" else AuthSuccess)
                    assert rejects == "no" or answer.temporary  # type: ignore[union-attr]
                    # A wrong password is wrong, whoever is away.
                    wrong = await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "x"))
                    assert isinstance(wrong, AuthFailure)

    test()


def test_settings_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    @asynchronous
    async def test() -> None:
        for number, more in enumerate(
            (
                {"server_url": "weakforced:8084"},
                {"request_attributes": "a=%{nothing}"},
                {"request_attributes": "a=b a/c=d"},
            )
        ):
            directory = tmp_path / str(number)
            directory.mkdir()
            async with auth_running(directory, None, policy("http://127.0.0.1:1", **more)) as world:
                assert any("the policy server is not asked" in line for line in world.log()), more
                answer = await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "secret"))
                assert isinstance(answer, AuthSuccess)
        strict = tmp_path / "strict"
        strict.mkdir()
        async with auth_running(strict, None, policy("", server_url="x", reject_on_fail="yes")) as world:
            answer = await world.peer(AUTH_LOGIN, "login").call(plain("bob@example.org", "secret"))
            assert isinstance(answer, AuthFailure)
            assert answer.temporary

    test()


@pytest.mark.foreign
def test_a_jailed_auth_asks_it(new_sandbox: Callable[..., RunningSystem]) -> None:
    def answer(asked: Asked) -> Said:
        return REFUSE if told(asked)["login"].startswith("mallory") else GO_ON

    with HttpServer(answer) as server:
        values = {**policy(server.url), "disable_plaintext_auth": "no"}
        system = new_sandbox(
            *(f"dovecot/{name}={value}" for name, value in values.items()),
            users={"bob": "secret", "mallory": "secret"},
        )
        for user, is_right in (("bob@example.test", True), ("mallory@example.test", False)):
            with imaplib.IMAP4(*system.endpoint("imap"), timeout=20) as client:
                if is_right:
                    assert client.login(user, "secret")[0] == "OK"
                else:
                    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
                        client.login(user, "secret")
        assert {told(one)["protocol"] for one in server.asked} == {"imap"}
        assert told(server.asked[-1])["policy_reject"] is True
