"""The servers that are compared, each started in a fresh scratch directory with the same main.cf facts.

Both deliver `NNNuser@example.test` to one of 100 virtual Maildirs, chosen by the number through the same
lmdb table. Durability is on at both: Postfix flushes every queue file and every Maildir file, Posthouse its journal
and, through one shared checkpoint, its Maildirs.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

USERS = 100
RECIPIENTS = 20_000
STARTUP_S = 30.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for_banner(port: int) -> None:
    """Raises TimeoutError if nobody greets within STARTUP_S."""
    give_up = time.monotonic() + STARTUP_S
    while time.monotonic() < give_up:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                if sock.recv(200).startswith(b"220"):
                    return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"nobody answers on port {port}")


class Server(Protocol):
    name: str
    port: int
    pid: int
    maildirs: list[Path]

    def queue_is_empty(self) -> bool: ...
    def stop(self) -> None: ...


def _mailbox_table(root: Path) -> Path:
    """One entry per recipient that smtp-source -N makes up, compiled by Debian's postmap for both servers."""
    table = root / "vmailbox"
    table.write_text(
        "".join(f"{number}user@example.test u{number % USERS:02d}/Maildir/\n" for number in range(RECIPIENTS))
    )
    subprocess.run(["postmap", f"lmdb:{table}"], check=True, timeout=60)
    table.with_name("vmailbox.lmdb").chmod(0o644)
    return table


def _maildirs(base: Path, uid: int, gid: int) -> list[Path]:
    found = []
    for number in range(USERS):
        maildir = base / f"u{number:02d}" / "Maildir"
        for part in ("tmp", "new", "cur"):
            (maildir / part).mkdir(parents=True)
        found.append(maildir)
    if os.getuid() == 0:
        for directory, _, _ in os.walk(base):
            os.chown(directory, uid, gid)
    return found


_POSTFIX_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - {virtual} virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

COMMON = """\
myhostname = mail.example.test
mydomain = example.test
mydestination = localhost
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
virtual_mailbox_domains = example.test
virtual_mailbox_base = {vmail}
virtual_mailbox_maps = lmdb:{table}
virtual_mailbox_limit = 0
mailbox_size_limit = 0
transport_maps = inline:{{ {{discard.test = discard:}} }}
relay_domains = discard.test
"""

_POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {root}/mail.log
maillog_file_prefixes = {root}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
alias_maps =
alias_database =
biff = no
"""

_POSTFIX_TUNED = """\
default_process_limit = 400
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
qmgr_message_active_limit = 40000
qmgr_message_recipient_limit = 40000
default_destination_concurrency_limit = 100
initial_destination_concurrency = 10
virtual_destination_concurrency_limit = 10
hash_queue_names = deferred, defer
hash_queue_depth = 1
max_use = 10000
max_idle = 300s
"""


@dataclass
class Postfix:
    """Debian's Postfix with its own configuration directory; needs root."""

    name: str
    root: Path
    port: int
    pid: int
    maildirs: list[Path]

    @classmethod
    def start(cls, root: Path, *, tuned: bool) -> "Postfix":
        import pwd

        owner = pwd.getpwnam("postfix")
        root.mkdir(parents=True)
        port = free_port()
        etc = root / "etc"
        for directory in (etc, root / "queue", root / "data", root / "vmail"):
            directory.mkdir()
        os.chown(root / "data", owner.pw_uid, owner.pw_gid)
        nobody = pwd.getpwnam("mail")
        maildirs = _maildirs(root / "vmail", nobody.pw_uid, nobody.pw_gid)
        main = _POSTFIX_MAIN.format(root=root, uid=nobody.pw_uid, gid=nobody.pw_gid)
        main += COMMON.format(vmail=root / "vmail", table=_mailbox_table(root))
        (etc / "main.cf").write_text(main + (_POSTFIX_TUNED if tuned else ""))
        (etc / "master.cf").write_text(_POSTFIX_MASTER.format(port=port, virtual=10 if tuned else "-"))
        shutil.copy("/etc/postfix/dynamicmaps.cf", etc)
        if Path("/etc/postfix/dynamicmaps.cf.d").is_dir():
            shutil.copytree("/etc/postfix/dynamicmaps.cf.d", etc / "dynamicmaps.cf.d")
        shutil.copy("/etc/postfix/postfix-files", etc)
        subprocess.run(["postfix", "-c", str(etc), "start"], check=True, capture_output=True, timeout=60)
        wait_for_banner(port)
        pid = int((root / "queue/pid/master.pid").read_text())
        return cls("Postfix, tuned" if tuned else "Postfix, stock", root, port, pid, maildirs)

    def queue_is_empty(self) -> bool:
        return not any(
            files
            for queue in ("maildrop", "incoming", "active", "deferred")
            for _, _, files in os.walk(self.root / "queue" / queue)
        )

    def stop(self) -> None:
        subprocess.run(["postfix", "-c", str(self.root / "etc"), "stop"], check=False, capture_output=True, timeout=60)


@dataclass
class Posthouse:
    """The whole system, started with `posthouse sandbox`."""

    name: str
    root: Path
    port: int
    pid: int
    maildirs: list[Path]
    facts: dict[str, object]
    process: "subprocess.Popen[bytes]"

    @classmethod
    def start(cls, root: Path) -> "Posthouse":
        root.mkdir(parents=True)
        os.chmod(root, 0o755)
        vmail = root / "vmail100"
        maildirs = _maildirs(vmail, *_vmail_owner())
        settings = COMMON.format(vmail=vmail, table=_mailbox_table(root)).strip().splitlines()
        arguments = [
            sys.executable,
            "-m",
            "posthouse.cli.posthouse",
            "sandbox",
            "--dir",
            str(root / "sandbox"),
            "--json",
        ]
        for line in settings:
            arguments += ["--set", line.replace(" = ", "=", 1)]
        with open(root / "stderr", "wb") as errors:
            process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], STARTUP_S)
        line = process.stdout.readline() if ready else b""
        if not line:
            process.kill()
            raise TimeoutError(f"the sandbox did not start:\n{(root / 'stderr').read_text()}")
        facts = json.loads(line)
        port = int(str(facts["smtp"]).rpartition(":")[2])
        return cls("Posthouse", root, port, int(facts["pid"]), maildirs, facts, process)

    def queue_is_empty(self) -> bool:
        directory = str(self.facts["dir"])
        listing = subprocess.run(
            [str(Path(sys.executable).parent / "postqueue"), "-c", f"{directory}/etc", "-p"],
            capture_output=True,
            timeout=30,
            check=False,
        )
        return b"Mail queue is empty" in listing.stdout

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def _vmail_owner() -> tuple[int, int]:
    """Who owns the mail store of the sandbox: the service user if the system has it, else the caller."""
    import pwd

    try:
        entry = pwd.getpwnam("vmail")
    except KeyError:
        return os.getuid(), os.getgid()
    return entry.pw_uid, entry.pw_gid
