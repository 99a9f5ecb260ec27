"""A file system that is full, and directories that belong to somebody else."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.core.identifiers import DeliveryId, Uid
from posthouse.store.flush import Volumes
from posthouse.store.interface import FlagChange, StorageFailed
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.location import MailLocation
from posthouse.store.maildir.store import MaildirStore

WIRE = b"Subject: x\r\n\r\nbody\r\n"
BIG = WIRE + b"x" * 100_000 + b"\r\n"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mount.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mount.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def refusal(work: Callable[[int], object]) -> StorageFailed | None:
    """What ends twenty repetitions."""
    try:
        for number in range(20):
            work(number)
    except StorageFailed as error:
        return error
    return None


@pytest.mark.root
def test_a_full_disk_refuses_leaves_nothing_half_and_recovers(small: Path) -> None:
    environment = Environment(Volumes())
    root = small / "Maildir"
    store = MaildirStore(MailLocation(str(root)), environment)
    inbox = store.open("INBOX")
    inbox.append(WIRE, frozenset(), None, None)
    full = refusal(lambda _: inbox.append(BIG, frozenset(), None, None))
    assert full is not None
    assert full.no_space
    assert "No space left" in full.detail
    full = refusal(lambda number: store.deliver(BIG, DeliveryId(f"4bXyZ{number}z0.0.0"), "INBOX", False))
    assert full is not None
    assert full.no_space
    assert list((root / "tmp").iterdir()) == []
    # Flags are renames: where there is no room for the index's log, they fail or not, but nothing breaks.
    kept = [row.uid for row in inbox.rows()]
    full = refusal(lambda _: inbox.store_flags(kept, FlagChange.ADD, frozenset({"\\Seen"}), None))
    full = full or refusal(lambda _: asyncio.run(store.flush()))
    assert full is None or full.no_space
    # Room is made by whoever administers the machine.
    for path in list((root / "cur").glob("*,S=100*"))[:3]:
        path.unlink()
    store.close()
    store = MaildirStore(MailLocation(str(root)), environment)
    inbox = store.open("INBOX")
    assert inbox.content(Uid(1)) == WIRE
    assert store.deliver(WIRE, DeliveryId("4bXyZ99z0.0.0"), "INBOX", False)
    inbox.append(WIRE, frozenset({"Key"}), None, None)
    asyncio.run(store.flush())
    store.close()
    environment.close()


def test_missing_rights_are_explained_in_dovecots_words_with_the_repair(open_directory: Path) -> None:
    """In a child that has given up root, if we are root."""
    home = open_directory / "home"
    home.mkdir(mode=0o755)
    code = f"""
import os
from posthouse.core.identifiers import DeliveryId
from posthouse.store.flush import Volumes
from posthouse.store.interface import StorageFailed
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.location import MailLocation
from posthouse.store.maildir.store import MaildirStore
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
store = MaildirStore(MailLocation({str(home)!r} + "/Maildir"), Environment(Volumes()))
try:
    store.deliver(b"x: y\\r\\n\\r\\n", DeliveryId("q.0.0"), "INBOX", False)
except StorageFailed as error:
    print(error)
    print(error.detail)
"""
    if os.geteuid() != 0:
        home.chmod(0o555)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    home.chmod(0o755)
    assert answer.returncode == 0, answer.stderr
    told, detail = answer.stdout.splitlines()
    assert str(home) not in told
    uid = 65534 if os.geteuid() == 0 else os.getuid()
    assert f"Permission denied (euid={uid} egid=" in detail
    assert f"missing +w perm: {home}, dir owned by {os.getuid()}:{os.getgid()} mode=0" in detail
    assert f"to repair: install -d -o {uid} -g " in detail
    assert detail.endswith(f"{home}/Maildir")
