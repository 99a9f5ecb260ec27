"""The whole real system, started with `posthouse sandbox --json`, and the questions tests ask of it."""

import contextlib
import imaplib
import json
import os
import re
import select
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PATIENCE_S = 20.0
USERS = {"alice": "wonderland", "bob": "builder"}
_COMPLAINT = re.compile(r"\]: (?:\w+: )?(?:warning|error|fatal|panic): |dovecot: \S+: (?:Warning|Error|Fatal|Panic): ")


class RunningSystem:
    """`stop` ends it in order and fails on complaints in the log that no test declared with `expect_log`."""

    def __init__(
        self,
        directory: Path,
        *settings: str,
        users: Mapping[str, str] = USERS,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        python: Sequence[str] = (sys.executable,),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._arguments = [*python, "-m", "posthouse.cli.posthouse", "sandbox", "--dir", str(directory), "--json"]
        for name, password in users.items():
            self._arguments += ["--user", f"{name}:{password}"]
        for setting in settings:
            self._arguments += ["--set", setting]
        self._arguments += arguments
        self._environment = dict(environment or {})
        self._expected: list[re.Pattern[str]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._checked_octets = 0
        self.start_s = 0.0
        self.facts: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        errors = self.directory.with_name(self.directory.name + ".stderr")
        began = time.monotonic()
        with open(errors, "ab") as file:
            self._process = subprocess.Popen(
                self._arguments, stdout=subprocess.PIPE, stderr=file, env={**os.environ, **self._environment}
            )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 30)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            log = self.directory / "log/mail.log"
            tail = log.read_text(errors="replace")[-3000:] if log.exists() else ""
            raise AssertionError(f"the sandbox did not start:\n{errors.read_text()[-3000:]}\n{tail}")
        self.start_s = time.monotonic() - began
        self.facts = json.loads(line)

    @property
    def pid(self) -> int:
        return int(self.facts["pid"])

    @property
    def configuration(self) -> str:
        return str(self.directory / "etc")

    def command(self, name: str, *arguments: object, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """One of our commands, with -c DIR."""
        path = Path(sys.executable).parent / name
        done = subprocess.run(
            [str(path), "-c", self.configuration, *map(str, arguments)], capture_output=True, text=True, timeout=60
        )
        if check:
            assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    # ── clients ──

    def endpoint(self, name: str) -> tuple[str, int]:
        host, _, port = self.facts[name].rpartition(":")
        return host, int(port)

    def smtp(self, endpoint: str = "smtp") -> smtplib.SMTP:
        return smtplib.SMTP(*self.endpoint(endpoint), timeout=20)

    def imap(self, name: str = "alice") -> imaplib.IMAP4:
        client = imaplib.IMAP4(*self.endpoint("imap"), timeout=20)
        client.login(f"{name}@{self.facts['domain']}", USERS[name])
        return client

    def send(self, text: str, recipient: str = "alice@example.test", sender: str = "stranger@example.org") -> None:
        with self.smtp() as client:
            client.sendmail(sender, [recipient], f"Subject: {text}\r\n\r\n{text}\r\n")

    def send_until_accepted(self, text: str, recipient: str = "alice@example.test") -> None:
        """As every mail server does when it is told to come again (4xx, no connection)."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.send(text, recipient)
                return
            except (smtplib.SMTPException, OSError):
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)

    def files(self, name: str = "alice") -> list[Path]:
        """The messages in a user's INBOX."""
        location = self.facts["mail_location"].removeprefix("maildir:")
        maildir = Path(location.replace("%d", self.facts["domain"]).replace("%n", name))
        return [path for part in ("new", "cur") for path in (maildir / part).glob("*") if path.is_file()]

    def wait_for_message(self, text: str, name: str = "alice") -> bytes:
        found: list[bytes] = []

        def look() -> bool:
            for path in self.files(name):
                with contextlib.suppress(FileNotFoundError):
                    if text.encode() in (content := path.read_bytes()):
                        found.append(content)
            return bool(found)

        self.wait_until(look, f"a message with {text!r}")
        return found[0]

    # ── processes ──

    def processes(self) -> dict[str, int]:
        """Pid by title: "smtpd 0", "queue 0"; a draining one has " (finishing)" behind it."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        found: dict[str, int] = {}
        for child in map(int, children):
            with contextlib.suppress(OSError):
                title = Path(f"/proc/{child}/cmdline").read_bytes().rstrip(b"\0 ").decode()
                found[title.removeprefix("posthouse: ")] = child
        return found

    def kill(self, title: str) -> int:
        pid = self.processes()[title]
        os.kill(pid, signal.SIGKILL)
        return pid

    def reload(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    # ── waiting and the log ──

    def wait_until(self, condition: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
        give_up = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < give_up, f"still waiting for {what}; the log ends with\n{self.log()[-3000:]}"
            time.sleep(0.02)

    def log(self) -> str:
        return (self.directory / "log/mail.log").read_text(errors="replace")

    def wait_for_log(self, pattern: str, within_s: float = PATIENCE_S) -> "re.Match[str]":
        found: list[re.Match[str]] = []

        def look() -> bool:
            match = re.search(pattern, self.log(), re.MULTILINE)
            if match:
                found.append(match)
            return match is not None

        self.wait_until(look, f"a log line like {pattern!r}", within_s)
        return found[0]

    def expect_log(self, pattern: str) -> None:
        """Declare a warning or error that a test provokes."""
        self._expected.append(re.compile(pattern))

    def undeclared_complaints(self) -> list[str]:
        """Complaints since the last call that nobody declared."""
        lines = self.log()[self._checked_octets :]
        self._checked_octets += len(lines)
        return [
            line
            for line in lines.splitlines()
            if _COMPLAINT.search(line) and not any(pattern.search(line) for pattern in self._expected)
        ]

    # ── the end ──

    def stop(self) -> None:
        self.interrupt(signal.SIGTERM)
        complaints = self.undeclared_complaints()
        assert not complaints, "the log complains:\n" + "\n".join(complaints)

    def interrupt(self, number: int = signal.SIGTERM, status: int = 0) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(60)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
        assert self._process.returncode == status
