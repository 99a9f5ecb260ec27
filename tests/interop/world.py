"""One running Posthouse as a foreign program sees it: endpoints, an account, and ways to look at what arrived."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.running import PATIENCE_S, USERS, RunningSystem


class World(RunningSystem):
    """A running system with names for the one account that most tests use."""

    user = "alice@example.test"
    password = USERS["alice"]
    other = "bob@example.test"

    @property
    def ca_file(self) -> str:
        return self.facts["ca_file"]

    @property
    def log_path(self) -> str:
        return self.facts["mail_log"]

    @staticmethod
    def require(program: str) -> str:
        """The path of a foreign program. Missing: the test is skipped, but fails under CI."""
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if path is None:
            if os.environ.get("CI"):
                pytest.fail(f"{program} is missing; tests/debian-packages.txt must name its package")
            pytest.skip(f"{program} is not installed")
        return path

    @staticmethod
    def program(name: str) -> str:
        """The path of one of our own commands."""
        return str(Path(sys.executable).parent / name)

    def run(self, program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        path = self.require(program)
        done = subprocess.run(
            [path, *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=60, check=False
        )
        assert done.returncode == 0, f"{program} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def count(self) -> int:
        return len(self.files())

    def wait_for_text(self, text: str, user: str = "", within_s: float = PATIENCE_S) -> bytes:
        found: list[bytes] = []
        name = (user or self.user).partition("@")[0]

        def look() -> bool:
            for path in self.files(name):
                try:
                    content = path.read_bytes()
                except FileNotFoundError:  # renamed by a reader in between
                    continue
                if text.encode() in content:
                    found.append(content)
                    return True
            return False

        self.wait_until(look, f"a message with {text!r}", within_s)
        return found[0]

    def wait_for_subject(self, subject: str, user: str = "", within_s: float = PATIENCE_S) -> bytes:
        return self.wait_for_text(f"Subject: {subject}", user, within_s)

    def imap_fetch(self, text: str) -> bytes:
        """The content of the newest message whose header has `text`, read through IMAP."""
        field, _, value = text.partition(": ")
        with self.imap() as client:
            client.select("INBOX", readonly=True)
            _, found = client.search(None, "HEADER", field, f'"{value}"')
            _, data = client.fetch(found[0].split()[-1].decode(), "(BODY.PEEK[])")
            content: bytes = data[0][1]
            return content

    def postqueue(self, *arguments: str) -> str:
        return self.command("postqueue", *arguments).stdout


MakeWorld = Callable[..., World]
