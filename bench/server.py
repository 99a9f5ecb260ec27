"""What every server under measurement is, and the facts that all of them share."""

import os
import pwd
import select
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

USERS = 100
"""u00 … u99@example.test, each with a mailbox."""
RECIPIENTS = 20_000
"""NNNuser@example.test, as smtp-source -N makes them up; number N leads to user N modulo USERS."""
PASSWORD = "pass"
STARTUP_S = 60.0
LOOPBACK = "127.0.0.1"

OURS = "Posthouse"
STOCK = "stock"
TUNED = "tuned"


@dataclass
class Server:
    """One running system. `ports` by protocol: smtp, lmtp, imap, imaps; `maildirs` are those of the users in order."""

    name: str
    root: Path
    pid: int
    ports: dict[str, int]
    maildirs: list[Path]
    mbox_directory: Path | None = None
    auth_socket: Path | None = None
    """Where Dovecot's auth protocol is spoken."""
    ready_s: float = 0.0
    """From the start command to the first greeting."""
    notes: list[str] = field(default_factory=list)

    def queue_length(self) -> int:
        """Messages in the queue; at least 1 while there is one."""
        return 0

    def stop(self) -> None:
        raise NotImplementedError


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        return int(sock.getsockname()[1])


def wait_for_greeting(port: int, greeting: bytes) -> None:
    """Raises TimeoutError if nobody greets within STARTUP_S."""
    give_up = time.monotonic() + STARTUP_S
    while time.monotonic() < give_up:
        try:
            with socket.create_connection((LOOPBACK, port), 5) as sock:
                if sock.recv(200).startswith(greeting):
                    return
        except OSError:
            select.select([], [], [], 0.005)
    raise TimeoutError(f"nobody answers on port {port}")


def recipient_table(root: Path, relative: str = "u{:02d}/Maildir/") -> Path:
    """Where each recipient leads, compiled by Debian's postmap for both servers."""
    table = root / "vmailbox"
    lines = [f"{number}user@example.test {relative.format(number % USERS)}\n" for number in range(RECIPIENTS)]
    lines += [f"u{number:02d}@example.test {relative.format(number)}\n" for number in range(USERS)]
    table.write_text("".join(lines))
    subprocess.run(["postmap", f"lmdb:{table}"], check=True, timeout=60)
    table.with_name("vmailbox.lmdb").chmod(0o644)
    return table


def make_maildirs(base: Path, uid: int, gid: int) -> list[Path]:
    found = []
    for number in range(USERS):
        maildir = base / f"u{number:02d}" / "Maildir"
        for part in ("tmp", "new", "cur"):
            (maildir / part).mkdir(parents=True)
        found.append(maildir)
    give_away(base, uid, gid)
    return found


def give_away(base: Path, uid: int, gid: int) -> None:
    """`base` and all below it."""
    if os.getuid() == 0:
        for directory, _, files in os.walk(base):
            os.chown(directory, uid, gid)
            for name in files:
                os.chown(os.path.join(directory, name), uid, gid)


def owner_of_mail(user: str) -> tuple[int, int]:
    """The user if the machine has it, else the caller."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return os.getuid(), os.getgid()
    return entry.pw_uid, entry.pw_gid
