"""The system that is tortured: a sandbox on disks of its own, under a shim that can make its system calls fail."""

import contextlib
import getpass
import json
import os
import pwd
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.process_tree import tree

from posthouse.cli.queue_client import NotRunning, QueueClient, command_socket
from posthouse.core.reply import MailError
from posthouse.runtime.schema import Done, Flush, ListQueue, QueuePage
from torture.disk import Disk
from torture.injection import Injection
from torture.peers import DOMAIN, NameServer, Sink

START_LIMIT_S: Final = 60.0
STOP_LIMIT_S: Final = 30.0
USERS: Final = {"alice": "wonderland", "bob": "builder", "carol": "c4rol"}
READERS: Final = ("alice", "bob")
SETTINGS: Final = (
    "minimal_backoff_time=1s",
    "maximal_backoff_time=2s",
    "queue_run_delay=1s",
    "delay_warning_time=0",
    "queue_segment_size=1M",
    "queue_large_message_size=200k",
    "smtp_connect_timeout=3s",
    "smtp_helo_timeout=5s",
    "smtp_data_done_timeout=5s",
    "dns_timeout=0.3s",
    "smtpd_client_connection_count_limit=0",
    "service_throttle_time=1s",
    "smtpd_error_sleep_time=0",
    # A lock whose removal failed must not outlive the round.
    "stale_lock_time=1s",
    "deliver_lock_attempts=5",
    "deliver_lock_delay=0.3s",
    "dovecot/mail_max_userip_connections=0",
)


class World:
    """Owns everything that was started; `close` ends it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        self.sink = Sink()
        self.names = NameServer()
        self.spool_disk = Disk(directory / "sandbox/spool", directory / "spool.img")
        self.store_disk = Disk(directory / "sandbox/vmail", directory / "store.img")
        self.injection: Injection | None = None
        self.without_injection = ""
        try:
            self.injection = Injection(directory)
        except (OSError, subprocess.CalledProcessError) as error:
            self.without_injection = str(error)
        self.system_user = "games" if os.geteuid() == 0 else getpass.getuser()
        pwd.getpwnam(self.system_user)
        self.facts: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.cuts = 0
        """Power cuts since the mailboxes were emptied."""

    # ── life ──

    def start(self) -> None:
        command = [sys.executable, "-m", "posthouse.cli.posthouse", "sandbox", "--json"]
        command += ["--dir", str(self.directory / "sandbox")]
        for name, password in USERS.items():
            command += ["--user", f"{name}:{password}"]
        settings = [*SETTINGS, f"dns_servers={self.names.address}"]
        settings += [
            f"relay_domains={DOMAIN}",
            f"transport_maps=inline:{{ {{{DOMAIN} = smtp:{DOMAIN}:{self.sink.port}}} }}",
        ]
        for setting in settings:
            command += ["--set", setting]
        environment = {**os.environ, **(self.injection.environment if self.injection is not None else {})}
        with open(self.directory / "stderr", "ab") as errors:
            # A session of its own: who interrupts the torture wants its last line, and an orderly end.
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, env=environment, start_new_session=True
            )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_LIMIT_S)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None
            raise AssertionError(f"the system does not start:\n{(self.directory / 'stderr').read_text()[-3000:]}")
        self.facts = json.loads(line)
        self.starts += 1

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def endpoint(self, name: str) -> tuple[str, int]:
        host, _, port = self.facts[name].rpartition(":")
        return host, int(port)

    def processes(self) -> dict[str, int]:
        """Pids by title: "queue 0", "smtpd 1", "local (makes deliverers)"."""
        found: dict[str, int] = {}
        for pid in tree(self.pid):
            with contextlib.suppress(OSError):
                title = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
                if title.startswith("posthouse: ") and pid != self.pid:
                    found[title.removeprefix("posthouse: ")] = pid
        return found

    def kill_everything(self) -> None:
        for pid in tree(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._forget()

    def cut_power(self) -> None:
        """Everybody stands still; what the devices hold at this moment is all that is left. What was written and not
        flushed is not there, or only its name is."""
        for pid in tree(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        self.cuts += 1
        disks = (self.spool_disk, self.store_disk)
        for disk in disks:
            disk.remember()
        self.kill_everything()
        for disk in disks:
            disk.go_back()

    def stop(self) -> None:
        if self.is_running:
            assert self._process is not None
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.kill_everything()
                return
        self._forget()

    def _forget(self) -> None:
        if self._process is not None:
            self._process.wait(STOP_LIMIT_S)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def close(self) -> None:
        self.stop()
        self.spool_disk.close()
        self.store_disk.close()
        self.sink.close()
        self.names.close()

    # ── questions ──

    def queued(self) -> int | None:
        """How many messages are in the queue, all of them to be tried at once; None if nobody answers."""
        state = json.loads((self.directory / "sandbox/sandbox.json").read_text())
        # A path that is too long for sockets has them elsewhere.
        path = command_socket(state["run_directory"] or f"{self.directory}/sandbox/run", "show")
        try:
            with QueueClient(path) as client:
                page = client.call(ListQueue("", 500), QueuePage)
                if page.entries:
                    client.call(Flush(""), Done)
                return len(page.entries)
        except (NotRunning, MailError, OSError):
            return None

    def maildir(self, user: str) -> Path:
        return self.directory / "sandbox/vmail" / self.facts["domain"] / user / "Maildir"

    @property
    def mbox(self) -> Path:
        return self.directory / "sandbox/mail" / self.system_user

    @property
    def log(self) -> Path:
        return self.directory / "sandbox/log/mail.log"

    def wait(self, condition: Callable[[], bool], limit_s: float) -> bool:
        give_up = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > give_up:
                return False
            time.sleep(0.03)
        return True
