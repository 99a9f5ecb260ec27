"""passdb blocks with master = yes: their users log in as others."""

from pathlib import Path

import pytest

from posthouse.runtime.schema import AUTH_LOGIN, AUTH_USERDB, AuthFailure, AuthSuccess, Redeem, UserEntry
from tests.queue.asynchronous import asynchronous
from tests.services.auth.world import auth_running, plain


def chain(directory: Path, **master: str) -> dict[str, str]:
    (directory / "masters").write_text("admin:{PLAIN}master\nother:{PLAIN}other::::::allow_nets=203.0.113.0/24\n")
    return {
        "auth_master_user_separator": "*",
        "auth_verbose": "yes",
        "passdb/1/driver": "passwd-file",
        "passdb/1/args": str(directory / "masters"),
        "passdb/1/master": "yes",
        **{f"passdb/1/{name}": value for name, value in master.items()},
        "passdb/2/driver": "directory",
    }


@pytest.mark.parametrize("passes_on", ["yes", "no"])
def test_a_master_user_opens_the_mailbox_of_another(tmp_path: Path, passes_on: str) -> None:
    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, **{"pass": passes_on})) as world:
            login, mailbox = world.peer(AUTH_LOGIN, "login"), world.peer(AUTH_USERDB, "mailbox")
            for request in (
                plain("Bob@example.org*admin", "master"),
                plain("admin", "master", authzid="bob@example.org"),
            ):
                success = await login.call(request, expect=AuthSuccess)
                assert success.user == "bob@example.org"
                entry = await mailbox.call(Redeem(success.ticket, "imap"), expect=UserEntry)
                assert entry.user == "bob@example.org"
            # A user's own login is what it was.
            assert isinstance(await login.call(plain("bob@example.org", "secret")), AuthSuccess)

    test()


def test_who_is_no_master_or_has_no_such_user_is_refused(tmp_path: Path) -> None:
    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path, **{"pass": "yes"})) as world:
            login = world.peer(AUTH_LOGIN, "login")
            for user, password in (
                ("bob@example.org*admin", "secret"),  # the user's password is not the master's
                ("bob@example.org*bob@example.org", "master"),
                ("nobody@example.org*admin", "master"),
                ("eve@example.org*admin", "master"),  # disabled
                ("bob@example.org*other", "other"),  # the wrong network
                ("admin", "master"),  # a master user has no mailbox of his own
                ("*admin", "master"),
                ("bob@example.org*", "master"),
            ):
                answer = await login.call(plain(user, password), expect=AuthFailure)
                assert not answer.temporary, user
            assert any("allow_nets" in line for line in world.log())

    test()


def test_without_pass_the_userdb_decides_who_exists(tmp_path: Path) -> None:
    @asynchronous
    async def test() -> None:
        async with auth_running(tmp_path, {}, chain(tmp_path)) as world:
            login, mailbox = world.peer(AUTH_LOGIN, "login"), world.peer(AUTH_USERDB, "mailbox")
            success = await login.call(plain("nobody@example.org*admin", "master"), expect=AuthSuccess)
            assert not isinstance(await mailbox.call(Redeem(success.ticket, "imap")), UserEntry)

    test()


def test_without_a_separator_a_star_is_a_character(tmp_path: Path) -> None:
    @asynchronous
    async def test() -> None:
        settings = {**chain(tmp_path), "auth_master_user_separator": ""}
        async with auth_running(tmp_path, {}, settings) as world:
            login = world.peer(AUTH_LOGIN, "login")
            assert isinstance(await login.call(plain("bob@example.org*admin", "master")), AuthFailure)

    test()
