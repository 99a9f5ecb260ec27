"""Maildirs of system users."""

import mailbox
import os
from pathlib import Path

import pytest

from posthouse.delivery import maildir_drop
from posthouse.delivery.mbox import MailboxFull, NotAMailbox

UNIQUE = maildir_drop.unique_name("4bXyz.0.1", 1_700_000_000.5, "mail.example.org")
CONTENT = b"Subject: test\r\n\r\nFrom here\r\n"


def drop(path: Path, *, unique: str = UNIQUE, maybe: bool = False, limit: int = 0, owner: int | None = None) -> bool:
    return maildir_drop.drop(
        f"{path}/",
        b"Return-Path: <>\n",
        CONTENT,
        unique,
        size_limit=limit,
        owner=os.getuid() if owner is None else owner,
        maybe_delivered=maybe,
    )


def files(path: Path) -> list[str]:
    return sorted(str(one.relative_to(path)) for one in path.rglob("*") if one.is_file())


def test_a_maildir_is_made_and_others_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "Maildir"
    assert drop(path)
    (name,) = files(path)
    assert name == "new/1700000000.P4bXyz.0.1.mail.example.org,S=41"
    (one,) = mailbox.Maildir(path)
    assert one["subject"] == "test"
    assert (path / name).read_bytes() == b"Return-Path: <>\nSubject: test\n\nFrom here\n"
    assert (path / name).stat().st_mode & 0o777 == 0o600


def test_a_second_attempt_finds_the_first_wherever_it_went(tmp_path: Path) -> None:
    path = tmp_path / "Maildir"
    drop(path)
    (name,) = files(path)
    assert not drop(path, maybe=True)
    (path / name).rename(path / "cur" / (Path(name).name + ":2,RS"))
    assert not drop(path, maybe=True)
    assert len(files(path)) == 1


def test_a_file_that_a_power_cut_emptied_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "Maildir"
    drop(path)
    (name,) = files(path)
    for damage in (b"", b"\0" * 41, b"Return-Path: <>\nSub"):
        (path / name).write_bytes(damage)
        assert drop(path, maybe=True)
        assert files(path) == [name]
        assert (path / name).read_bytes().endswith(b"From here\n")


def test_another_delivery_of_the_same_message_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "Maildir"
    drop(path)
    assert drop(path, unique=maildir_drop.unique_name("4bXyz.0.10", 1_700_000_000.5, "mail.example.org"), maybe=True)
    assert len(files(path)) == 2


def test_what_is_no_maildir_of_the_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotAMailbox):
        drop(tmp_path / "file")
    drop(tmp_path / "theirs")
    with pytest.raises(NotAMailbox):
        drop(tmp_path / "theirs", owner=os.getuid() + 1)
    with pytest.raises(MailboxFull):
        drop(tmp_path / "full", limit=10)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "tmp").symlink_to(elsewhere)
    with pytest.raises(NotAMailbox):
        drop(tmp_path / "trap")


def test_a_host_name_cannot_leave_the_directory() -> None:
    assert "/" not in maildir_drop.unique_name("x.0.1", 0, "../a:b")
    assert ":" not in maildir_drop.unique_name("x.0.1", 0, "../a:b")
