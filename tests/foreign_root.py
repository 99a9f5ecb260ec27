"""Debian's servers that exclude the installed ones: unpacked, and run in a root directory of their own.

The root is an overlay: what was unpacked, over the machine's own files, in a mount namespace that ends with the test.
/tmp, /dev and /proc are the machine's; /run is empty.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

UNPACKED = Path(__file__).parent.parent / ".foreign"
_ENTER = """\
set -eu
base=$1 unpacked=$2
mount -t tmpfs -o mode=755 tmpfs "$base"
mkdir "$base/lower" "$base/upper" "$base/work" "$base/root"
cp -a "$unpacked/." "$base/lower"
mount -t overlay overlay -o "lowerdir=$base/lower:/,upperdir=$base/upper,workdir=$base/work" "$base/root"
for directory in proc dev tmp; do mount --rbind "/$directory" "$base/root/$directory"; done
mount -t tmpfs -o mode=755 tmpfs "$base/root/run"
ip link set lo up 2>/dev/null || true
echo ready
exec sleep 3600
"""


class ForeignRoot:
    """`path` is where its root directory is, as its own processes see it from outside (in their mount namespace)."""

    def __init__(self, directory: Path, *, with_network: bool = False) -> None:
        """`with_network`: a network of its own, in which every port of the loopback interface is free."""
        if os.getuid() != 0 or not (UNPACKED / ".packages").exists():
            if os.environ.get("CI"):
                pytest.fail("scripts/unpack-debian-packages has not been run")
            pytest.skip("needs root and the unpacked packages (make test-tools)")
        base = directory / "overlay"
        base.mkdir()
        self.path = base / "root"
        self._spaces = ["-m", "-n"] if with_network else ["-m"]
        holder = ["unshare", *self._spaces, "--propagation", "private"]
        command = [*holder, "sh", "-c", _ENTER, "sh", str(base), str(UNPACKED)]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            assert self._holder.stderr is not None
            raise AssertionError(f"no overlay: {self._holder.stderr.read()}")
        self._started: list[subprocess.Popen[bytes]] = []
        self.checked = ""
        """What `posthouse check` said, for tests that ask."""

    def _command(self, arguments: Sequence[object]) -> list[str]:
        inside = ["nsenter", "-t", str(self._holder.pid), *self._spaces, "chroot", str(self.path)]
        return [*inside, *map(str, arguments)]

    def run(
        self,
        *arguments: object,
        input: str = "",
        environment: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            self._command(arguments),
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **(environment or {})},
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *arguments: object, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """A server that stays in the foreground; ended with the test."""
        process = subprocess.Popen(
            self._command(arguments),
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def shell(self, script: str) -> str:
        return self.run("sh", "-ec", script).stdout

    def close(self) -> None:
        for process in self._started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait(20)
        self._holder.kill()
        self._holder.wait(20)
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        self._holder.stdout.close()
        self._holder.stderr.close()
        shutil.rmtree(self.path.parent, ignore_errors=True)
