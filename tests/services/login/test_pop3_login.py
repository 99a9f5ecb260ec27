"""The login process as a POP3 client sees it."""

import base64
from pathlib import Path

from posthouse.core.reply import Reply
from tests.services.auth.world import until

from .world import Client, LoginWorld, run


async def answer_lines(client: Client) -> list[bytes]:
    lines = []
    while (line := await client.line()) != b".\r\n":
        lines.append(line.rstrip())
    return lines


def test_user_and_pass_hand_the_connection_over(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["pop3"])
        assert await client.line() == b"+OK Posthouse ready.\r\n"
        client.send(b"USER bob@example.org\r\nPASS secret\r\nSTAT\r\n")
        assert await client.line() == b"+OK\r\n"
        assert await client.line() == b"+OK Logged in.\r\n"
        assert await client.line() == b"echo STAT\r\n"
        await until(lambda: bool(world.lines))
        assert world.log()[0].startswith(
            "pop3-login: Login: user=<bob@example.org>, method=PLAIN, rip=127.0.0.1, lip=127.0.0.1, mpid=4711, secured"
        )
        client.close()

    run(scene, tmp_path)


def test_stls_then_auth_plain(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["pop3"], host="127.0.0.2")
        await client.line()
        client.send(b"CAPA\r\n")
        lines = await answer_lines(client)
        assert b"STLS" in lines
        assert b"USER" not in lines
        assert not any(line.startswith(b"SASL") for line in lines)
        assert (await client.ask(b"USER bob@example.org\r\n")).startswith(b"-ERR [AUTH] Plaintext")
        assert await client.ask(b"STLS\r\nCAPA\r\n") == b"+OK Begin TLS negotiation now.\r\n"
        await client.start_tls(world.tls_context())
        client.send(b"CAPA\r\n")
        lines = await answer_lines(client)
        assert b"STLS" not in lines
        assert b"SASL PLAIN LOGIN" in lines
        right = base64.b64encode(b"\0bob@example.org\0secret")
        assert await client.ask(b"AUTH PLAIN " + right + b"\r\n") == b"+OK Logged in.\r\n"
        assert await client.ask(b"LIST\r\n") == b"echo LIST\r\n"
        client.close()

    run(scene, tmp_path)


def test_failures_are_told_with_their_response_codes(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["pop3"])
        await client.line()
        assert await client.ask(b"PASS x\r\n") == b"-ERR No username given.\r\n"
        assert await client.ask(b"USER eve@example.org\r\n") == b"+OK\r\n"
        assert await client.ask(b"PASS secret\r\n") == b"-ERR [AUTH] This account is disabled.\r\n"
        assert await client.ask(b"USER bob@example.org\r\n") == b"+OK\r\n"
        assert await client.ask(b"PASS  secret\r\n") == b"-ERR [AUTH] Authentication failed.\r\n"
        world.refuse_with = Reply.of(421, "4.7.0", "Too many sessions")
        assert await client.ask(b"USER bob@example.org\r\n") == b"+OK\r\n"
        client.send(b"PASS secret\r\n")
        assert await client.rest() == b"-ERR [IN-USE] Too many sessions\r\n"
        client.close()
        await until(lambda: bool(world.lines))
        assert "pop3-login: Disconnected: Too many sessions (" in world.log()[0]

    run(scene, tmp_path)


def test_quit_before_login(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["pop3s"], context=world.tls_context())
        assert await client.line() == b"+OK Posthouse ready.\r\n"
        assert await client.ask(b"NOOP\r\n") == b"+OK\r\n"
        client.send(b"QUIT\r\n")
        assert await client.rest() == b"+OK Logging out\r\n"
        await until(lambda: bool(world.lines))
        assert "Aborted login by logging out (no auth attempts in 0 secs): user=<>, rip=127.0.0.1" in world.log()[0]
        assert ", TLS, session=<" in world.log()[0]
        client.close()

    run(scene, tmp_path)
