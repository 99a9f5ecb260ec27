"""The whole system under separate users: what /proc says of each process, and that mail works like this."""

import os
import pwd
import smtplib
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.services.table import PROCESSES
from tests.conftest import _reachable
from tests.running import RunningSystem
from tests.security.conftest import SEPARATE_USERS, SETTINGS, needs_root, readable_python


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    needs_root()
    command, environment = readable_python()
    directory = _reachable(tmp_path_factory.mktemp("separate")) / "box"
    running = RunningSystem(directory, *SETTINGS, python=command, environment=environment)
    yield running
    running.stop()


def facts_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("spec", [spec for spec in PROCESSES if not spec.keeps_root], ids=lambda spec: spec.name)
def test_proc_shows_the_user_no_capabilities_and_the_filters(system: RunningSystem, spec: object) -> None:
    from posthouse.runtime.spec import ProcessSpec

    assert isinstance(spec, ProcessSpec)
    expected = pwd.getpwnam(SEPARATE_USERS[spec.user])
    for title, pid in system.processes().items():
        if title.split()[0] != spec.name:
            continue
        facts = facts_of(pid)
        assert facts["Uid"].split() == [str(expected.pw_uid)] * 4, title
        assert facts["Gid"].split() == [str(expected.pw_gid)] * 4, title
        assert facts["Groups"] == "", title
        assert facts["NoNewPrivs"] == "1", title
        assert facts["Seccomp"] == "2", title
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(facts[kind], 16) == 0, f"{title}: {kind} {facts[kind]}"


def test_no_process_holds_descriptors_of_another(system: RunningSystem) -> None:
    """A listener or a log file in the wrong hands would undo the jail."""
    log = os.stat(system.facts["mail_log"])
    for title, pid in system.processes().items():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target, held = os.readlink(descriptor), descriptor.stat()
            except OSError:
                continue
            if (held.st_dev, held.st_ino) == (log.st_dev, log.st_ino):
                assert title == "control 0", f"{title} holds the log"
            if target.startswith(str(system.directory)) and not target.endswith("master.pid"):
                assert not title.startswith(("smtpd", "login", "smtp")), f"{title} holds {target}"
    ports = {name: system.endpoint(name)[1] for name in ("smtp", "submission", "submissions", "lmtp", "imap", "pop3")}
    holders: dict[str, set[str]] = {}
    inodes = listening_inodes()
    for title, pid in system.processes().items():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(descriptor)
            except OSError:
                continue
            for name, port in ports.items():
                if target == f"socket:[{inodes.get(port)}]":
                    holders.setdefault(name, set()).add(title.split()[0])
    for name in ("smtp", "submission", "submissions", "lmtp"):
        assert holders[name] == {"smtpd"}
    for name in ("imap", "pop3"):
        assert holders[name] == {"login"}


def listening_inodes() -> dict[int, str]:
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A":
            found[int(words[1].rpartition(":")[2], 16)] = words[9]
    return found


def test_each_socket_can_be_used_by_its_client_only(system: RunningSystem) -> None:
    run = system.directory / "run"
    users = {spec.name: SEPARATE_USERS.get(spec.user, "root") for spec in PROCESSES}
    seen = 0
    for path in run.glob("*/*"):
        if not stat.S_ISSOCK(path.stat().st_mode):
            continue
        seen += 1
        assert not path.parent.stat().st_mode & 0o022, path.parent
        client = path.name.rpartition(".")[2]
        if path.name == "show.cli":
            assert path.stat().st_mode & 0o777 == 0o666
            continue
        assert path.stat().st_mode & 0o777 == 0o600, path
        assert path.owner() == users.get(client, "root"), path
    assert seen > 10


def test_another_user_is_refused_at_the_socket(system: RunningSystem) -> None:
    """login may not speak to the queue, nor smtpd to a mailbox; and nobody but root is an administrator."""
    names = ("queue.0/intake.*", "mailbox.0/handover.*", "queue.0/admin.cli", "auth.0/admin.cli", "mailbox.0/admin.cli")
    paths = [path for name in names for path in system.directory.glob(f"run/{name}")]
    assert len(paths) >= len(names)
    list_user = pwd.getpwnam("nobody")
    pid = os.fork()
    if pid == 0:
        refused = 0
        os.setgroups([])
        os.setgid(list_user.pw_gid)
        os.setuid(list_user.pw_uid)
        for path in paths:
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(str(path))
                except PermissionError:
                    refused += 1
        os._exit(0 if refused == len(paths) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_mail_comes_in_and_is_read_under_separate_users(system: RunningSystem) -> None:
    context = ssl.create_default_context(cafile=system.facts["ca_file"])
    host, port = system.endpoint("submission")
    with smtplib.SMTP(host, port, timeout=20) as client:
        client.starttls(context=context)
        client.login("alice@example.test", "wonderland")
        client.sendmail("alice@example.test", ["bob@example.test"], "Subject: separate\r\n\r\nusers\r\n")
    system.wait_for_message("Subject: separate", "bob")
    (path,) = [one for one in system.files("bob") if b"separate" in one.read_bytes()]
    assert path.owner() == SEPARATE_USERS["virtual_user"]
    assert path.stat().st_mode & 0o077 == 0
    with system.imap("bob") as reader:
        reader.select("INBOX")
        _, data = reader.fetch("1", "(BODY[TEXT])")
        assert b"users" in data[0][1]


def test_root_sees_to_the_mail_of_others_through_their_process(system: RunningSystem) -> None:
    """doveadm opens no file of theirs itself: what it saves belongs to the user of the mailbox process."""
    path = Path(sys.executable).with_name("doveadm")

    def doveadm(*words: str) -> str:
        command = [str(path), "-c", system.configuration, *words]
        done = subprocess.run(
            command, input="Subject: by root\n\nx\n", capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    doveadm("save", "-u", "bob@example.test")
    (file,) = [one for one in system.files("bob") if b"by root" in one.read_bytes()]
    assert file.owner() == SEPARATE_USERS["virtual_user"]
    assert doveadm("force-resync", "-A", "*") == doveadm("quota", "recalc", "-A") == ""
    assert len(doveadm("search", "-A", "subject", "by root").splitlines()) == 1
    doveadm("expunge", "-u", "bob@example.test", "mailbox", "INBOX", "subject", "by root")
    assert not file.exists()
