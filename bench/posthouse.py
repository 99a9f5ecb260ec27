"""The whole of Posthouse, started with `posthouse sandbox`."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench import configuration, passwords
from bench.server import (
    OURS,
    PASSWORD,
    STARTUP_S,
    USERS,
    Server,
    make_maildirs,
    owner_of_mail,
    recipient_table,
    wait_for_greeting,
)
from posthouse.auth.directory import Directory
from posthouse.cli.queue_client import QueueClient, command_socket
from posthouse.runtime.schema import ListQueue, QueuePage

_PROTOCOLS = ("smtp", "lmtp", "imap", "imaps")


@dataclass
class Posthouse(Server):
    run_directory: str = ""
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def queue_length(self) -> int:
        with QueueClient(command_socket(self.run_directory, "show")) as client:
            return len(client.call(ListQueue("", 1), QueuePage).entries)

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def start_for_smtp(root: Path, *, sink: int, closed: int, extra: dict[str, str] | None = None) -> Posthouse:
    """With the same lines of main.cf as Postfix."""
    root.mkdir(parents=True)
    vmail = root / "vmail100"
    maildirs = make_maildirs(vmail, *owner_of_mail("vmail"))
    (root / "mail").mkdir()
    (root / "mail").chmod(0o1777)
    certificate, key = configuration.make_certificate(root.parent)
    text = configuration.fill(
        "common-main.cf",
        vmail=vmail,
        table=recipient_table(root),
        sink=sink,
        closed=closed,
        mail=root / "mail",
        certificate=certificate,
        key=key,
    )
    settings = {
        name.strip(): value.strip()
        for name, is_there, value in (line.partition("=") for line in text.splitlines())
        if is_there
    }
    server = _start(root, {**settings, **(extra or {})}, maildirs)
    server.mbox_directory = root / "mail"
    return server


def start_for_imap(root: Path, *, scheme: str = "PLAIN", cache: str = "10M", with_sql: bool = False) -> Posthouse:
    """With the accounts u00 … in the embedded directory (or in SQLite) and Dovecot's places for their mail."""
    root.mkdir(parents=True)
    vmail = root / "vmail100"
    maildirs = make_maildirs(vmail, *owner_of_mail("vmail"))
    certificate, key = configuration.make_certificate(root.parent)
    settings = {
        "smtpd_tls_cert_file": str(certificate),
        "smtpd_tls_key_file": str(key),
        "dovecot/ssl_cert": f"<{certificate}",
        "dovecot/ssl_key": f"<{key}",
        "dovecot/mail_home": f"{vmail}/%n",
        "dovecot/mail_location": f"maildir:{vmail}/%n/Maildir",
        "dovecot/mail_max_userip_connections": "0",
        "dovecot/auth_cache_size": cache,
        "auth_verified_cache_size": cache,
    }
    sockets = root / "sockets"
    sockets.mkdir()
    name = str(sockets / "auth").replace("/", "\\s")
    settings[f"dovecot/service/auth/unix_listener/{name}/mode"] = "0666"
    if with_sql:
        settings["dovecot/passdb/1/driver"] = "sql"
        settings["dovecot/passdb/1/args"] = str(passwords.sqlite_users(root, scheme))
    server = _start(root, settings, maildirs)
    server.auth_socket = sockets / "auth"
    if not with_sql:
        add_users(server, range(USERS), scheme)
    return server


def add_users(server: Server, numbers: range, scheme: str = "PLAIN") -> None:
    directory = Directory.open(server.root / "sandbox/data/auth/directory.sqlite")
    for number in numbers:
        address = f"u{number:02d}@example.test"
        directory.add_account(address, passwords.stored(scheme), hashed=True)
    directory.close()


def _start(root: Path, settings: dict[str, str], maildirs: list[Path]) -> Posthouse:
    os.chmod(root, 0o755)
    arguments = [sys.executable, "-m", "posthouse.cli.posthouse", "sandbox", "--dir", str(root / "sandbox"), "--json"]
    arguments += ["--user", f"first:{PASSWORD}"]
    for name, value in settings.items():
        arguments += ["--set", f"{name}={value}"]
    begin = time.monotonic()
    with open(root / "stderr", "wb") as errors:
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors)
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], STARTUP_S)
    line = process.stdout.readline() if ready else b""
    if not line:
        process.kill()
        raise TimeoutError(f"the sandbox did not start:\n{(root / 'stderr').read_text()}")
    facts = json.loads(line)
    ports = {name: int(facts[name].rpartition(":")[2]) for name in _PROTOCOLS}
    wait_for_greeting(ports["smtp"], b"220")
    took = time.monotonic() - begin
    run_directory = _run_directory(root / "sandbox/etc/main.cf")
    return Posthouse(
        OURS, root, int(facts["pid"]), ports, maildirs, None, None, took, run_directory=run_directory, process=process
    )


def _run_directory(main: Path) -> str:
    for line in main.read_text().splitlines():
        if line.startswith("run_directory = "):
            return line.partition(" = ")[2]
    raise ValueError(f"{main} names no run_directory")
