"""The smtp process in its jail, in a whole running system: DNS, TLS and passwords still work there."""

import os
from collections.abc import Iterator

import pytest

from tests.running import RunningSystem
from tests.runtime.dns_peers import NAMED, named
from tests.services.smtp.peers import program, sink

pytestmark = pytest.mark.foreign
ZONE = "far MX 10 mx\nnone MX 0 .\nmx A 127.0.0.1\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    if not os.path.exists(NAMED):
        program("named")
    directory = tmp_path_factory.mktemp("house") / "box"
    with named(tmp_path_factory.mktemp("named"), {"zone.test": ZONE}) as server, sink() as port:
        house = RunningSystem(directory, f"dns_servers={server}", f"smtp_tcp_port={port}")
        try:
            yield house
        finally:
            house.stop()


def test_mail_reaches_the_mail_server_of_a_domain(house: RunningSystem) -> None:
    house.send("x", "u@far.zone.test", "alice@example.test")
    line = house.wait_for_log(r"to=<u@far.zone.test>.*")[0]
    assert "relay=mx.zone.test[127.0.0.1]:" in line
    assert "status=sent" in line


def test_a_domain_that_takes_no_mail_bounces_to_the_sender(house: RunningSystem) -> None:
    house.send("x", "u@none.zone.test", "alice@example.test")
    line = house.wait_for_log(r"to=<u@none.zone.test>.*")[0]
    assert "status=bounced (Domain none.zone.test does not accept mail (nullMX))" in line
    house.wait_for_log(r"from=<>.*")
    house.wait_for_log(r"to=<alice@example.test>.*status=sent")
