"""Mailbox files: locks, quoting, and exactly one copy whatever happened before."""

import errno
import fcntl
import mailbox
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.delivery import mbox
from posthouse.delivery.locks import LockFailed, LockRules

RULES = LockRules(("fcntl", "dotlock"), attempts=2, delay_s=0.05, stale_s=500)
HEAD = b"Return-Path: <a@example.org>\nDelivered-To: user@example.net\n"
CONTENT = b"Subject: test\r\n\r\nHello\r\nFrom here on\r\n\r\nFrom there\r\n"
AT = 1_700_000_000.0


def message(delivery: str = "4bXyz.0.1", content: bytes = CONTENT) -> tuple[bytes, bytes]:
    return mbox.render("a@example.org", HEAD, delivery, content, AT)


def append(
    path: Path,
    *,
    delivery: str = "4bXyz.0.1",
    content: bytes = CONTENT,
    maybe: bool = False,
    limit: int = 0,
    owner: int | None = None,
    rules: LockRules = RULES,
) -> bool:
    return mbox.append(
        str(path),
        message(delivery, content),
        delivery,
        rules,
        size_limit=limit,
        owner=os.getuid() if owner is None else owner,
        maybe_delivered=maybe,
    )


def subjects(path: Path) -> list[str]:
    box = mailbox.mbox(path)
    try:
        return [str(one["subject"]) for one in box]
    finally:
        box.close()


def test_a_message_is_appended_as_other_programs_read_it(tmp_path: Path) -> None:
    path = tmp_path / "box"
    assert append(path)
    assert append(path, delivery="4bXyz.1.1")
    text = path.read_bytes()
    assert text.startswith(b"From a@example.org  ")
    assert b"\n>From here on\n\n>From there\n\nFrom a@example.org  " in text
    assert b"\r" not in text
    assert text.endswith(b"\n\n")
    assert subjects(path) == ["test", "test"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.lock*"))


def test_the_null_sender_has_a_name_and_line_ends_cannot_get_in() -> None:
    assert mbox.from_line("", AT).startswith(b"From MAILER-DAEMON  ")
    assert mbox.from_line("a\nb@x", AT).count(b"\n") == 1


def test_what_another_program_left_unfinished_is_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.write_bytes(b"From x  Mon Jan  1 00:00:00 2024\nSubject: one\n\nno end")
    append(path)
    assert subjects(path) == ["one", "test"]


@pytest.mark.parametrize("cut", range(0, 330, 7))
@pytest.mark.parametrize("zeros", [0, 50])
@pytest.mark.parametrize("before", [b"", b"From x  Mon Jan  1 00:00:00 2024\nSubject: one\n\nbody\n\n"])
def test_a_torn_append_becomes_exactly_one_whole_message(tmp_path: Path, cut: int, zeros: int, before: bytes) -> None:
    path = tmp_path / "box"
    whole = b"".join(message())
    path.write_bytes(before + whole[:cut] + b"\0" * (zeros if cut < len(whole) else 0))
    assert append(path, maybe=True) is (cut < len(whole))
    assert path.read_bytes() == before + whole


def test_a_message_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "box"
    append(path)
    append(path, delivery="other.0.1")
    size = path.stat().st_size
    assert not append(path, maybe=True)
    assert path.stat().st_size == size


def test_a_message_that_quotes_our_header_is_not_taken_for_the_delivery(tmp_path: Path) -> None:
    path = tmp_path / "box"
    quoting = b"Subject: forged\r\n\r\nX-Posthouse-Delivery: 4bXyz.0.1\r\n"
    append(path, delivery="first.0.1", content=quoting)
    assert append(path, maybe=True)
    append(path, delivery="second.0.1", content=quoting)
    assert not append(path, maybe=True)
    assert subjects(path) == ["forged", "test", "forged"]


@given(st.binary(max_size=300).filter(lambda one: b"\r" not in one), st.integers(0, 600))
@settings(max_examples=200, deadline=None)
def test_whatever_stood_there_before_a_torn_append_stays(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, cut: int
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "box"
    before = b"From x  Mon Jan  1 00:00:00 2024\n\n" + junk.replace(b"\0", b"0") + b"\n\n"
    whole = b"".join(message())
    path.write_bytes(before + whole[:cut])
    append(path, maybe=True)
    text = path.read_bytes()
    assert text.startswith(before)
    assert text.count(whole) == 1
    assert text.endswith(whole)


def test_a_full_mailbox_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "box"
    append(path)
    before = path.read_bytes()
    with pytest.raises(mbox.MailboxFull):
        append(path, delivery="x.0.1", limit=len(before) + 10)
    assert path.read_bytes() == before


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    """A real full disk: the file may not grow beyond RLIMIT_FSIZE."""
    path = tmp_path / "box"
    append(path)
    before = path.read_bytes()
    script = (
        "import resource, signal, sys\n"
        "from posthouse.delivery import mbox\n"
        "from posthouse.delivery.locks import LockRules\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 40},) * 2)\n"
        "message = mbox.render('a@example.org', b'', 'x.0.1', b'y' * 200, 0)\n"
        "try:\n"
        f"    mbox.append({str(path)!r}, message, 'x.0.1', LockRules(('fcntl',), 1, 0, 1), size_limit=0, owner=-1,\n"
        "        maybe_delivered=False)\n"
        "except OSError as error:\n"
        "    sys.exit(error.errno)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=30).returncode == 27  # EFBIG
    assert path.read_bytes() == before


def test_what_cannot_be_cut_off_again_is_found_by_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    box = tmp_path / "mbox"
    append(box, delivery="first.0.1")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        broken.setattr(os, "ftruncate", fail)
        with pytest.raises(mbox.LeftBehind):
            append(box)
    assert not append(box, maybe=True)
    assert subjects(box) == ["test", "test"]


def test_links_and_foreign_files_are_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    link = tmp_path / "link"
    link.symlink_to(victim)
    hard = tmp_path / "hard"
    hard.hardlink_to(victim)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (link, hard, fifo, tmp_path):
        with pytest.raises(mbox.NotAMailbox):
            append(path)
    with pytest.raises(mbox.NotAMailbox):
        append(hard, owner=os.getuid() + 1)
    assert victim.read_text() == "precious\n"


def test_a_foreign_dotlock_is_respected_until_it_is_stale(tmp_path: Path) -> None:
    path = tmp_path / "box"
    lock = tmp_path / "box.lock"
    lock.write_text("")
    with pytest.raises(LockFailed, match="unable to create lock file"):
        append(path)
    assert not path.exists()
    old = time.time() - 1000
    os.utime(lock, (old, old))
    assert append(path)
    assert not lock.exists()


def test_a_foreign_fcntl_lock_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.write_bytes(b"")
    script = (
        "import fcntl, sys\n"
        f"file = open({str(path)!r}, 'r+b')\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        with pytest.raises(LockFailed, match="exclusive access"):
            append(path)
        holder.stdin.close()
        holder.wait(10)
    assert append(path)


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "box"
    rules = LockRules(("fcntl", "dotlock"), attempts=2000, delay_s=0.002, stale_s=500)
    children = []
    for writer in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for number in range(5):
                    append(path, delivery=f"w{writer}.{number}.1", rules=rules)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert len(subjects(path)) == 20


def test_the_lock_is_released_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "box"
    append(path)
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
