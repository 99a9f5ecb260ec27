"""Runs lines on the servers of their worlds, in turn."""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.line import Line, Scale
from bench.server import Server, free_port
from bench.smtp_sink import Sink
from bench.worlds import World, worlds

Runs = dict[str, dict[str, list[dict[str, float]]]]
"""Line → server → figures of each run."""


class Comparison:
    def __init__(self, lines: Iterable[Line], pairs: int, scale: Scale) -> None:
        self._lines = list(lines)
        self._pairs = pairs
        self._scale = scale
        self._scratch = Path(tempfile.mkdtemp(prefix="posthouse-bench-"))
        self._scratch.chmod(0o755)
        self.runs: Runs = {}
        self.failures: list[str] = []

    def run(self) -> None:
        """A line that fails on one server is reported and does not stop the others."""
        with Sink() as sink:
            known = worlds(sink.port, free_port())
            for name, world in known.items():
                lines = [line for line in self._lines if line.world == name]
                for pair in range(self._pairs if lines else 0):
                    directory = self._scratch / f"{name}-{pair}"
                    directory.mkdir()
                    directory.chmod(0o755)
                    if world.is_alone:
                        self._alone(world, lines, directory)
                    else:
                        self._side_by_side(world, lines, directory)

    def _side_by_side(self, world: World, lines: list[Line], directory: Path) -> None:
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(_started(world, name, directory)) for name in world.starts]
            for line in lines:
                for server in servers:
                    self._one(line, server)

    def _alone(self, world: World, lines: list[Line], directory: Path) -> None:
        """A new server for each line: what one leaves in memory is not the next one's cost."""
        for line in lines:
            for name in world.starts:
                with _started(world, name, directory / line.name) as server:
                    self._one(line, server)

    def _one(self, line: Line, server: Server) -> None:
        os.sync()  # what the run before has left unwritten is not this one's business
        begin = time.monotonic()
        try:
            figures = line.run(server, self._scale)
        except Exception as error:
            self.failures.append(f"{line.name} on {server.name}: {type(error).__name__}: {error}")
            print(f"  {line.name:22s} {server.name:10s} FAILED: {error}", file=sys.stderr, flush=True)
            return
        self.runs.setdefault(line.name, {}).setdefault(server.name, []).append(figures)
        shown = "  ".join(
            f"{figure.title} {figures[figure.key]:.4g} {figure.unit}"
            for figure in line.figures
            if figure.key in figures
        )
        print(f"  {line.name:22s} {server.name:10s} {shown}  ({time.monotonic() - begin:.1f} s)", flush=True)


@contextlib.contextmanager
def _started(world: World, name: str, directory: Path) -> Iterator[Server]:
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    server = world.starts[name](directory / name.lower())
    try:
        yield server
    finally:
        server.stop()
