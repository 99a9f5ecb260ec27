"""Received: in Postfix's words."""

import os
import time
from collections.abc import Iterator

import pytest

from posthouse.core.address import Address
from posthouse.core.identifiers import QueueId
from posthouse.intake import received_from_client, received_from_user
from posthouse.intake.date import format_date
from tests.intake.test_header import rules


@pytest.fixture(autouse=True)
def _in_berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    format_date.__globals__["_format"].cache_clear()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()
    format_date.__globals__["_format"].cache_clear()


def field(**facts: object) -> str:
    values: dict[str, object] = {
        "helo": "client.example",
        "client_name": "unknown",
        "client_address": "192.0.2.1",
        "protocol": "ESMTP",
        "queue_id": QueueId("4ABC"),
        "at_s": 1795442921.0,
        **facts,
    }
    return received_from_client(rules(), **values).decode()  # type: ignore[arg-type]


def test_for_one_recipient() -> None:
    assert field(recipient=Address("a", "example.test")) == (
        "Received: from client.example (unknown [192.0.2.1])\r\n"
        "\tby mail.example.test (Posthouse) with ESMTP id 4ABC\r\n"
        "\tfor <a@example.test>; Mon, 23 Nov 2026 15:08:41 +0100 (CET)\r\n"
    )


def test_for_several_recipients_with_tls_and_user() -> None:
    assert field(
        client_address="2001:db8::1",
        protocol="ESMTPSA",
        tls="TLSv1.3 with cipher X (256/256 bits)",
        authenticated="al(i)ce\r\n@example.test",
    ) == (
        "Received: from client.example (unknown [IPv6:2001:db8::1])\r\n"
        "\t(using TLSv1.3 with cipher X (256/256 bits))\r\n"
        "\t(Authenticated sender: alice@example.test)\r\n"
        "\tby mail.example.test (Posthouse) with ESMTPSA id 4ABC; Mon, 23 Nov 2026 15:08:41 +0100 (CET)\r\n"
    )


def test_without_hello_the_name_stands_in_its_place() -> None:
    assert field(helo="").startswith("Received: from unknown (unknown [192.0.2.1])\r\n")


def test_from_the_maildrop() -> None:
    made = received_from_user(rules(), uid=1000, queue_id=QueueId("4ABC"), at_s=0.0).decode()
    assert made == (
        "Received: by mail.example.test (Posthouse, from userid 1000)\r\n"
        "\tid 4ABC; Thu,  1 Jan 1970 01:00:00 +0100 (CET)\r\n"
    )


def test_zones_west_of_greenwich() -> None:
    os.environ["TZ"] = "America/St_Johns"
    time.tzset()
    format_date.__globals__["_format"].cache_clear()
    assert format_date(1795442921.0) == "Mon, 23 Nov 2026 10:38:41 -0330 (NST)"
