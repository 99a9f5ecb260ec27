"""Name servers to ask: Debian's named with a private zone, and one that answers what a test says."""

import asyncio
import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import dns.exception
import dns.message
import dns.query

NAMED = "/usr/sbin/named"
PATIENCE_S = 10.0


def free_port() -> int:
    """A port that is free for both UDP and TCP at this moment."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            with contextlib.suppress(OSError):
                udp.bind(("127.0.0.1", port))
                return port


@contextlib.contextmanager
def named(directory: Path, zones: dict[str, str]) -> Iterator[str]:
    """Runs named with these zones (text without SOA and NS) as long as the block lasts; gives "127.0.0.1:port"."""
    port = free_port()
    declarations = []
    for zone, records in zones.items():
        path = directory / f"{zone}.zone"
        path.write_text(f"$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n{records}")
        declarations.append(f'zone "{zone}" {{ type primary; file "{path}"; }};')
    (directory / "named.conf").write_text(
        f'options {{ directory "{directory}"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n'
        "recursion no; dnssec-validation no; pid-file none; session-keyfile none; minimal-responses yes; };\n"
        "controls { };\n" + "\n".join(declarations) + "\n"
    )
    with open(directory / "named.log", "wb") as log:
        process = subprocess.Popen([NAMED, "-g", "-n", "1", "-c", directory / "named.conf"], stdout=log, stderr=log)
    try:
        query = dns.message.make_query(f"{next(iter(zones))}.", "SOA")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                dns.query.udp(query, "127.0.0.1", port=port, timeout=0.2)
                break
            except (dns.exception.DNSException, OSError):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((directory / "named.log").read_text()) from None
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


class Scripted(asyncio.DatagramProtocol):
    """Answers each datagram with what `script` makes of it; None stays silent."""

    def __init__(self, script: Callable[[dns.message.Message], list[bytes]]) -> None:
        self.script = script
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.asked += 1
        for answer in self.script(dns.message.from_wire(data)):
            self.transport.sendto(answer, address)

    async def close(self) -> None:
        self.transport.close()
        await asyncio.sleep(0)

    @property
    def server(self) -> tuple[str, int]:
        host, port = self.transport.get_extra_info("sockname")
        return host, port


async def scripted(script: Callable[[dns.message.Message], list[bytes]]) -> Scripted:
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Scripted(script), local_addr=("127.0.0.1", 0)
    )
    return protocol
