"""Peer and product in turn, median ratio of pairs.

usage: python -m bench [--pairs N] [--count N] [--connections N] [--size N] [--stock-only]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.arrivals import Arrivals
from bench.process_tree import cpu_seconds, memory_mb
from bench.servers import Postfix, Posthouse, Server

RUN_LIMIT_S = 120.0


@dataclass(frozen=True)
class Run:
    """Messages per second accepted and delivered (durably, queue empty), CPU milliseconds per message, memory."""

    accepted_per_s: float
    delivered_per_s: float
    cpu_ms: float
    pss_mb: float


def measure(server: Server, *, connections: int, count: int, size: int) -> Run:
    arrivals = Arrivals(maildir / "new" for maildir in server.maildirs)
    cpu_before = cpu_seconds(server.pid)
    start = time.monotonic()
    command = ["smtp-source", "-s", str(connections), "-m", str(count), "-l", str(size), "-N"]
    command += ["-f", "sender@mail.example.test", "-t", "user@example.test", f"127.0.0.1:{server.port}"]
    subprocess.run(command, check=True, timeout=RUN_LIMIT_S)
    accepted = time.monotonic() - start
    while arrivals.poll() < count or not server.queue_is_empty():
        if time.monotonic() - start > RUN_LIMIT_S:
            raise TimeoutError(f"{server.name}: {arrivals.count} of {count} messages arrived")
        time.sleep(0.01)
    delivered = max(time.monotonic() - start, 1e-9)
    cpu = cpu_seconds(server.pid) - cpu_before
    arrivals.close()
    return Run(count / accepted, count / delivered, cpu / count * 1000, memory_mb(server.pid)["pss"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--stock-only", action="store_true")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="posthouse-bench-"))
    scratch.chmod(0o755)
    kinds: list[tuple[str, Callable[[Path], Server]]] = [
        ("Postfix, stock", lambda root: Postfix.start(root, tuned=False)),
        ("Posthouse", Posthouse.start),
    ]
    if not options.stock_only:
        kinds.insert(1, ("Postfix, tuned", lambda root: Postfix.start(root, tuned=True)))
    runs: dict[str, list[Run]] = {name: [] for name, _ in kinds}
    print(f"accept -> Maildir: {options.count} messages of {options.size} octets, {options.connections} connections")
    for pair in range(options.pairs):
        for name, start in kinds:
            server = start(scratch / f"{pair}-{name.replace(', ', '-').lower()}")
            try:
                run = measure(server, connections=options.connections, count=options.count, size=options.size)
            finally:
                server.stop()
            runs[name].append(run)
            print(
                f"  {name:15s} accepted {run.accepted_per_s:7.0f}/s  delivered {run.delivered_per_s:7.0f}/s"
                f"  CPU {run.cpu_ms:6.3f} ms/message  PSS {run.pss_mb:6.1f} MB",
                flush=True,
            )
    for name, _ in kinds[:-1]:
        pairs = list(zip(runs["Posthouse"], runs[name], strict=True))
        speed = statistics.median(ours.delivered_per_s / theirs.delivered_per_s for ours, theirs in pairs)
        cpu = statistics.median(theirs.cpu_ms / ours.cpu_ms for ours, theirs in pairs)
        print(
            f"Posthouse : {name}: delivers {speed:.2f} x as much, {cpu:.2f} x less CPU a message"
            f" (median of {len(pairs)})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
