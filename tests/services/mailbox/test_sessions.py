import asyncio
from collections.abc import Callable

import pytest

from posthouse.core.reply import PermFail, TempFail
from tests.services.mailbox.conftest import House

Drive = Callable[..., House]


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> list[bytes]:
    """One IMAP command; the answers up to the tagged one."""
    writer.write(line + b"\r\n")
    return await answers(reader, line.split()[0])


async def answers(reader: asyncio.StreamReader, tag: bytes) -> list[bytes]:
    lines: list[bytes] = []
    async with asyncio.timeout(30):
        while not lines or not lines[-1].startswith(tag + b" "):
            line = await reader.readline()
            assert line, lines
            lines.append(line.rstrip(b"\r\n"))
    return lines


async def read(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readline(), 30)


async def until(reader: asyncio.StreamReader, wanted: bytes) -> None:
    seen: list[bytes] = []
    while not seen or seen[-1] != wanted:
        seen.append(await read(reader))
        assert seen[-1], seen


def test_login_is_answered_by_the_session_and_delivered_mail_is_read(drive: Drive) -> None:
    async def test(house: House) -> None:
        await house.deliver(house.job())
        reader, writer = await house.hand_over(tag="x7")
        greeting = await read(reader)
        assert greeting.startswith(b"x7 OK [CAPABILITY IMAP4rev1 ")
        selected = await ask(reader, writer, b"a SELECT INBOX")
        assert b"* 1 EXISTS" in selected
        assert b"* 1 RECENT" in selected
        fetched = await ask(reader, writer, b"b FETCH 1 (RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        assert b"Subject: hello" in fetched
        assert (await ask(reader, writer, b"c LOGOUT"))[0].startswith(b"* BYE")
        writer.close()
        await writer.wait_closed()

    house = drive(test)
    (line,) = [one for one in house.lines if "Disconnected" in one.text()]
    assert line.text().startswith("Disconnected: Logged out in=")
    assert line.service.startswith("imap(bob@example.net)<")  # type: ignore[attr-defined]
    assert line.service.endswith("><Sess1>")  # type: ignore[attr-defined]


def test_commands_behind_the_login_are_not_lost(drive: Drive) -> None:
    async def test(house: House) -> None:
        reader, writer = await house.hand_over(tag="a", unread=b"b STATUS INBOX (MESSAGES)\r\n")
        assert (await read(reader)).startswith(b"a OK ")
        assert await read(reader) == b"* STATUS INBOX (MESSAGES 0)\r\n"
        writer.close()

    drive(test)


def test_a_waiting_session_hears_of_a_delivery_at_once(drive: Drive) -> None:
    async def test(house: House) -> None:
        reader, writer = await house.hand_over()
        await read(reader)
        await ask(reader, writer, b"a SELECT INBOX")
        writer.write(b"b IDLE\r\n")
        assert (await read(reader)).startswith(b"+")
        await house.deliver(house.job())
        await until(reader, b"* 1 EXISTS\r\n")
        # A foreign program delivers too.
        maildir = house.maildir()
        (maildir / "tmp/1.foreign").write_bytes(b"Subject: x\n\nbody\n")
        (maildir / "tmp/1.foreign").rename(maildir / "new/1.foreign")
        await until(reader, b"* 2 EXISTS\r\n")
        writer.write(b"DONE\r\n")
        await answers(reader, b"b")
        writer.close()

    drive(test)


def test_pop3_sees_the_same_mail(drive: Drive) -> None:
    async def test(house: House) -> None:
        await house.deliver(house.job())
        reader, writer = await house.hand_over("pop3", tag="")
        assert (await read(reader)).startswith(b"+OK")
        writer.write(b"STAT\r\n")
        assert (await read(reader)).startswith(b"+OK 1 ")
        writer.write(b"DELE 1\r\nQUIT\r\n")
        assert (await read(reader)).startswith(b"+OK")
        assert (await read(reader)).startswith(b"+OK")
        assert await read(reader) == b""
        writer.close()
        assert house.files() == []
        # The queue has not retired it: it does not come back.
        await house.deliver(house.job(maybe_delivered=True))
        assert house.files() == []

    drive(test)


def test_a_bad_ticket_opens_nothing(drive: Drive) -> None:
    async def test(house: House) -> None:
        with pytest.raises(PermFail):
            await house.hand_over_ticket(b"forged")
        reader, writer = await house.hand_over()
        await read(reader)
        with pytest.raises(PermFail):
            await house.hand_over_ticket(b"ticket")
        writer.close()

    drive(test)


def test_a_user_cannot_have_more_sessions_than_allowed_from_one_address(drive: Drive) -> None:
    async def test(house: House) -> None:
        first = await house.hand_over()
        second = await house.hand_over()
        with pytest.raises(TempFail, match="mail_max_userip_connections=2"):
            await house.hand_over()
        pop3 = await house.hand_over("pop3")
        first[1].close()
        await first[1].wait_closed()
        while not any("Disconnected" in text for text in house.log()):
            await asyncio.sleep(0.01)
        again = await house.hand_over()
        for _, writer in (second, pop3, again):
            writer.close()

    drive(test, dovecot={"mail_max_userip_connections": "2"})


def test_while_auth_is_away_the_client_stays_with_login(drive: Drive) -> None:
    async def test(house: House) -> None:
        house.auth_down = True
        with pytest.raises(TempFail):
            await house.hand_over()

    drive(test)


def test_a_drain_says_goodbye_and_waits(drive: Drive) -> None:
    async def test(house: House) -> None:
        reader, writer = await house.hand_over()
        await read(reader)
        draining = asyncio.create_task(house.process.drain())
        assert await read(reader) == b"* BYE Server shutting down.\r\n"
        assert await read(reader) == b""
        writer.close()
        await asyncio.wait_for(draining, 5)
        with pytest.raises(TempFail):
            await house.hand_over()

    drive(test)


def test_uids_survive_a_restart_of_the_process(drive: Drive) -> None:
    seen: list[list[bytes]] = []

    async def test(house: House) -> None:
        await house.deliver(house.job(number=len(seen) + 1))
        reader, writer = await house.hand_over()
        await read(reader)
        selected = await ask(reader, writer, b"a SELECT INBOX")
        seen.append([line for line in selected if b"UIDVALIDITY" in line])
        seen[-1] += (await ask(reader, writer, b"b FETCH 1 (UID)"))[:1]
        await ask(reader, writer, b"c LOGOUT")
        writer.close()

    drive(test)
    drive(test)
    assert seen[0] == seen[1]


def test_login_cannot_open_a_session_of_doveadm(drive: Drive) -> None:
    """That is for root's socket, whatever ticket it has."""

    async def scene(house: House) -> None:
        async with house.open():
            with pytest.raises(TempFail):
                await house.hand_over("doveadm", tag="")

    drive(scene)
