"""The login process as an IMAP client sees it."""

import asyncio
import base64
from pathlib import Path

from posthouse.core.reply import Reply
from tests.services.auth.world import until

from .world import Client, LoginWorld, run

RIGHT = base64.b64encode(b"\0bob@example.org\0secret")


def test_login_hands_the_socket_over_with_what_was_sent_behind_it(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imap"])
        assert (await client.line()).startswith(b"* OK [CAPABILITY IMAP4rev1 SASL-IR")
        client.send(b'a1 LOGIN bob@example.org "secret"\r\nfirst\r\nsecond\r\n')
        assert await client.line() == b"a1 OK Logged in as bob@example.org\r\n"
        assert await client.line() == b"echo first\r\n"
        assert await client.line() == b"echo second\r\n"
        assert await client.ask(b"third\r\n") == b"echo third\r\n"
        assert await client.ask(b"BYE\r\n") == b"* BYE\r\n"
        assert await client.rest() == b""
        await until(lambda: bool(world.lines) and not world.process._door.connections)
        (line,) = world.log()
        session = world.handovers[0].session
        assert line == (
            "imap-login: Login: user=<bob@example.org>, method=PLAIN, rip=127.0.0.1, lip=127.0.0.1, mpid=4711, "
            f"secured, session=<{session}>"
        )
        client.close()

    run(scene, tmp_path)


def test_authenticate_with_and_without_initial_response(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        for dialogue in (
            [(b"a AUTHENTICATE PLAIN " + RIGHT, b"a OK Logged in as bob@example.org")],
            [(b"a AUTHENTICATE PLAIN", b"+ "), (RIGHT, b"a OK Logged in as bob@example.org")],
            [
                (b"a authenticate login", b"+ VXNlcm5hbWU6"),
                (base64.b64encode(b"bob@example.org"), b"+ UGFzc3dvcmQ6"),
                (base64.b64encode(b"secret"), b"a OK Logged in as bob@example.org"),
            ],
            [
                (b"a LOGIN {15}", b"+ OK"),
                (b"bob@example.org {6+}\r\nsecret", b"a OK Logged in as bob@example.org"),
            ],
        ):
            client = await Client.connect(world.ports["imap"])
            await client.line()
            for said, answer in dialogue:
                assert await client.ask(said + b"\r\n") == answer + b"\r\n"
            client.close()

    run(scene, tmp_path)


def test_a_wrong_password_is_told_late_and_logged_for_fail2ban(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imap"])
        await client.line()
        answer = await client.ask(b"a LOGIN bob@example.org wrong\r\n")
        assert answer == b"a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"
        answer = await client.ask(b"b LOGIN bob@example.org secret\r\n")
        assert answer == b"b OK Logged in as bob@example.org\r\n"
        client.close()
        client = await Client.connect(world.ports["imap"])
        await client.line()
        await client.ask(b"a LOGIN <bob> wrong\r\n")
        client.close()
        await until(lambda: len(world.lines) == 2)
        line = world.log()[1]
        assert line.startswith(
            "imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 0 secs): user=<?bob?>, "
            "method=PLAIN, rip=127.0.0.1, lip=127.0.0.1, secured, session=<"
        )

    run(scene, tmp_path)


def test_a_connection_without_login_is_logged(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imap"])
        await client.line()
        client.send(b"a LOGOUT\r\n")
        assert await client.rest() == b"* BYE Logging out\r\na OK Logout completed.\r\n"
        (line,) = world.log()
        assert line.startswith(
            "imap-login: Disconnected: Aborted login by logging out (no auth attempts in 0 secs): user=<>, rip=127."
        )
        client.close()

    run(scene, tmp_path)


def test_starttls_discards_what_was_sent_before_it(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imap"], host="127.0.0.2")
        greeting = await client.line()
        assert b"STARTTLS LOGINDISABLED]" in greeting
        # Both in one segment: the injected command must be neither answered nor carried out inside TLS.
        assert await client.ask(b"a STARTTLS\r\nx CAPABILITY\r\n") == b"a OK Begin TLS negotiation now.\r\n"
        await client.start_tls(world.tls_context())
        answer = await client.ask(b"b CAPABILITY\r\n")
        assert answer.startswith(b"* CAPABILITY")
        assert b"STARTTLS" not in answer
        assert b"AUTH=PLAIN" in answer
        assert (await client.line()).startswith(b"b OK")
        assert await client.ask(b"c LOGIN bob@example.org secret\r\n") == b"c OK Logged in as bob@example.org\r\n"
        assert await client.ask(b"hello\r\n") == b"echo hello\r\n"
        await until(lambda: bool(world.lines))
        assert ", TLS, session=<" in world.log()[0]
        client.close()
        await until(lambda: not world.sessions and not world.process._door.relays)

    run(scene, tmp_path)


def test_passwords_are_refused_on_an_open_connection(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imap"], host="127.0.0.2")
        await client.line()
        assert (await client.ask(b"a LOGIN bob@example.org secret\r\n")).startswith(b"* BAD [ALERT] Plaintext")
        assert (await client.line()).startswith(b"a NO [PRIVACYREQUIRED]")
        assert (await client.ask(b"b AUTHENTICATE PLAIN " + RIGHT + b"\r\n")).startswith(b"b NO [PRIVACYREQUIRED]")
        client.close()
        await until(lambda: bool(world.lines))
        assert "(tried to use disallowed plaintext auth): user=<bob@example.org>, method=PLAIN, rip=" in world.log()[0]

    run(scene, tmp_path)


def test_trusted_networks_and_a_setting_allow_plaintext(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imap"], host="127.0.0.2")
        assert b"LOGINDISABLED" not in await client.line()
        assert (await client.ask(b"a LOGIN bob@example.org secret\r\n")).startswith(b"a OK")
        client.close()

    run(scene, tmp_path / "a", dovecot={"login_trusted_networks": "127.0.0.0/8"})
    run(scene, tmp_path / "b", dovecot={"disable_plaintext_auth": "no"})


def test_a_mailbox_that_cannot_take_the_session_is_told_and_logged(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        for port, context in (("imap", None), ("imaps", world.tls_context())):
            world.refuse_with = Reply.of(451, "4.3.0", "no")
            client = await Client.connect(world.ports[port], context=context)
            await client.line()
            client.send(b"a LOGIN bob@example.org secret\r\n")
            assert (await client.rest()).startswith(b"a NO [UNAVAILABLE] Internal login failure.")
            assert "Internal login failure (internal failure, 1 successful auths): user=<bob@" in world.log()[-1]
            client.close()
            world.refuse_with = Reply.of(421, "4.7.0", "Maximum number of connections (mail_max_userip_connections=10)")
            client = await Client.connect(world.ports[port], context=context)
            await client.line()
            client.send(b"a LOGIN bob@example.org secret\r\n")
            assert (await client.rest()).startswith(b"a NO [LIMIT] Maximum number of connections (mail_max")
            client.close()

    run(scene, tmp_path)


def test_auth_away_is_a_temporary_failure(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imap"])
        await client.line()
        world.auth.directory._rows("ALTER TABLE accounts RENAME TO gone")
        assert (await client.ask(b"a LOGIN bob@example.org secret\r\n")).startswith(b"a NO [UNAVAILABLE]")
        world.auth.directory._rows("ALTER TABLE gone RENAME TO accounts")
        assert (await client.ask(b"b LOGIN bob@example.org secret\r\n")).startswith(b"b OK")
        client.close()

    run(scene, tmp_path)


def test_a_command_behind_a_failed_login_is_answered_after_it(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imap"])
        await client.line()
        client.send(b"a LOGIN bob@example.org wrong\r\nb NOOP\r\nc LOGIN bob@example.org secret\r\nd x\r\n")
        assert (await client.line()).startswith(b"a NO")
        assert (await client.line()).startswith(b"b OK")
        assert (await client.line()).startswith(b"c OK")
        assert await client.line() == b"echo d x\r\n"
        client.close()

    run(scene, tmp_path)


def test_a_client_that_leaves_while_auth_thinks_disturbs_nobody(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        for _ in range(20):
            client = await Client.connect(world.ports["imap"])
            client.send(b"a LOGIN bob@example.org wrong\r\n")
            await client.line()
            client.close()
        client = await Client.connect(world.ports["imap"])
        await client.line()
        assert (await client.ask(b"a LOGIN bob@example.org secret\r\n")).startswith(b"a OK")
        client.close()
        await until(lambda: len(world.lines) == 21)
        assert "panic" not in "".join(world.log())

    run(scene, tmp_path, dovecot={"auth_failure_delay": "1 secs"})


def test_http_is_not_spoken_here(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imap"])
        await client.line()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\na LOGIN bob@example.org secret\r\n")
        assert await client.rest() == b"* BYE This is not a web server.\r\n"
        client.close()

    run(scene, tmp_path)


def test_the_pre_login_time_limit_ends_silent_connections(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imap"])
        await client.line()
        await client.ask(b"a AUTHENTICATE LOGIN\r\n")
        world.auth.clock.offset_s += 181
        world.process._door._sweep()
        assert await client.rest() == b"* BYE Disconnected for inactivity during authentication.\r\n"
        assert "Inactivity during authentication (client didn't finish SASL auth, waited 181 secs)" in world.log()[0]
        client.close()

    run(scene, tmp_path)


def test_draining_serves_those_who_are_here_and_nobody_new(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imaps"], context=world.tls_context())
        await client.line()
        assert (await client.ask(b"a LOGIN bob@example.org secret\r\n")).startswith(b"a OK")
        other = await Client.connect(world.ports["imap"])
        await other.line()
        drained = asyncio.ensure_future(world.process.drain())
        await asyncio.sleep(0.05)
        assert await client.ask(b"still here\r\n") == b"echo still here\r\n"
        assert (await other.ask(b"a LOGIN bob@example.org secret\r\n")).startswith(b"a OK")
        assert not drained.done()
        client.close()
        async with asyncio.timeout(5):
            await drained
        other.close()

    run(scene, tmp_path)
