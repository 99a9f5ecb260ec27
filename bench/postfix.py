"""Debian's Postfix with a configuration directory of its own: as it comes ("stock"), or with the usual advice for
throughput ("tuned"). Needs root."""

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

from bench import configuration
from bench.server import STOCK, TUNED, Server, free_port, make_maildirs, recipient_table, wait_for_greeting


class Postfix(Server):
    def queue_length(self) -> int:
        for queue in ("maildrop", "incoming", "active", "deferred"):
            for _, _, files in os.walk(self.root / "queue" / queue):
                if files:
                    return len(files)
        return 0

    def deferred(self) -> int:
        return sum(len(files) for _, _, files in os.walk(self.root / "queue/deferred"))

    def stop(self) -> None:
        subprocess.run(["postfix", "-c", str(self.root / "etc"), "stop"], check=False, capture_output=True, timeout=60)


def start(root: Path, *, tuned: bool, sink: int, closed: int, processes: int = 400) -> Postfix:
    """`sink` is the port where relay.test is taken, `closed` one where nobody listens."""
    owner, mail = pwd.getpwnam("postfix"), pwd.getpwnam("mail")
    root.mkdir(parents=True)
    etc = root / "etc"
    for directory in (etc, root / "queue", root / "data", root / "vmail", root / "mail"):
        directory.mkdir()
    (root / "mail").chmod(0o1777)
    os.chown(root / "data", owner.pw_uid, owner.pw_gid)
    maildirs = make_maildirs(root / "vmail", mail.pw_uid, mail.pw_gid)
    certificate, key = configuration.make_certificate(root.parent)
    port = free_port()
    main = configuration.fill("postfix-main.cf", root=root, uid=mail.pw_uid, gid=mail.pw_gid)
    main += configuration.fill(
        "common-main.cf",
        vmail=root / "vmail",
        table=recipient_table(root),
        sink=sink,
        closed=closed,
        mail=root / "mail",
        certificate=certificate,
        key=key,
    )
    if tuned:
        main += configuration.fill("postfix-tuned-main.cf", processes=processes)
    (etc / "main.cf").write_text(main)
    (etc / "master.cf").write_text(configuration.fill("postfix-master.cf", smtp=port, virtual=10 if tuned else "-"))
    shutil.copy("/etc/postfix/dynamicmaps.cf", etc)
    if Path("/etc/postfix/dynamicmaps.cf.d").is_dir():
        shutil.copytree("/etc/postfix/dynamicmaps.cf.d", etc / "dynamicmaps.cf.d")
    shutil.copy("/etc/postfix/postfix-files", etc)
    begin = time.monotonic()
    subprocess.run(["postfix", "-c", str(etc), "start"], check=True, capture_output=True, timeout=60)
    wait_for_greeting(port, b"220")
    ready = time.monotonic() - begin
    pid = int((root / "queue/pid/master.pid").read_text())
    name = TUNED if tuned else STOCK
    return Postfix(name, root, pid, {"smtp": port}, maildirs, root / "mail", ready)
