"""Connections used again, given up, and tried elsewhere."""

import asyncio
from collections.abc import Callable

from posthouse.config.configuration import MasterEntry
from posthouse.core.result import DeliveryStatus
from tests.services.smtp.conftest import Desk
from tests.services.smtp.peers import Scripted, Server, free_port, server, usual

MakeDesk = Callable[..., Desk]
SENT, DEFERRED, BOUNCED = DeliveryStatus.SENT, DeliveryStatus.DEFERRED, DeliveryStatus.BOUNCED


def test_one_message_says_goodbye_at_once(desk: MakeDesk) -> None:
    place = desk()
    peer = server()

    async def test() -> None:
        port = await peer.listen()
        await place.deliver(f"[127.0.0.1]:{port}")
        while peer.open:
            await asyncio.sleep(0.01)
        await peer.close()

    place.drive(test)
    assert peer.commands[-1] == "QUIT"


def test_a_stream_of_messages_shares_connections(desk: MakeDesk) -> None:
    place = desk()
    peer = server()

    async def test() -> None:
        port = await peer.listen()
        for _ in range(10):
            (result,) = await place.deliver(f"[127.0.0.1]:{port}")
            assert result.status is SENT
        assert peer.connections == 2
        await asyncio.gather(*(place.deliver(f"[127.0.0.1]:{port}") for _ in range(5)))
        assert peer.connections <= 7
        await peer.close()

    place.drive(test)
    assert len(peer.messages) == 15


def test_without_the_cache_every_message_has_its_own_connection(desk: MakeDesk) -> None:
    place = desk(smtp_connection_cache_on_demand="no")
    peer = server()

    async def test() -> None:
        port = await peer.listen()
        for _ in range(3):
            await place.deliver(f"[127.0.0.1]:{port}")
        assert peer.connections == 3
        await peer.close()

    place.drive(test)


def test_a_connection_is_used_for_so_many_messages_and_so_long_idle(desk: MakeDesk) -> None:
    port = free_port()
    place = desk(
        smtp_connection_reuse_count_limit="2",
        smtp_connection_cache_time_limit="1s",
        smtp_connection_cache_on_demand="no",
        smtp_connection_cache_destinations=f"[127.0.0.1]:{port}",
    )
    peer = server()

    async def test() -> None:
        await peer.listen(port=port)
        for _ in range(4):
            await place.deliver(f"[127.0.0.1]:{port}")
        assert peer.connections == 2
        await place.deliver(f"[127.0.0.1]:{port}")
        assert len(peer.open) == 1
        for _ in range(300):
            if not peer.open:
                break
            await asyncio.sleep(0.01)
        assert not peer.open
        await peer.close()

    place.drive(test)


def test_a_connection_that_died_while_idle_costs_nothing(desk: MakeDesk) -> None:
    place = desk()
    peer = server()

    async def test() -> None:
        port = await peer.listen()
        for _ in range(2):
            await place.deliver(f"[127.0.0.1]:{port}")
        for one in peer.open:
            one.transport.abort()
        (result,) = await place.deliver(f"[127.0.0.1]:{port}")
        assert result.status is SENT
        await peer.close()

    place.drive(test)
    assert all("lost connection" not in line for line in place.log())


def test_a_server_that_says_421_to_an_idle_connection_is_not_asked_there_again(desk: MakeDesk) -> None:
    place = desk()
    peer = server()

    async def test() -> None:
        port = await peer.listen()
        for _ in range(2):
            await place.deliver(f"[127.0.0.1]:{port}")
        for one in peer.open:
            one.transport.write(b"421 4.4.2 timeout\r\n")
        while peer.open:
            await asyncio.sleep(0.01)
        (result,) = await place.deliver(f"[127.0.0.1]:{port}")
        assert result.status is SENT
        await peer.close()

    place.drive(test)


def test_after_a_refusal_the_connection_serves_the_next_message(desk: MakeDesk) -> None:
    place = desk()

    def script(command: str, connection: Scripted) -> str | None:
        if "bad@" in command:
            return "550 5.1.1 no"
        if command == "DATA" and "bad@" in connection.server.commands[-2]:
            return "554 5.5.1 no valid recipients"
        return usual(command, connection)

    peer = Server(script)

    async def test() -> None:
        port = await peer.listen()
        await place.deliver(f"[127.0.0.1]:{port}")
        await place.deliver(f"[127.0.0.1]:{port}")
        (result,) = await place.deliver(f"[127.0.0.1]:{port}", "bad@y.test")
        assert result.status is BOUNCED
        (result,) = await place.deliver(f"[127.0.0.1]:{port}")
        assert result.status is SENT
        assert peer.connections == 2
        await peer.close()

    place.drive(test)
    assert "RSET" in peer.commands


def test_temporary_failures_are_tried_at_the_fallback_relay_and_refusals_are_not(desk: MakeDesk) -> None:
    first = Server(
        lambda command, connection: (
            "450 4.2.1 not now"
            if "later@" in command
            else "550 5.1.1 never"
            if "never@" in command
            else usual(command, connection)
        )
    )
    second = server()
    fallback = free_port()
    place = desk(smtp_fallback_relay=f"[127.0.0.1]:{fallback}")

    async def test() -> None:
        port = await first.listen()
        await second.listen(port=fallback)
        good, later, never = await place.deliver(f"[127.0.0.1]:{port}", "good@y.test", "later@y.test", "never@y.test")
        assert (good.status, later.status, never.status) == (SENT, SENT, BOUNCED)
        assert later.relay.endswith(f":{fallback}")
        await first.close()
        await second.close()

    place.drive(test)
    assert any("4XYZ1: host 127.0.0.1[127.0.0.1] said: 450 4.2.1 not now" in line for line in place.log())


def test_the_options_of_master_cf_count_for_their_transport(desk: MakeDesk) -> None:
    slow = MasterEntry(
        "slow", "unix", "-", "-", "n", "-", "-", "smtp", (), {"smtp_helo_name": "slow.test"}, "master.cf:1"
    )
    place = desk(slow)
    peer = server()

    async def test() -> None:
        port = await peer.listen()
        await place.deliver(f"[127.0.0.1]:{port}", transport="slow")
        await peer.close()

    place.drive(test)
    assert peer.commands[0] == "EHLO slow.test"


def test_a_bad_nexthop_is_deferred(desk: MakeDesk) -> None:
    place = desk()

    async def test() -> None:
        for nexthop in ("[unclosed", "a b/c", "host:port", "", "unix:/no/such/socket"):
            (result,) = await place.deliver(nexthop)
            assert result.status is DEFERRED, result

    place.drive(test)


def test_a_server_may_refuse_while_the_content_is_on_its_way(desk: MakeDesk) -> None:
    """It answers the content before its end and closes; its words count, not the break."""
    place = desk()

    class Impatient(Scripted):
        def data_received(self, data: bytes) -> None:
            if self.in_data:
                self.transport.write(b"552 5.3.4 too much\r\n")
                self.transport.close()
                return
            super().data_received(data)

    peer = Server(usual)

    async def test() -> None:
        listener = await asyncio.get_running_loop().create_server(lambda: Impatient(peer), "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        (result,) = await place.deliver(f"[127.0.0.1]:{port}", content=b"X: y\r\n\r\n" + b"x\r\n" * 400_000)
        assert (result.status, result.dsn) in ((BOUNCED, "5.3.4"), (DEFERRED, "4.4.2")), result
        listener.close()
        await asyncio.sleep(0.01)

    place.drive(test)
