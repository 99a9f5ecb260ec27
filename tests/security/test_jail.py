"""What SECURITY.md promises of each process, tried out from inside its jail."""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import _reachable
from tests.security.conftest import REPOSITORY, SEPARATE_USERS, SETTINGS, needs_root, readable_python

ALL = ("auth", "tables", "queue", "mailbox", "smtp", "smtpd", "login")
OWN_FILES = {
    "auth": {"account database"},
    "tables": {"main.cf", "lookup table"},
    "queue": {"spool"},
    "mailbox": {"mailbox"},
    "smtp": set(),
    "smtpd": set(),
    "login": set(),
}
"""The whole matrix: what is not here must not open."""
CONNECTS = {"tables", "smtp", "smtpd"}
FILES = ("spool", "mailbox", "account database", "TLS key", "log", "main.cf", "lookup table", "shadow", "sandbox state")
REFUSED = (
    *("list root", "read /proc/1", "read own memory map", "write /tmp", "write code", "exec", "fork", "setuid 0"),
    *("setgroups", "chroot", "signal master", "netlink", "packet", "bind tcp", "ptrace master", "process_vm_readv"),
    *("mount", "unshare", "bpf", "io_uring", "userfaultfd", "keyctl", "perf_event_open", "init_module"),
    *("clone without thread", "x32 getpid", "personality", "open_by_handle_at"),
)
ALLOWED = ("thread", "datagram", "read code")
Outcomes = dict[str, dict[str, object]]


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
    with socket.create_server(("127.0.0.1", 0)) as listening:
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
    while not found.keys() >= set(ALL):
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
    import pwd

    nobody = pwd.getpwnam("games")
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    return run_probes(directory, command, environment, "games")


@pytest.fixture(params=["as_separate_users", "as_one_user"])
def outcomes(request: pytest.FixtureRequest) -> Outcomes:
    found: Outcomes = request.getfixturevalue(request.param)
    return found


def is_refused(outcome: object) -> bool:
    return outcome in ("EPERM", "EACCES")


@pytest.mark.parametrize("name", ALL)
def test_a_process_opens_its_own_files_and_no_others(outcomes: Outcomes, name: str) -> None:
    for target in FILES:
        outcome = outcomes[name][f"open {target}"]
        if target in OWN_FILES[name]:
            assert outcome == "done", f"{name} cannot open {target}: {outcome}"
        else:
            assert is_refused(outcome), f"{name} opens {target}: {outcome}"


@pytest.mark.parametrize("name", ALL)
def test_what_an_intruder_wants_is_refused(outcomes: Outcomes, name: str) -> None:
    for attempt in REFUSED:
        if attempt in outcomes[name]:
            assert is_refused(outcomes[name][attempt]), f"{name}: {attempt}: {outcomes[name][attempt]}"


@pytest.mark.parametrize("name", ALL)
def test_what_the_work_needs_still_works(outcomes: Outcomes, name: str) -> None:
    for attempt in ALLOWED:
        assert outcomes[name][attempt] == "done", f"{name}: {attempt}: {outcomes[name][attempt]}"
    connect = outcomes[name]["connect tcp"]
    assert connect == "done" if name in CONNECTS else is_refused(connect)


@pytest.mark.parametrize("name", ALL)
def test_codecs_record_types_and_tracebacks_are_in_the_prepared_image(outcomes: Outcomes, name: str) -> None:
    assert outcomes[name]["imported"] == []


def test_every_process_has_a_user_of_its_own(as_separate_users: Outcomes) -> None:
    uids = [as_separate_users[name]["uid"] for name in ALL]
    assert 0 not in uids
    assert len(set(uids)) == len(uids)
