"""The smtp process in its jail, in a whole running system: DNS, TLS and passwords still work there."""

import os
import smtplib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.world import World
from tests.runtime.dns_peers import NAMED, named
from tests.services.smtp.peers import PATIENCE_S, sink

pytestmark = pytest.mark.foreign
ZONE = "far MX 10 mx\nnone MX 0 .\nmx A 127.0.0.1\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if not os.path.exists(NAMED):
        World.require("named")
    directory: Path = tmp_path_factory.mktemp("house")
    with named(tmp_path_factory.mktemp("named"), {"zone.test": ZONE}) as server, sink() as port:
        world = World(directory, f"dns_servers={server}", f"smtp_tcp_port={port}")
        try:
            yield world
        finally:
            world.close()


def wait_for(world: World, words: str) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for line in world.log_path.read_text().splitlines():
            if words in line:
                return line
        time.sleep(0.05)
    raise AssertionError(world.log_path.read_text())


def send(world: World, recipient: str) -> None:
    host, _, port = world.facts["smtp"].rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=PATIENCE_S) as client:
        client.sendmail(world.user, [recipient], "Subject: x\r\n\r\nhello\r\n")


def test_mail_reaches_the_mail_server_of_a_domain(world: World) -> None:
    send(world, "u@far.zone.test")
    line = wait_for(world, "to=<u@far.zone.test>")
    assert "relay=mx.zone.test[127.0.0.1]:" in line
    assert "status=sent" in line


def test_a_domain_that_takes_no_mail_bounces_to_the_sender(world: World) -> None:
    send(world, "u@none.zone.test")
    line = wait_for(world, "to=<u@none.zone.test>")
    assert "status=bounced (Domain none.zone.test does not accept mail (nullMX))" in line
    assert "status=sent" in wait_for(world, f"to=<{world.user}>")
