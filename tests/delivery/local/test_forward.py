"""Finding and trusting .forward files."""

import os
from pathlib import Path

import pytest

from posthouse.config.parameters.local import FORWARD_EXPANSION_FILTER, FORWARD_PATH
from posthouse.delivery import forward

FACTS = {
    "home": "/home/user",
    "user": "user",
    "shell": "/bin/sh",
    "recipient": "user+list@example.org",
    "extension": "list",
    "domain": "example.org",
    "local": "user+list",
    "recipient_delimiter": "+",
}


def paths(forward_path: str = FORWARD_PATH.default, **more: str) -> tuple[str, ...]:
    return forward.paths(forward_path, FACTS | more, FORWARD_EXPANSION_FILTER.default)


def test_the_extension_has_a_file_of_its_own() -> None:
    assert paths() == ("/home/user/.forward+list", "/home/user/.forward")
    assert paths(extension="", recipient_delimiter="") == ("/home/user/.forward",)


def test_an_extension_cannot_leave_the_home_directory() -> None:
    assert paths(extension="/../../etc/passwd") == ("/home/user/.forward",)
    assert paths(extension="a;b\nc") == ("/home/user/.forward+a_b_c", "/home/user/.forward")
    assert paths("relative/$user") == ()


def read(path: Path, owner: int | None = None, limit: int = 1000) -> tuple[str | None, str, tuple[str, ...]]:
    return forward.read_first((str(path),), os.getuid() if owner is None else owner, limit)


def test_a_users_own_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / ".forward"
    path.write_text("a@example.org\n")
    path.chmod(0o644)
    assert read(path) == ("a@example.org\n", str(path), ())
    assert read(tmp_path / "missing") == (None, "", ())
    assert read(path / "below") == (None, "", ())


def test_a_file_that_others_could_have_made_is_not_used(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_text("thief@example.org\n")
    good.chmod(0o644)
    link = tmp_path / "link"
    link.symlink_to(good)
    for path, word in ((link, "not a regular file"), (tmp_path, "not a regular file")):
        text, _, (warning,) = read(path)
        assert text is None
        assert word in warning
    hard = tmp_path / "hard"
    hard.hardlink_to(good)
    assert "2 links" in read(hard)[2][0]
    hard.unlink()
    for mode in (0o664, 0o646):
        good.chmod(mode)
        text, _, (warning,) = read(good)
        assert text is None
        assert "others than its owner can write it" in warning


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / ".forward"
    path.write_text("a@example.org\n")
    path.chmod(0o644)
    assert read(path, owner=12345)[0] is not None  # root's files are trusted
    os.chown(path, 54321, -1)
    assert "owned by uid 54321" in read(path, owner=12345)[2][0]


def test_a_file_that_is_too_large_makes_mail_wait(tmp_path: Path) -> None:
    path = tmp_path / ".forward"
    path.write_text("a@example.org\n" * 100)
    path.chmod(0o644)
    with pytest.raises(forward.TemporarilyUnreadable):
        read(path)


@pytest.mark.parametrize(
    ("header", "is_loop"),
    [
        (b"Delivered-To: user@example.org\r\n", True),
        (b"delivered-to:USER@Example.Org  \r\n", True),
        (b"DELIVERED-TO: user@example.org\r\n", True),
        (b"Delivered-To: other@example.org\r\n", False),
        (b"X-Delivered-To: user@example.org\r\n", False),
        (b"Subject: x\r\n\r\nDelivered-To: user@example.org\r\n", False),
    ],
)
def test_a_message_that_was_here_before_is_a_loop(header: bytes, is_loop: bool) -> None:
    assert forward.is_loop(b"From: x\r\n" + header + b"\r\nbody", "user@example.org") is is_loop
