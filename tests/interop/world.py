"""One running Posthouse as a foreign program sees it: endpoints, an account, and ways to look at what arrived."""

import imaplib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENCE_S = 20.0


class World:
    """Starts `posthouse sandbox` in `directory`; `close` stops it and fails on undeclared complaints in the log."""

    def __init__(self, directory: Path, *settings: str) -> None:
        directory.chmod(0o755)
        self.user, self.password, self.other = "alice@example.test", "wonderland", "bob@example.test"
        command = [self.command("posthouse"), "sandbox", "--dir", str(directory / "box"), "--json"]
        command += ["--user", "alice:wonderland", "--user", "bob:builder"]
        for setting in settings:
            command += ["--set", setting]
        with open(directory / "stderr", "wb") as errors:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 30)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self._process.kill()
            raise AssertionError((directory / "stderr").read_text())
        self.facts = json.loads(line)
        self.directory = Path(self.facts["dir"])
        self.configuration = str(self.directory / "etc")
        self.ca_file = self.facts["ca_file"]
        self.log_path = Path(self.facts["mail_log"])
        self._expected: list[re.Pattern[str]] = []

    @staticmethod
    def command(name: str) -> str:
        return str(Path(sys.executable).parent / name)

    @staticmethod
    def require(program: str) -> str:
        """The path of a foreign program. Missing: the test is skipped, but fails under CI."""
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if path is None:
            if os.environ.get("CI"):
                pytest.fail(f"{program} is missing; tests/debian-packages.txt must name its package")
            pytest.skip(f"{program} is not installed")
        return path

    def endpoint(self, name: str) -> tuple[str, str]:
        host, _, port = self.facts[name].rpartition(":")
        return host, port

    def run(self, program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        path = self.require(program)
        done = subprocess.run(
            [path, *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=60, check=False
        )
        assert done.returncode == 0, f"{program} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def imap(self, user: str | None = None) -> imaplib.IMAP4:
        host, port = self.endpoint("imap")
        client = imaplib.IMAP4(host, int(port), timeout=20)
        client.login(
            user or self.user, {self.user: "wonderland", self.other: "builder"}.get(user or self.user, "secret")
        )
        return client

    def files(self, user: str | None = None) -> list[Path]:
        """The messages in the user's INBOX, as files."""
        name, _, domain = (user or self.user).partition("@")
        maildir = Path(self.facts["mail_location"].removeprefix("maildir:").replace("%d", domain).replace("%n", name))
        return [path for part in ("new", "cur") for path in (maildir / part).glob("*") if path.is_file()]

    def count(self, user: str | None = None) -> int:
        return len(self.files(user))

    def wait_until(self, condition: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
        give_up = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < give_up, f"still waiting for {what}; the log ends with\n{self.log()[-3000:]}"
            time.sleep(0.02)

    def wait_for_text(self, text: str, user: str | None = None, within_s: float = PATIENCE_S) -> bytes:
        found: list[bytes] = []

        def look() -> bool:
            for path in self.files(user):
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

    def wait_for_message(self, subject: str, user: str | None = None, within_s: float = PATIENCE_S) -> bytes:
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

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, pattern: str, within_s: float = PATIENCE_S) -> "re.Match[str]":
        found: list[re.Match[str]] = []

        def look() -> bool:
            match = re.search(pattern, self.log())
            if match:
                found.append(match)
            return match is not None

        self.wait_until(look, f"a log line like {pattern!r}", within_s)
        return found[0]

    def expect_log(self, pattern: str) -> None:
        """Declare a warning or error that this test provokes."""
        self._expected.append(re.compile(pattern))

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
        complaints = [
            line
            for line in self.log().splitlines()
            if re.search(r"\b(warning|error|fatal|panic): ", line, re.IGNORECASE)
            and not any(pattern.search(line) for pattern in self._expected)
        ]
        assert not complaints, "the log complains:\n" + "\n".join(complaints)
        assert self._process.returncode == 0
