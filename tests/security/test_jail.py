"""What SECURITY.md promises of each process, tried out from inside its jail."""

import json
import os
import pwd
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from posthouse.runtime import landlock
from posthouse.services.table import PROCESSES
from tests.conftest import _reachable
from tests.security.conftest import REPOSITORY, SEPARATE_USERS, SETTINGS, needs_root, readable_python

ALL = ("control", "auth", "tables", "queue", "mailbox", "smtp", "smtpd", "login")
RECIPIENT = "irc"
OWN_FILES: dict[str, set[str]] = {
    "control": set(),
    "auth": {"account database"},
    "tables": {"main.cf", "lookup table"},
    "queue": {"spool"},
    "mailbox": {"mailbox"},
    "smtp": set(),
    "smtpd": set(),
    "login": set(),
}
"""The whole matrix: what is not here must not open."""
READ_ONLY = {"main.cf", "lookup table"}
NETWORK = {"tables", "smtp", "smtpd"}
FILES = ("spool", "mailbox", "account database", "TLS key", "log", "main.cf", "lookup table", "shadow", "sandbox state")
REFUSED = (
    *("list root", "read /proc/1", "read own memory map", "write /tmp", "write code", "exec", "fork", "setuid 0"),
    *("setgroups", "chroot", "signal master", "netlink", "packet", "bind tcp", "ptrace master", "process_vm_readv"),
    *("mount", "unshare", "bpf", "io_uring", "userfaultfd", "keyctl", "perf_event_open", "init_module"),
    *("clone without thread", "x32 getpid", "personality", "open_by_handle_at", "read master's environment"),
    *("signal others", "priority of master", "abstract socket", "link the account database"),
)
REFUSED_TO_A_RECIPIENT = (
    *("write code", "setuid 0", "setgroups", "chroot", "signal master", "signal others", "priority of master"),
    *("packet", "ptrace master", "process_vm_readv", "mount"),
    *("read master's environment", "link the account database"),
)
"""A system user may do what a shell lets that user do, and nothing more."""
ALLOWED = ("thread", "read code")
SCOPES_ABI = 6
"""Landlock keeps signals and abstract sockets in from here on."""
Outcomes = dict[str, dict[str, object]]


class Judge(Protocol):
    def __call__(self, name: str, attempt: str, *, allowed: bool) -> None: ...


def run_probes(
    directory: Path, command: list[str], environment: dict[str, str], user: str | None, *settings: str
) -> Outcomes:
    """Start the probes and collect what each of them says."""
    box = directory / "box"
    targets = {
        "spool": box / "spool/journal/secret",
        "mailbox": box / "vmail/example.test/alice/Maildir/new/secret",
        "account database": box / "data/auth/directory.sqlite",
        "TLS key": box / "tls/key.pem",
        "log": box / "log/mail.log",
        "main.cf": box / "etc/main.cf",
        "lookup table": box / "etc/aliases",
        "shadow": Path("/etc/shadow"),
        "sandbox state": box / "sandbox.json",
    }
    _plant(box, targets, user, separate=bool(settings))
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0posthouse-probe-{os.getpid()}-{directory.name}")
        abstract.listen()
        process = subprocess.Popen(
            [*command, "-m", "tests.security.probe", str(box), *settings],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            env={
                "PATH": os.environ["PATH"],
                **environment,
                "PROBE_TARGETS": json.dumps({name: str(path) for name, path in targets.items()}),
                "PROBE_PORT": str(listening.getsockname()[1]),
                "PROBE_ABSTRACT": f"posthouse-probe-{os.getpid()}-{directory.name}",
                "PROBE_RUN": str(box / "run"),
                "PROBE_RECIPIENT": RECIPIENT,
            },
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            ready, _, _ = select.select([process.stdout], [], [], 30)
            assert ready
            assert process.stdout.readline(), process.stderr.read().decode()
            return _read_outcomes(box / "log/mail.log")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            process.stdout.close()
            process.stderr.close()


def _plant(box: Path, targets: dict[str, Path], user: str | None, *, separate: bool) -> None:
    """Something to find in every place, with the owner and modes that the real thing has there."""
    owners = {"spool": "mail_owner", "mailbox": "virtual_user"}
    for name, parameter in owners.items():
        target = targets[name]
        target.parent.mkdir(parents=True)
        target.write_text("secret")
        for one in (target, *target.parents[: len(target.relative_to(box).parts) - 1]):
            one.chmod(0o700 if one.is_dir() else 0o600)
            if separate or user:
                shutil.chown(one, SEPARATE_USERS[parameter] if separate else user)
    if user:
        shutil.chown(box, user)


def _read_outcomes(log: Path) -> Outcomes:
    give_up = time.monotonic() + 10
    found: Outcomes = {}
    while not found.keys() >= {*ALL, "local"}:
        assert time.monotonic() < give_up, log.read_text()
        for name, text in re.findall(r": probe (\w+) (\{.*\})$", log.read_text(), re.MULTILINE):
            found[name] = json.loads(text)
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def as_separate_users(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    needs_root()
    directory = _reachable(tmp_path_factory.mktemp("users"))
    command, environment = readable_python()
    return run_probes(directory, command, environment, None, *SETTINGS)


@pytest.fixture(scope="module")
def as_one_user(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Without root there is one uid for all: here the file modes mean nothing, and the jail alone must hold."""
    directory = _reachable(tmp_path_factory.mktemp("caller"))
    if os.geteuid() != 0:
        return run_probes(directory, [sys.executable], {"PYTHONPATH": str(REPOSITORY)}, None)
    command, environment = readable_python()
    caller = pwd.getpwnam("games")
    os.chown(directory, caller.pw_uid, caller.pw_gid)
    return run_probes(directory, command, environment, "games")


@pytest.fixture(params=["as_separate_users", "as_one_user"])
def outcomes(request: pytest.FixtureRequest) -> Outcomes:
    found: Outcomes = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def how(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["outcomes"]).removeprefix("as_").replace("_", " ")


def is_refused(outcome: object) -> bool:
    return outcome in ("EPERM", "EACCES")


@pytest.fixture
def judge(outcomes: Outcomes, how: str, record_property: Callable[[str, object], None]) -> Judge:
    """Compares one outcome with what SECURITY.md says of it, and notes both for the report."""

    def compare(name: str, attempt: str, *, allowed: bool) -> None:
        outcome = outcomes[name][attempt]
        record_property("attempt", [how, name, attempt, outcome, allowed])
        assert outcome == "done" if allowed else is_refused(outcome), f"{how}, {name}: {attempt}: {outcome}"

    return compare


@pytest.mark.parametrize("name", ALL)
def test_a_process_opens_its_own_files_and_no_others(judge: Judge, name: str) -> None:
    for target in FILES:
        judge(name, f"open {target}", allowed=target in OWN_FILES[name])
        judge(name, f"append to {target}", allowed=target in OWN_FILES[name] - READ_ONLY)


@pytest.mark.parametrize("name", ALL)
def test_what_an_intruder_wants_is_refused(judge: Judge, outcomes: Outcomes, name: str) -> None:
    for attempt in REFUSED:
        if attempt not in outcomes[name]:
            continue
        if attempt in ("abstract socket", "signal others") and landlock.abi() < SCOPES_ABI:
            continue
        judge(name, attempt, allowed=False)


@pytest.mark.parametrize("name", ALL)
def test_what_the_work_needs_still_works(judge: Judge, name: str) -> None:
    for attempt in ALLOWED:
        judge(name, attempt, allowed=True)
    judge(name, "connect tcp", allowed=name in NETWORK)
    judge(name, "datagram", allowed=name in NETWORK)


@pytest.mark.parametrize("name", ALL)
def test_every_codec_time_zone_and_record_type_works_in_the_jail(outcomes: Outcomes, name: str) -> None:
    """Rare record types are read from their files when they are needed; all else is in the prepared image."""
    imported = outcomes[name]["imported"]
    assert isinstance(imported, list)
    assert [one for one in imported if not one.startswith("dns.")] == []


@pytest.mark.parametrize("name", [*ALL, "local"])
def test_a_process_reaches_the_sockets_of_its_own_links_only(
    as_separate_users: Outcomes, name: str, record_property: Callable[[str, object], None]
) -> None:
    """Without root one uid owns all sockets, and nothing is promised."""
    sockets = [attempt for attempt in as_separate_users[name] if attempt.startswith("socket ")]
    assert len(sockets) == sum(len(spec.links) for spec in PROCESSES)
    for attempt in sockets:
        outcome = as_separate_users[name][attempt]
        allowed = attempt.endswith(f" of {name}") and name != "local"
        record_property("attempt", ["separate users", name, attempt, outcome, allowed])
        assert outcome == "done" if allowed else is_refused(outcome), f"{name}: {attempt}: {outcome}"


def test_a_child_of_local_is_its_user_and_nothing_more(
    as_separate_users: Outcomes, record_property: Callable[[str, object], None]
) -> None:
    found = as_separate_users["local"]
    assert found["uid"] == pwd.getpwnam(RECIPIENT).pw_uid
    private = [one for one in FILES if one not in ("main.cf", "lookup table")]
    for attempt in (
        *REFUSED_TO_A_RECIPIENT,
        *(f"open {one}" for one in private),
        *(f"append to {one}" for one in FILES),
    ):
        if attempt in found:
            record_property("attempt", ["separate users", "local", attempt, found[attempt], False])
            assert is_refused(found[attempt]), f"local as {RECIPIENT}: {attempt}: {found[attempt]}"


def test_every_process_has_a_user_of_its_own(as_separate_users: Outcomes) -> None:
    uids = [as_separate_users[name]["uid"] for name in ALL]
    assert 0 not in uids
    assert len(set(uids)) == len(uids)
