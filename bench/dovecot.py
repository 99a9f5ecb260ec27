"""Debian's Dovecot: its own process model ("stock"), or login processes that serve many clients and mail processes that
are used again ("tuned"). Needs root."""

import os
import signal
import subprocess
import time
from pathlib import Path

from bench import configuration, passwords
from bench.process_tree import is_alive
from bench.server import STOCK, TUNED, USERS, Server, free_port, make_maildirs, owner_of_mail, wait_for_greeting


class Dovecot(Server):
    def stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        give_up = time.monotonic() + 20
        while is_alive(self.pid) and time.monotonic() < give_up:
            time.sleep(0.02)


def start(root: Path, *, tuned: bool, scheme: str = "PLAIN", cache: str = "10M", with_sql: bool = False) -> Dovecot:
    """`with_sql`: the users stand in SQLite instead of a passwd-file."""
    uid, gid = owner_of_mail("mail")
    root.mkdir(parents=True)
    maildirs = make_maildirs(root / "vmail", uid, gid)
    certificate, key = configuration.make_certificate(root.parent)
    ports = {name: free_port() for name in ("imap", "imaps", "lmtp")}
    text = configuration.fill(
        "dovecot.conf",
        root=root,
        vmail=root / "vmail",
        uid=uid,
        gid=gid,
        certificate=certificate,
        key=key,
        auth_cache=cache,
        **ports,
    )
    if tuned:
        text += configuration.read("dovecot-tuned.conf")
    if with_sql:
        text = text.replace(
            f"  driver = passwd-file\n  args = username_format=%u {root}/passwd\n",
            f"  driver = sql\n  args = {passwords.sqlite_users(root, scheme)}\n",
        )
    (root / "dovecot.conf").write_text(text)
    stored = passwords.stored(scheme)
    (root / "passwd").write_text("".join(f"u{number:02d}@example.test:{stored}::::::\n" for number in range(USERS)))
    begin = time.monotonic()
    with open(root / "stderr", "wb") as errors:  # a pipe would stay open in its processes
        subprocess.run(["dovecot", "-c", str(root / "dovecot.conf")], check=True, stderr=errors, timeout=60)
    wait_for_greeting(ports["imap"], b"* OK")
    ready = time.monotonic() - begin
    pid = int((root / "run/master.pid").read_text())
    socket = root / "run/auth-client"
    return Dovecot(TUNED if tuned else STOCK, root, pid, ports, maildirs, None, socket, ready)
