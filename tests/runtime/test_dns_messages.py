"""Reading what name servers and files say."""

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.runtime.dns import NoData, NxDomain, read_answer, reverse_name
from posthouse.runtime.dns_config import Hosts, parse_server, resolv_conf_servers

NAME = dns.name.from_text("a.example.")
A = dns.rdatatype.A


def response(*lines: tuple[str, int, str, str], rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> dns.message.Message:
    message = dns.message.make_response(dns.message.make_query(NAME, A))
    message.set_rcode(rcode)
    for name, ttl, kind, data in lines:
        message.answer.append(dns.rrset.from_text(name, ttl, "IN", kind, data))
    return message


def test_aliases_are_followed_and_the_shortest_time_counts() -> None:
    answer = read_answer(
        response(("a.example.", 30, "CNAME", "b.example."), ("b.example.", 60, "A", "192.0.2.1")), NAME, A
    )
    assert (answer.records[0].address, answer.ttl_s, answer.canonical_name) == ("192.0.2.1", 30, "b.example")


def test_a_circle_of_aliases_is_no_data() -> None:
    with pytest.raises(NoData):
        read_answer(
            response(("a.example.", 30, "CNAME", "b.example."), ("b.example.", 60, "CNAME", "a.example.")), NAME, A
        )


def test_records_of_other_names_do_not_count() -> None:
    with pytest.raises(NoData):
        read_answer(response(("victim.example.", 30, "A", "192.0.2.66")), NAME, A)


def test_no_name_and_no_record_are_different() -> None:
    with pytest.raises(NxDomain):
        read_answer(response(rcode=dns.rcode.NXDOMAIN), NAME, A)
    with pytest.raises(NoData):
        read_answer(response(), NAME, A)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("::1", ("::1", 53)),
        ("[::1]:5353", ("::1", 5353)),
        ("[::1]", ("::1", 53)),
    ],
)
def test_servers_are_named_with_and_without_a_port(text: str, expected: tuple[str, int]) -> None:
    assert parse_server(text) == expected


def test_resolv_conf_names_servers() -> None:
    text = "# x\nsearch example.com\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver nonsense\n"
    assert resolv_conf_servers(text) == [("192.0.2.1", 53), ("fe80::1", 53)]
    assert resolv_conf_servers("") == [("127.0.0.1", 53)]


def test_the_hosts_file_is_read_both_ways() -> None:
    hosts = Hosts.parse("192.0.2.7 mx.example MX  # comment\n::1 localhost\nnonsense x\n192.0.2.8 mx.example\n")
    assert hosts.addresses["mx.example"] == ("192.0.2.7", "192.0.2.8")
    assert hosts.addresses["mx"] == ("192.0.2.7",)
    assert hosts.names["192.0.2.7"] == "mx.example"
    assert hosts.addresses["localhost"] == ("::1",)


def test_reverse_names() -> None:
    assert reverse_name("192.0.2.1") == "1.2.0.192.in-addr.arpa"
    assert reverse_name("::1").endswith("0.ip6.arpa")


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_no_text_breaks_the_files_parsers(text: str) -> None:
    assert Hosts.parse(text).addresses["localhost"]
    assert resolv_conf_servers(text)
