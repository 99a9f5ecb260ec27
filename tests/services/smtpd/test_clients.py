"""Who a client is: names that lead back to their address, networks, tables that others keep."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import dns.message
import dns.rcode
import dns.rrset
import pytest

from posthouse.core.logline import LogLine
from posthouse.core.reply import LOCAL_ERROR, TempFail
from posthouse.runtime.clock import SystemClock
from posthouse.runtime.dns import Resolver
from posthouse.runtime.dns_config import DnsConfig
from posthouse.services.smtpd.clients import Client, ClientLists, Clients
from posthouse.services.smtpd.networks import NameList, NetworkList, parse_address

RECORDS = {
    ("5.2.0.192.in-addr.arpa.", "PTR"): "mx.example.org.",
    ("mx.example.org.", "A"): "192.0.2.5",
    ("6.2.0.192.in-addr.arpa.", "PTR"): "liar.example.org.",
    ("liar.example.org.", "A"): "198.51.100.1",
    ("7.2.0.192.in-addr.arpa.", "PTR"): "gone.example.org.",
    ("8.2.0.192.in-addr.arpa.", "PTR"): r"evil\010name.example.org.",
}


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    """A name server that knows RECORDS."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            data, peer = sock.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            response = dns.message.make_response(query)
            question = query.question[0]
            kind = dns.rdatatype.to_text(question.rdtype)
            value = RECORDS.get((question.name.to_text(), kind))
            if value is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
            else:
                response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, value))
            sock.sendto(response.to_wire(), peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield sock.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"", sock.getsockname())
    thread.join(5)
    sock.close()


def lists(
    mynetworks: str = "127.0.0.0/8 192.0.2.0/28", exceptions: str = "", looks_up_names: bool = True
) -> ClientLists:
    return ClientLists(
        NetworkList("mynetworks", mynetworks.split()),
        NetworkList("smtpd_forbid_bare_newline_exclusions", mynetworks.split()),
        NetworkList("smtpd_sasl_exceptions_networks", []),
        NameList("smtpd_client_event_limit_exceptions", exceptions.split()),
        frozenset({"127.0.0.1"}),
        looks_up_names,
    )


def find(server: tuple[str, int], address: str, made: ClientLists, listed: frozenset[str] = frozenset()) -> Client:
    async def run() -> Client:
        async def ask(parameter: str, key: str) -> bool:
            if parameter == "broken":
                raise TempFail(LOCAL_ERROR)
            return key in listed

        resolver = Resolver(DnsConfig((server,), 2.0, 1), SystemClock())
        clients = Clients(made, resolver, SystemClock(), lines.append, ask)
        found = await clients.find(address)
        assert clients.known(address) is found
        return found

    return asyncio.run(run())


lines: list[LogLine] = []


@pytest.mark.parametrize(
    ("address", "name", "reverse_name"),
    [
        ("192.0.2.5", "mx.example.org", "mx.example.org"),
        ("192.0.2.6", "unknown", "liar.example.org"),
        ("192.0.2.7", "unknown", "gone.example.org"),
        ("192.0.2.8", "unknown", "unknown"),
        ("192.0.2.9", "unknown", "unknown"),
    ],
)
def test_a_name_counts_only_if_it_leads_back(
    server: tuple[str, int], address: str, name: str, reverse_name: str
) -> None:
    lines.clear()
    client = find(server, address, lists())
    assert (client.name, client.reverse_name) == (name, reverse_name)
    assert client.shown == f"{name}[{address}]"
    warned = [line.text() for line in lines]
    assert bool(warned) == (name != reverse_name)
    assert all(
        text.startswith(f"warning: hostname {reverse_name} does not resolve to address {address}") for text in warned
    )


def test_loopback_asks_nobody() -> None:
    clients = Clients(lists(), None, SystemClock(), lines.append, None)  # type: ignore[arg-type]
    for address in ("127.0.0.1", "127.1.2.3", "::1"):
        client = clients.known(address)
        assert client is not None
        assert client.name == "localhost"
    assert clients.known("192.0.2.5") is None


def test_without_lookups_nobody_is_asked_about_anybody() -> None:
    clients = Clients(lists(looks_up_names=False), None, SystemClock(), lines.append, None)  # type: ignore[arg-type]
    client = clients.known("192.0.2.5")
    assert client is not None
    assert client.shown == "unknown[192.0.2.5]"
    assert client.is_in_mynetworks
    assert not client.is_own_address


def test_exceptions_may_be_names(server: tuple[str, int]) -> None:
    assert find(server, "192.0.2.5", lists(exceptions=".example.org")).is_exempt
    assert find(server, "192.0.2.5", lists(exceptions="mx.example.org")).is_exempt
    assert not find(server, "192.0.2.6", lists(exceptions="liar.example.org")).is_exempt


def test_tables_in_a_list_are_asked_for_as_a_whole(server: tuple[str, int]) -> None:
    made = lists(mynetworks="127.0.0.0/8 cidr:/etc/networks")
    assert made.is_remote
    assert find(server, "192.0.2.5", made, frozenset({"192.0.2.5"})).is_in_mynetworks
    assert not find(server, "192.0.2.6", made, frozenset({"192.0.2.5"})).is_in_mynetworks


def test_exclamation_marks_and_order_count() -> None:
    networks = NetworkList("mynetworks", ["!192.0.2.7", "192.0.2.0/24", "[2001:db8::]/32"])
    assert networks.matches(parse_address("192.0.2.8"))
    assert not networks.matches(parse_address("192.0.2.7"))
    assert networks.matches(parse_address("2001:db8::1"))
    assert networks.matches(parse_address("::ffff:192.0.2.8"))
    assert not networks.matches(None)


def test_what_is_no_network_is_named_and_matches_nothing() -> None:
    networks = NetworkList("mynetworks", ["10.0.0.1/8"])
    assert networks.problems
    assert not networks.matches(parse_address("10.0.0.1"))
