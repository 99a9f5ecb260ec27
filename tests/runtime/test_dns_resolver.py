"""The resolver against real and hostile name servers."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.rcode
import dns.rrset
import pytest

from posthouse.runtime.clock import SystemClock
from posthouse.runtime.dns import DnsTempFail, Mx, NoData, NxDomain, Resolver
from posthouse.runtime.dns_config import DnsConfig, Hosts, parse_server
from tests.runtime.dns_peers import NAMED, Scripted, free_port, named, scripted

BIG = "\n".join(f'big TXT "{number:03d} {"x" * 200}"' for number in range(40))
ZONE = f"""
@ MX 20 mx2
@ MX 10 mx1
mx1 A 127.0.0.2
mx2 A 127.0.0.3
mx2 AAAA ::1
null MX 0 .
alias CNAME mx1
bücher-free TXT "one " "two"
{BIG}
""".replace("bücher-free", "text")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    if not os.path.exists(NAMED):
        if os.environ.get("CI"):
            pytest.fail("named is missing; tests/debian-packages.txt must name its package")
        pytest.skip("named is not installed")
    directory: Path = tmp_path_factory.mktemp("named")
    with named(directory, {"zone.test": ZONE}) as address:
        yield parse_server(address)


def resolver(*servers: tuple[str, int], timeout_s: float = 5, attempts: int = 1, cache_limit: int = 100) -> Resolver:
    hosts = Hosts.parse("192.0.2.99 filed.test\n")
    return Resolver(DnsConfig(servers, timeout_s, attempts, cache_limit, hosts), SystemClock())


@pytest.mark.foreign
def test_mail_servers_come_in_order_of_preference(server: tuple[str, int]) -> None:
    found = asyncio.run(resolver(server).mx("zone.test"))
    assert found == [Mx(10, "mx1.zone.test"), Mx(20, "mx2.zone.test")]


@pytest.mark.foreign
def test_the_null_mx_is_an_empty_host(server: tuple[str, int]) -> None:
    assert asyncio.run(resolver(server).mx("null.zone.test")) == [Mx(0, "")]


@pytest.mark.foreign
def test_addresses_of_both_protocols_aliases_and_texts(server: tuple[str, int]) -> None:
    async def test() -> None:
        one = resolver(server)
        assert await one.addresses("mx2.zone.test") == ["127.0.0.3", "::1"]
        assert await one.addresses("mx2.zone.test", versions=(6,)) == ["::1"]
        assert await one.addresses("alias.zone.test.") == ["127.0.0.2"]
        assert await one.txt("text.zone.test") == [b"one two"]

    asyncio.run(test())


@pytest.mark.foreign
def test_no_such_name_and_no_such_record_differ(server: tuple[str, int]) -> None:
    async def test() -> None:
        one = resolver(server)
        with pytest.raises(NxDomain):
            await one.mx("absent.zone.test")
        with pytest.raises(NoData):
            await one.mx("mx1.zone.test")

    asyncio.run(test())


@pytest.mark.foreign
def test_a_long_answer_comes_over_tcp(server: tuple[str, int]) -> None:
    assert len(asyncio.run(resolver(server).txt("big.zone.test"))) == 40


@pytest.mark.foreign
def test_a_refusing_server_decides_nothing(server: tuple[str, int]) -> None:
    with pytest.raises(DnsTempFail):
        asyncio.run(resolver(server).mx("not-ours.example"))


def test_literals_localhost_and_the_hosts_file_need_no_server() -> None:
    async def test() -> None:
        one = resolver(("127.0.0.1", 1), timeout_s=0.1)
        assert await one.addresses("[192.0.2.1]") == ["192.0.2.1"]
        assert await one.addresses("[IPv6:2001:DB8::1]") == ["2001:db8::1"]
        assert await one.addresses("localhost", versions=(4,)) == ["127.0.0.1"]
        assert await one.addresses("Filed.TEST", lookup=("native",)) == ["192.0.2.99"]
        assert await one.addresses("filed.test", lookup=("dns", "native")) == ["192.0.2.99"]
        with pytest.raises(NxDomain):
            await one.addresses("other.test", lookup=("native",))
        with pytest.raises(DnsTempFail):
            await one.addresses("other.test")
        assert await one.ptr("192.0.2.99", lookup=("native",)) == ["filed.test"]

    asyncio.run(test())


def test_what_cannot_be_a_name_does_not_exist() -> None:
    for name in ("a" * 64 + ".test", "a..b", "\udcff.test", ""):
        with pytest.raises((NxDomain, DnsTempFail)):
            asyncio.run(resolver(("127.0.0.1", free_port()), timeout_s=0.05).mx(name))


def answer(query: dns.message.Message, address: str = "192.0.2.1", ttl: int = 60) -> dns.message.Message:
    message = dns.message.make_response(query)
    name = query.question[0].name
    message.answer.append(dns.rrset.from_text(name.to_text(), ttl, "IN", "A", address))
    return message


def test_answers_are_remembered_and_open_questions_shared() -> None:
    async def test() -> None:
        peer: Scripted = await scripted(lambda query: [answer(query).to_wire()])
        one = resolver(peer.server)
        await asyncio.gather(*(one.addresses_of_type("a.test", 4) for _ in range(20)))
        assert await one.addresses_of_type("A.test.", 4) == ["192.0.2.1"]
        assert peer.asked == 1
        await peer.close()

    asyncio.run(test())


def test_the_cache_is_bounded() -> None:
    async def test() -> None:
        peer = await scripted(lambda query: [answer(query).to_wire()])
        one = resolver(peer.server, cache_limit=5)
        for number in range(20):
            await one.addresses_of_type(f"a{number}.test", 4)
        assert len(one._cache) == 5
        await peer.close()

    asyncio.run(test())


def test_a_forged_answer_is_ignored() -> None:
    """Another id, another question, garbage: only the answer to our question counts."""

    def script(query: dns.message.Message) -> list[bytes]:
        wrong_id = answer(query, "192.0.2.66")
        wrong_id.id = query.id ^ 1
        other = dns.message.make_query("other.test", "A")
        other.id = query.id
        return [b"garbage", wrong_id.to_wire(), answer(other, "192.0.2.66").to_wire(), answer(query).to_wire()]

    async def test() -> None:
        peer = await scripted(script)
        assert await resolver(peer.server).addresses_of_type("a.test", 4) == ["192.0.2.1"]
        await peer.close()

    asyncio.run(test())


def test_the_next_server_is_asked_when_one_is_silent_or_broken() -> None:
    def broken(query: dns.message.Message) -> list[bytes]:
        message = dns.message.make_response(query)
        message.set_rcode(dns.rcode.SERVFAIL)
        return [message.to_wire()]

    async def test() -> None:
        silent = await scripted(lambda _: [])
        failing = await scripted(broken)
        good = await scripted(lambda query: [answer(query).to_wire()])
        one = resolver(silent.server, failing.server, good.server, timeout_s=0.1)
        assert await one.addresses_of_type("a.test", 4) == ["192.0.2.1"]
        with pytest.raises(DnsTempFail):
            await resolver(silent.server, failing.server, timeout_s=0.1, attempts=2).addresses_of_type("a.test", 4)
        assert failing.asked == 3
        for peer in (silent, failing, good):
            await peer.close()

    asyncio.run(test())


def test_one_protocol_that_stays_open_is_not_hidden_by_the_other() -> None:
    """A says "none", AAAA says nothing: the host may well have an address, so this is temporary."""

    def script(query: dns.message.Message) -> list[bytes]:
        return [dns.message.make_response(query).to_wire()] if query.question[0].rdtype == 1 else []

    async def test() -> None:
        peer = await scripted(script)
        with pytest.raises(DnsTempFail):
            await resolver(peer.server, timeout_s=0.1).addresses("a.test", lookup=("dns",))
        await peer.close()

    asyncio.run(test())
