"""Which hosts are tried, by a real name server."""

import os
from collections.abc import Callable, Iterator

import pytest

from posthouse.core.result import DeliveryStatus
from posthouse.delivery.outbound.hosts import alternating, ordered
from posthouse.runtime.dns import Mx
from tests.runtime.dns_peers import NAMED, named
from tests.services.smtp.conftest import Desk
from tests.services.smtp.peers import free_port, server

MakeDesk = Callable[..., Desk]
SENT, DEFERRED, BOUNCED = DeliveryStatus.SENT, DeliveryStatus.DEFERRED, DeliveryStatus.BOUNCED
ZONE = """
two MX 10 down
two MX 20 up
plain A 127.0.0.3
null MX 0 .
broken MX 10 nowhere
loop MX 10 client.test.
loop MX 20 up
behind MX 5 up
behind MX 10 client.test.
down A 127.0.0.2
up A 127.0.0.3
"""
CLIENT_ZONE = "@ A 127.0.0.9\n"


@pytest.fixture(scope="module")
def name_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not os.path.exists(NAMED):
        if os.environ.get("CI"):
            pytest.fail("named is missing; tests/debian-packages.txt must name its package")
        pytest.skip("named is not installed")
    with named(tmp_path_factory.mktemp("named"), {"zone.test": ZONE, "client.test": CLIENT_ZONE}) as address:
        yield address


@pytest.mark.foreign
def test_the_next_mail_server_is_tried_when_the_best_is_down(desk: MakeDesk, name_server: str) -> None:
    port = free_port(host="127.0.0.3")
    place = desk(dns_servers=name_server, smtp_tcp_port=str(port))
    peer = server()

    async def test() -> None:
        await peer.listen("127.0.0.3", port)
        (result,) = await place.deliver("two.zone.test")
        assert (result.status, result.relay) == (SENT, f"up.zone.test[127.0.0.3]:{port}")
        (result,) = await place.deliver("plain.zone.test")
        assert (result.status, result.relay) == (SENT, f"plain.zone.test[127.0.0.3]:{port}")
        await peer.close()

    place.drive(test)
    assert place.log()[0] == f"smtp: connect to down.zone.test[127.0.0.2]:{port}: Connection refused"


@pytest.mark.foreign
@pytest.mark.parametrize(
    ("domain", "status", "dsn", "words"),
    [
        ("null.zone.test", BOUNCED, "5.1.0", "Domain null.zone.test does not accept mail (nullMX)"),
        (
            "absent.zone.test",
            BOUNCED,
            "5.4.4",
            "Host or domain name not found. Name service error for name=absent.zone.test type=A: Host not found",
        ),
        ("broken.zone.test", BOUNCED, "5.4.4", "no MX host for broken.zone.test has a valid address record"),
        ("not-ours.example", DEFERRED, "4.4.3", "Host not found, try again"),
        ("loop.zone.test", BOUNCED, "5.4.6", "mail for loop.zone.test loops back to myself"),
    ],
)
def test_domains_without_a_usable_server(
    desk: MakeDesk, name_server: str, domain: str, status: DeliveryStatus, dsn: str, words: str
) -> None:
    place = desk(dns_servers=name_server)

    async def test() -> None:
        (result,) = await place.deliver(domain)
        assert (result.status, result.dsn, result.relay) == (status, dsn, "none"), result
        assert words in result.text

    place.drive(test)


@pytest.mark.foreign
def test_a_relayhost_that_does_not_exist_bounces_nobody_s_mail(desk: MakeDesk, name_server: str) -> None:
    place = desk(dns_servers=name_server, relayhost="absent.zone.test")

    async def test() -> None:
        (result,) = await place.deliver("absent.zone.test")
        assert (result.status, result.dsn) == (DEFERRED, "4.4.4")

    place.drive(test)
    assert any("relayhost configuration problem" in line for line in place.log())


@pytest.mark.foreign
def test_better_servers_than_ourselves_are_used(desk: MakeDesk, name_server: str) -> None:
    """On port 25 of 127.0.0.3, where nobody listens: the point is that it was tried."""
    place = desk(dns_servers=name_server)

    async def test() -> None:
        (result,) = await place.deliver("behind.zone.test")
        assert result.status is DEFERRED
        assert "connect to up.zone.test[127.0.0.3]:25" in result.text or "127.0.0.3" in result.relay

    place.drive(test)


def test_preference_decides_and_chance_within_one() -> None:
    servers = [Mx(10, f"a{number}") for number in range(10)] + [Mx(5, "best")]
    orders = {tuple(one.host for one in ordered(servers, randomize=True)) for _ in range(20)}
    assert len(orders) > 1
    assert all(order[0] == "best" for order in orders)
    assert [one.host for one in ordered(servers, randomize=False)][:2] == ["best", "a0"]


def test_protocols_take_turns() -> None:
    addresses = ["1.1.1.1", "1.1.1.2", "::1", "::2"]
    assert alternating(addresses, "ipv4", randomize=False) == ["1.1.1.1", "::1", "1.1.1.2", "::2"]
    assert alternating(addresses, "ipv6", randomize=False) == ["::1", "1.1.1.1", "::2", "1.1.1.2"]
    assert set(alternating(addresses, "any", randomize=True)) == set(addresses)


def test_a_hosts_file_entry_and_a_literal_need_no_name_server(desk: MakeDesk) -> None:
    place = desk()
    peer = server()

    async def test() -> None:
        port = await peer.listen()
        (result,) = await place.deliver(f"localhost:{port}", transport="lmtp")
        assert result.status is SENT
        (result,) = await place.deliver(f"[127.0.0.1]:{port}")
        assert result.status is SENT
        await peer.close()

    place.drive(test)
