"""Values from main.cf and from the queue."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthouse.config.parameter import BadValue
from posthouse.core.address import Address
from posthouse.core.identifiers import QueueId
from posthouse.delivery.outbound.destination import Destination
from posthouse.delivery.outbound.job import Job, path_of
from posthouse.runtime.schema import Deliver, JobRecipient
from tests.services.smtp.conftest import CONTENT


@pytest.mark.parametrize(
    ("text", "host", "port", "mx"),
    [
        ("example.com", "example.com", 25, True),
        ("example.com.", "example.com", 25, True),
        ("example.com:587", "example.com", 587, True),
        ("example.com:submission", "example.com", 587, True),
        ("[example.com]", "example.com", 25, False),
        ("[example.com]:smtps", "example.com", 465, False),
        ("[192.0.2.1]:2525", "192.0.2.1", 2525, False),
        ("192.0.2.1", "192.0.2.1", 25, False),
        ("[IPv6:2001:db8::1]", "2001:db8::1", 25, False),
        ("[2001:db8::1]:26", "2001:db8::1", 26, False),
        ("2001:db8::1", "2001:db8::1", 25, False),
        ("inet:mail.example.com:24", "mail.example.com", 24, True),
    ],
)
def test_nexthops(text: str, host: str, port: int, mx: bool) -> None:
    found = Destination.parse(text, 25)
    assert (found.host, found.port, found.mx, found.path, found.text) == (host, port, mx, "", text)


def test_local_sockets() -> None:
    assert Destination.parse("unix:/run/dovecot/lmtp", 24).path == "/run/dovecot/lmtp"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("[]:.a1 /é-\n"), max_size=30))
@example("[::1]]:25")
@example("a:99999999999")
@example("a:²")
def test_no_nexthop_breaks_the_parser(text: str) -> None:
    try:
        found = Destination.parse(text, 25)
    except BadValue:
        return
    assert found.path or (found.host and 0 < found.port < 65536)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        (Address("u", "example.com"), "u@example.com"),
        (Address("two words", "example.com"), '"two words"@example.com'),
        (Address("u", "bücher.example"), "u@xn--bcher-kva.example"),
        (Address("ü", "bücher.example"), "ü@bücher.example"),
        (None, ""),
    ],
)
def test_paths(address: Address | None, path: str) -> None:
    assert path_of(address) == path


@pytest.mark.parametrize(
    ("requested", "content", "recipient", "needed"),
    [
        (False, CONTENT, Address("u", "y"), False),
        (True, CONTENT, Address("u", "y"), False),
        (True, "Subject: ü\r\n\r\nx".encode(), Address("u", "y"), True),
        (True, "Subject: x\r\n\r\nü".encode(), Address("u", "y"), False),
        (False, CONTENT, Address("ü", "y"), True),
        (True, CONTENT, Address("u", "bücher.test"), False),
    ],
)
def test_smtputf8_is_asked_for_only_where_nothing_else_helps(
    requested: bool, content: bytes, recipient: Address, needed: bool
) -> None:
    request = Deliver(
        QueueId("4X"),
        "smtp",
        "y",
        None,
        (JobRecipient(0, 0, recipient),),
        0,
        0,
        len(content),
        content,
        smtputf8=requested,
    )
    assert Job(request, [], 0, 0).utf8 is needed
