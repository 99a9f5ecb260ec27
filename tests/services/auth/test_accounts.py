"""Logins by the directory: application passwords, disabled domains, what is written about logins, new hashes."""

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from posthouse.auth.schemes import make
from posthouse.runtime.schema import (
    AUTH_LOGIN,
    AUTH_USERDB,
    AuthFailure,
    AuthSuccess,
    NoSuchUser,
    Redeem,
    UserEntry,
)
from tests.queue.asynchronous import asynchronous
from tests.services.auth.world import AuthWorld, auth_running, plain, until

BOB = "bob@example.org"
VERBOSE = {"auth_verbose": "yes"}


async def login(world: AuthWorld, password: str, service: str = "imap", user: str = BOB) -> AuthSuccess | AuthFailure:
    client = "smtpd" if service == "smtp" else "login"
    answer = await world.peer(AUTH_LOGIN, client).call(plain(user, password, service=service))
    assert isinstance(answer, AuthSuccess | AuthFailure)
    return answer


async def refused(world: AuthWorld, password: str, service: str, why: str) -> None:
    answer = await login(world, password, service)
    assert isinstance(answer, AuthFailure)
    assert not answer.temporary
    assert why in world.log()[-1]


def test_an_app_password_opens_what_it_is_for(tmp_path: Path) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {}, VERBOSE) as world:
            _, phone = world.directory.add_app_password(BOB, "phone", services=["imap", "pop3"])
            _, printer = world.directory.add_app_password(BOB, "printer", services=["submission"])
            _, every = world.directory.add_app_password(BOB, "everything")
            for password, service in (
                *((phone, "imap"), (phone.upper().replace("-", " "), "pop3"), (printer, "smtp")),
                *((every, "imap"), (every, "smtp"), ("secret", "imap"), ("secret", "smtp")),
            ):
                answer = await login(world, password, service)
                assert isinstance(answer, AuthSuccess), (password, service)
                assert answer.user == BOB
            await refused(world, phone, "smtp", 'app password "phone" is not for smtp')
            await refused(world, printer, "imap", 'app password "printer" is not for imap')
            await refused(world, "aaaa-bbbb-cccc-dddd", "imap", "Password mismatch")
            world.directory.remove_app_password(BOB, "everything")
            await refused(world, every, "imap", "Password mismatch")
            # It is bob's and nobody else's.
            assert isinstance(await login(world, phone, user="eve@example.org"), AuthFailure)

    test(tmp_path)


def test_a_mailbox_opens_with_the_ticket_of_an_app_password(tmp_path: Path) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory) as world:
            _, password = world.directory.add_app_password(BOB, "phone", services=["imap"])
            answer = await login(world, password)
            assert isinstance(answer, AuthSuccess)
            entry = await world.peer(AUTH_USERDB, "mailbox").call(Redeem(answer.ticket, "imap"))
            assert isinstance(entry, UserEntry)
            assert (entry.user, entry.quota_octets) == (BOB, 1000)

    test(tmp_path)


def test_an_expired_app_password_says_so_in_the_log(tmp_path: Path) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {}, VERBOSE) as world:
            _, password = world.directory.add_app_password(BOB, "guest", expires_s=int(time.time()) + 1000)
            assert isinstance(await login(world, password), AuthSuccess)
            world.directory._rows("UPDATE app_passwords SET expires = ?", (int(time.time()) - 1,))
            await refused(world, password, "imap", 'app password "guest" has expired')

    test(tmp_path)


def test_the_main_password_can_be_barred(tmp_path: Path) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {}, VERBOSE) as world:
            _, password = world.directory.add_app_password(BOB, "phone")
            assert isinstance(await login(world, "secret"), AuthSuccess)
            world.directory.set_app_passwords_only(BOB, True)
            await refused(world, "secret", "imap", "only app passwords")
            await refused(world, "wrong", "imap", "only app passwords")
            assert isinstance(await login(world, password), AuthSuccess)

    test(tmp_path)


@pytest.mark.parametrize("uses_app_password", [False, True])
def test_in_a_disabled_domain_nobody_logs_in_and_mail_goes_on(tmp_path: Path, uses_app_password: bool) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {}, VERBOSE) as world:
            _, password = world.directory.add_app_password(BOB, "phone")
            password = password if uses_app_password else "secret"
            early = await login(world, password)
            assert isinstance(early, AuthSuccess)
            world.directory.set_domain_disabled("example.org", True)
            answer = await login(world, password)
            assert isinstance(answer, AuthFailure)
            assert answer.disabled
            wrong = await login(world, "wrong")
            assert isinstance(wrong, AuthFailure)
            assert not wrong.disabled
            ticket = await world.peer(AUTH_USERDB, "mailbox").call(Redeem(early.ticket, "imap"))
            assert isinstance(ticket, NoSuchUser)
            world.directory.set_domain_disabled("example.org", False)
            assert isinstance(await login(world, password), AuthSuccess)

    test(tmp_path)


def test_logins_are_gathered_and_written_together(tmp_path: Path) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {"auth_last_login_interval": "1"}) as world:
            _, password = world.directory.add_app_password(BOB, "phone")
            before = world.directory._storage.version()
            for _ in range(3):
                await login(world, "secret")
            await login(world, password, "smtp")
            await login(world, "wrong", "pop3")
            assert world.directory._storage.version() == before, "nothing is written at a login"
            await until(lambda: len(world.directory.logins()) == 2)
            assert [one.service for one in world.directory.logins(BOB)] == ["imap", "smtp"]
            assert all(abs(one.at_s - time.time()) < 60 for one in world.directory.logins())
            assert abs(world.directory.app_passwords(BOB)[0].last_used_s - time.time()) < 60

    test(tmp_path)


def test_what_was_gathered_is_written_before_the_process_ends(tmp_path: Path) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {"auth_last_login_interval": "3600"}) as world:
            await login(world, "secret")
        shutil.rmtree(directory / "run")
        async with auth_running(directory, {"auth_last_login_interval": "0"}) as world:
            assert [one.service for one in world.directory.logins()] == ["imap"]
            await login(world, "secret", "pop3")
        shutil.rmtree(directory / "run")
        async with auth_running(directory) as world:
            assert [one.service for one in world.directory.logins()] == ["imap"]

    test(tmp_path)


def test_a_directory_that_cannot_be_written_stops_no_login(tmp_path: Path) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {"auth_last_login_interval": "1"}) as world:
            world.directory._rows("ALTER TABLE logins RENAME TO elsewhere")
            assert isinstance(await login(world, "secret"), AuthSuccess)
            await until(lambda: any("last logins cannot be written" in line for line in world.log()))
            assert isinstance(await login(world, "secret", "pop3"), AuthSuccess)
            world.directory._rows("ALTER TABLE elsewhere RENAME TO logins")
            await until(lambda: [one.service for one in world.directory.logins()] == ["imap", "pop3"])

    test(tmp_path)


WEAK = make("MD5-CRYPT", b"secret")


def stored(world: AuthWorld, user: str = BOB) -> str:
    account = world.directory.account(user)
    assert account is not None
    return account.password


def test_a_weak_hash_becomes_a_better_one_when_that_is_asked_for(tmp_path: Path) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, {"auth_rehash_weak_passwords": "yes"}) as world:
            world.directory.set_password(BOB, WEAK, hashed=True)
            assert isinstance(await login(world, "wrong"), AuthFailure)
            assert isinstance(await login(world, "secret"), AuthSuccess)
            await until(lambda: stored(world).startswith("{ARGON2ID}"))
            new = stored(world)
            assert isinstance(await login(world, "secret"), AuthSuccess)
            assert isinstance(await login(world, "wrong"), AuthFailure)
            assert stored(world) == new

    test(tmp_path)


@pytest.mark.parametrize(
    ("main", "dovecot", "hash_", "password"),
    [
        ({}, {}, WEAK, "secret"),
        ({"auth_rehash_weak_passwords": "yes"}, {"auth_mechanisms": "plain cram-md5"}, "{PLAIN}secret", "secret"),
        ({"auth_rehash_weak_passwords": "yes"}, {}, WEAK, "wrong"),
        ({"auth_rehash_weak_passwords": "yes"}, {}, make("SHA512-CRYPT", b"secret"), "secret"),
    ],
    ids=["not asked for", "another mechanism needs it", "wrong", "strong enough"],
)
def test_a_hash_stays(tmp_path: Path, main: dict[str, str], dovecot: dict[str, str], hash_: str, password: str) -> None:
    @asynchronous
    async def test(directory: Path) -> None:
        async with auth_running(directory, main, dovecot) as world:
            world.directory.set_password(BOB, hash_, hashed=True)
            await login(world, password)
            # The one thread has done what it was asked before this.
            await asyncio.get_running_loop().run_in_executor(world.process._books._thread, int)
            assert stored(world) == hash_

    test(tmp_path)
