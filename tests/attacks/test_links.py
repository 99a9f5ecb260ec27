"""A local user plants links and odd files where programs with other rights read and write."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningSystem

USER = "games"
"""A system user that every Debian has."""


@pytest.fixture(scope="module")
def settings() -> tuple[str, ...]:
    return ("virtual_mailbox_domains=example.test", "mydestination=localhost")


@pytest.fixture(autouse=True)
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: only root delivers to others")


@pytest.fixture
def victim() -> Iterator[Path]:
    """A file of root's that the user cannot read."""
    directory = Path(tempfile.mkdtemp(prefix="posthouse-victim-"))
    file = directory / "secret"
    file.write_text("root's own\n")
    file.chmod(0o600)
    yield file
    assert file.read_text() == "root's own\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stat().st_uid == 0
    shutil.rmtree(directory)


def plant(kind: str, path: Path, victim: Path) -> None:
    match kind:
        case "symlink":
            path.symlink_to(victim)
        case "dangling symlink":
            path.symlink_to(victim.with_name("made-through-a-link"))
        case "hard link":
            copy = path.with_name(path.name + "-victim")
            copy.write_text("linked\n")
            os.link(copy, path)
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "device":
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    if kind not in ("symlink", "dangling symlink", "hard link"):
        shutil.chown(path, USER)


KINDS = ("symlink", "dangling symlink", "hard link", "fifo", "directory", "device")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", ["mailbox", "lock"])
def test_a_trap_in_the_mail_spool_costs_its_owner_only(system: RunningSystem, victim: Path, kind: str, of: str) -> None:
    spool = Path(system.facts["mail_spool"]) if "mail_spool" in system.facts else system.directory / "mail"
    mailbox = spool / USER
    trap = mailbox if of == "mailbox" else spool / f"{USER}.lock"
    mailbox.unlink(missing_ok=True)
    plant(kind, trap, victim)
    try:
        system.send(f"trap {kind} {of}", f"{USER}@localhost")
        system.send(f"beside {kind} {of}", "alice@example.test")
        system.wait_for_message(f"Subject: beside {kind} {of}\n")
        if of == "mailbox":
            system.wait_for_log(rf"to=<{USER}@localhost>, .*status=deferred \(cannot update mailbox")
        assert not victim.with_name("made-through-a-link").exists()
        if kind == "hard link":
            assert trap.with_name(trap.name + "-victim").read_text() == "linked\n"
        if kind == "directory":
            assert list(trap.iterdir()) == []
    finally:
        system.command("postsuper", "-d", "ALL", check=False)
        for path in (trap, trap.with_name(trap.name + "-victim")):
            if path.is_symlink() or path.is_file() or path.is_fifo() or path.is_char_device():
                path.unlink()
            elif path.is_dir():
                path.rmdir()
        mailbox.unlink(missing_ok=True)


@pytest.mark.parametrize("kind", KINDS)
def test_odd_files_in_the_maildrop_are_not_mail_and_stop_nobody(system: RunningSystem, victim: Path, kind: str) -> None:
    maildrop = next(system.directory.glob("spool/**/maildrop"), system.directory / "spool/maildrop")
    trap = maildrop / f"4bTrap{KINDS.index(kind)}zzzz"
    plant(kind, trap, victim)
    try:
        mark = f"maildrop {kind}"
        program = Path(sys.executable).with_name("sendmail")
        text = f"Subject: {mark}\n\nx\n"
        subprocess.run(
            [program, "-C", system.configuration, "alice@example.test"], input=text, text=True, check=True, timeout=30
        )
        system.wait_for_message(f"Subject: {mark}\n")
        assert not victim.with_name("made-through-a-link").exists()
        assert "root's own" not in system.log()
        for name in ("alice", "bob"):
            assert not any(b"root's own" in one.read_bytes() for one in system.files(name))
    finally:
        for path in (trap, trap.with_name(trap.name + "-victim")):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            elif path.is_symlink() or path.exists():
                path.unlink()


@pytest.mark.parametrize("part", ["new", "cur", "tmp"])
def test_a_maildir_whose_parts_lead_elsewhere_writes_nothing_there(
    system: RunningSystem, victim: Path, part: str
) -> None:
    """Somebody with the rights of virtual_user has prepared it."""
    maildir = Path(system.files("bob")[0].parents[1]) if system.files("bob") else None
    if maildir is None:
        system.send("first", "bob@example.test")
        system.wait_for_message("Subject: first\n", "bob")
        maildir = system.files("bob")[0].parents[1]
    real, moved = maildir / part, maildir / f"{part}.real"
    elsewhere = victim.parent / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o700)
    real.rename(moved)
    real.symlink_to(elsewhere)
    try:
        system.send(f"elsewhere {part}", "bob@example.test")
        system.send(f"alice beside {part}")
        system.wait_for_message(f"Subject: alice beside {part}\n")
        assert list(elsewhere.iterdir()) == [], "the jail of mailbox ends at the mail store"
    finally:
        real.unlink()
        moved.rename(real)
        system.command("postqueue", "-f", check=False)
