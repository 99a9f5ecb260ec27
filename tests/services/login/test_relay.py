"""TLS sessions after login: everything arrives, and nobody's slowness fills our memory."""

import asyncio
import resource
import ssl
from pathlib import Path

from tests.services.auth.world import until

from .world import Client, LoginWorld, open_descriptors, run


async def logged_in(world: LoginWorld) -> Client:
    client = await Client.connect(world.ports["imaps"], context=world.tls_context())
    await client.line()
    assert (await client.ask(b"a LOGIN bob@example.org secret\r\n")).startswith(b"a OK")
    return client


def test_megabytes_pass_in_both_directions(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await logged_in(world)
        client.send(b"BIG 5000000\r\n")
        assert len(await client.line(20)) == 5_000_002
        world.swallows = True
        before = world.received
        client.send(b"y" * 5_000_000)
        await until(lambda: world.received - before == 5_000_000, 20)
        client.close()

    run(scene, tmp_path)


def test_what_the_client_sent_behind_the_login_inside_tls_arrives(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imaps"], context=world.tls_context())
        await client.line()
        client.send(b"a LOGIN bob@example.org secret\r\n" + b"".join(b"line %d\r\n" % n for n in range(500)))
        assert (await client.line()).startswith(b"a OK")
        for number in range(500):
            assert await client.line() == b"echo line %d\r\n" % number
        client.close()

    run(scene, tmp_path)


def test_a_client_that_does_not_read_stops_the_mailbox_and_not_the_memory(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await logged_in(world)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"BIG 50000000\r\n")
        (session,) = world.sessions
        await until(lambda: session.transport.get_write_buffer_size() > 0)
        await asyncio.sleep(0.3)
        # What the relay and the sockets hold is far less than what waits in the sender.
        assert session.transport.get_write_buffer_size() > 40_000_000
        (connection,) = world.process._door.relays
        assert connection._transport.get_write_buffer_size() < 2_000_000
        client.close()
        await until(lambda: not world.process._door.relays)

    run(scene, tmp_path)


def test_a_mailbox_that_does_not_read_stops_the_client(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await logged_in(world)
        (session,) = world.sessions
        session.transport.pause_reading()
        client.send(b"z" * 20_000_000)
        (connection,) = world.process._door.relays
        relay = connection._relay
        assert relay is not None
        await until(lambda: not relay._is_reading_client)
        assert len(relay._to_mailbox) < 2_000_000
        world.swallows = True
        before = world.received
        session.transport.resume_reading()
        await until(lambda: world.received - before == 20_000_000, 20)
        client.close()

    run(scene, tmp_path)


def test_the_end_of_a_session_ends_the_connection_and_frees_its_descriptors(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await logged_in(world)
        client.close()
        await until(lambda: not world.process._door.relays)
        before = open_descriptors()
        for by_server in (True, False):
            for _ in range(10):
                client = await logged_in(world)
                if by_server:
                    client.send(b"BYE\r\n")
                    assert await client.rest() == b"* BYE\r\n"
                client.close()
            await until(lambda: not world.process._door.relays and not world.sessions)
            await until(lambda: open_descriptors() <= before)

    run(scene, tmp_path)


def test_plain_sessions_leave_no_descriptor_behind(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        async def once() -> None:
            client = await Client.connect(world.ports["imap"])
            await client.line()
            assert (await client.ask(b"a LOGIN bob@example.org secret\r\n")).startswith(b"a OK")
            client.close()

        await once()
        await until(lambda: not world.sessions)
        before = open_descriptors()
        for _ in range(50):
            await once()
        await until(lambda: not world.sessions and open_descriptors() <= before)

    run(scene, tmp_path)


def test_a_client_that_speaks_no_tls_is_logged_and_dropped(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        client = await Client.connect(world.ports["imaps"])
        client.send(b"a LOGIN bob@example.org secret\r\n")
        await client.rest()
        await until(lambda: bool(world.lines))
        assert world.log()[0].startswith("imap-login: Disconnected: Connection closed: SSL_accept() failed: ")
        assert ": user=<>, rip=127.0.0.1, lip=127.0.0.1, TLS handshaking, session=<" in world.log()[0]
        assert not world.process._door.connections
        client.close()

    run(scene, tmp_path)


def test_old_tls_versions_are_refused(tmp_path: Path) -> None:
    async def scene(world: LoginWorld) -> None:
        context = world.tls_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            await Client.connect(world.ports["imaps"], context=context)
        except (ssl.SSLError, ConnectionError):
            return
        raise AssertionError("TLS 1.2 was accepted")

    run(scene, tmp_path, dovecot={"ssl_min_protocol": "TLSv1.3"})


def test_a_thousand_silent_connections_disturb_nobody(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))

    async def scene(world: LoginWorld) -> None:
        door = world.process._door
        silent = []
        for number in range(1000):
            name = "imaps" if number % 4 == 0 else "imap"
            silent.append(await asyncio.open_connection("127.0.0.1", world.ports[name]))
        await until(lambda: len(door.connections) == 900)
        client = await Client.connect(world.ports["imap"])
        await client.line()
        assert (await client.ask(b"a LOGIN bob@example.org secret\r\n")).startswith(b"a OK")
        client.close()
        # The oldest made room, and were told so.
        oldest = await silent[1][0].read()
        assert oldest.startswith(b"* OK")
        assert oldest.endswith(b"* BYE Connection queue full\r\n")
        assert len([line for line in world.log() if "Connection queue full (no auth attempts in" in line]) == 101
        for _, writer in silent:
            writer.transport.abort()
        await until(lambda: not door.connections)

    try:
        run(scene, tmp_path, dovecot={"login_max_connections": "900"})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
