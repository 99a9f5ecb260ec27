"""The admin socket of auth: what doveadm is told, and what it gets for a mailbox."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from posthouse.runtime.schema import (
    AUTH_ADMIN,
    AUTH_USERDB,
    AuthFailure,
    AuthSuccess,
    Changed,
    FlushAuthCache,
    IssueTicket,
    ListUsers,
    LoginEntry,
    LookupLogin,
    LookupUser,
    NoSuchUser,
    Redeem,
    UserEntry,
    UserPage,
)
from tests.services.auth.world import AuthWorld, auth_running, plain


def run(path: Path, scene: Callable[[AuthWorld], Awaitable[None]], dovecot: dict[str, str] | None = None) -> None:
    async def play() -> None:
        async with auth_running(path, {}, dovecot or {}) as world, asyncio.timeout(20):
            await scene(world)

    asyncio.run(play())


def test_a_ticket_of_doveadm_is_good_once_and_for_nothing_else(tmp_path: Path) -> None:
    async def scene(world: AuthWorld) -> None:
        admin, mailbox = world.peer(AUTH_ADMIN, "cli"), world.peer(AUTH_USERDB, "mailbox")
        issued = await admin.call(IssueTicket("Bob@Example.ORG"), expect=AuthSuccess)
        assert issued.user == "bob@example.org"
        assert await mailbox.call(Redeem(issued.ticket, "imap")) == NoSuchUser()
        assert await mailbox.call(Redeem(issued.ticket, "doveadm")) == NoSuchUser()
        issued = await admin.call(IssueTicket("bob@example.org"), expect=AuthSuccess)
        entry = await mailbox.call(Redeem(issued.ticket, "doveadm"), expect=UserEntry)
        assert entry == await admin.call(LookupUser("bob@example.org", "doveadm"))
        assert await mailbox.call(Redeem(issued.ticket, "doveadm")) == NoSuchUser()
        assert await admin.call(IssueTicket("nobody@example.org")) == NoSuchUser()

    run(tmp_path, scene)


def test_a_password_that_is_tried_opens_nothing_and_costs_nothing(tmp_path: Path) -> None:
    async def scene(world: AuthWorld) -> None:
        admin = world.peer(AUTH_ADMIN, "cli")
        for _ in range(5):
            refused = await admin.call(plain("bob@example.org", "wrong"), expect=AuthFailure)
            assert not refused.temporary
        found = await admin.call(plain("bob@example.org", "secret"), expect=AuthSuccess)
        assert (found.user, found.ticket) == ("bob@example.org", b"")
        assert await admin.call(LookupLogin("bob@example.org"), expect=LoginEntry) == LoginEntry("bob@example.org")
        assert await admin.call(LookupLogin("nobody@example.org")) == NoSuchUser()
        assert await admin.call(FlushAuthCache()) == Changed(0)

    # With a penalty the second wrong password would already wait.
    run(tmp_path, scene)


def test_users_come_in_pages(tmp_path: Path) -> None:
    async def scene(world: AuthWorld) -> None:
        admin = world.peer(AUTH_ADMIN, "cli")
        known = (await admin.call(ListUsers(), expect=UserPage)).users
        assert "bob@example.org" in known
        found: list[str] = []
        after = ""
        while True:
            page = await admin.call(ListUsers(after, 1), expect=UserPage)
            assert len(page.users) <= 1
            found += page.users
            after = page.after
            if not after:
                break
        assert tuple(found) == known == tuple(sorted(known))

    run(tmp_path, scene)
