"""Where a user's .forward is, and reading it without being led astray; loops by Delivered-To."""

import errno
import os
import re
import stat
from collections.abc import Mapping
from typing import Final

from posthouse.config.expansion import expand

_UNUSABLE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_DELIVERED_TO: Final = re.compile(rb"^delivered-to:[ \t]*(.*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_HEADER_OCTETS: Final = 256 * 1024
"""Delivered-To lines are at the top; a header longer than this is refused on reception."""


class TemporarilyUnreadable(Exception):
    """A file system does not answer as it should: mail must wait, or it would go where it should not."""


def paths(forward_path: str, facts: Mapping[str, str], allowed: str) -> tuple[str, ...]:
    """The files that forward_path names for one recipient. `facts`: home, user, shell, recipient, extension, domain,
    local, recipient_delimiter; characters outside `allowed` become underscores (they come from the address)."""
    safe = {
        name: value if name in ("home", "shell") else "".join(one if one in allowed else "_" for one in value)
        for name, value in facts.items()
    }
    found: dict[str, None] = {}
    for word in _words(forward_path):
        path = expand(word, safe.get)
        # An extension such as "../../x" must not lead out of the directory that the administrator meant.
        if path.startswith("/") and ".." not in path.split("/"):
            found[path] = None
    return tuple(found)


def _words(text: str) -> list[str]:
    """Separated by commas and white space, but not inside ${...}."""
    words: list[str] = []
    depth = 0
    current = ""
    for character in text:
        depth += (character in "{(") - (character in "})")
        if depth <= 0 and (character in ", \t\n\r"):
            if current:
                words.append(current)
            current = ""
        else:
            current += character
    return [*words, current] if current else words


def read_first(candidates: tuple[str, ...], owner: int, size_limit: int) -> tuple[str | None, str, tuple[str, ...]]:
    """(text, path, warnings) of the first file that exists and may be trusted; text None if there is none. The caller
    has the recipient's rights. A file that anybody else could have written is passed over with a warning, so that mail
    goes to the mailbox. Raises TemporarilyUnreadable."""
    warnings: list[str] = []
    for path in candidates:
        try:
            before = os.lstat(path)
        except OSError as error:
            if error.errno in _UNUSABLE or error.errno == errno.EACCES:
                continue
            raise TemporarilyUnreadable(f"cannot access {path}: {error.strerror}") from error
        problem = _distrust(before, owner)
        if problem:
            warnings.append(f"{path}: {problem}; it is not used")
            continue
        return read_text(path, size_limit, before, owner), path, tuple(warnings)
    return None, "", tuple(warnings)


def _distrust(facts: os.stat_result, owner: int) -> str:
    if not stat.S_ISREG(facts.st_mode):
        return "not a regular file"
    if facts.st_uid not in (0, owner):
        return f"owned by uid {facts.st_uid}"
    if facts.st_nlink != 1:
        return f"has {facts.st_nlink} links"
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others than its owner can write it"
    return ""


def read_text(path: str, size_limit: int, before: os.stat_result | None = None, owner: int = -1) -> str:
    """A list file's text. With `before` it must still be the same file. Raises TemporarilyUnreadable: a list that is
    there and cannot be read may not be taken for no list."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if before else 0))
        try:
            facts = os.fstat(descriptor)
            if before is not None and (
                (before.st_dev, before.st_ino) != (facts.st_dev, facts.st_ino) or _distrust(facts, owner)
            ):
                raise TemporarilyUnreadable(f"{path} was replaced while it was opened")
            if not stat.S_ISREG(facts.st_mode):
                raise TemporarilyUnreadable(f"{path} is not a regular file")
            if facts.st_size > size_limit:
                raise TemporarilyUnreadable(f"{path} has {facts.st_size} octets, more than {size_limit}")
            octets = b""
            while piece := os.read(descriptor, size_limit + 1 - len(octets)):
                octets += piece
        finally:
            os.close(descriptor)
    except OSError as error:
        raise TemporarilyUnreadable(f"cannot read {path}: {error.strerror}") from error
    return octets.decode("utf-8", "surrogateescape")


def is_loop(content: bytes, recipient: str) -> bool:
    """Has this message been delivered to this recipient before? Every local delivery and forward says so in the message
    (prepend_delivered_header), so a second time is a circle of forwards."""
    end = content.find(b"\r\n\r\n", 0, _HEADER_OCTETS)
    header = content[: end if end >= 0 else _HEADER_OCTETS]
    if b"elivered-" not in header and b"ELIVERED-" not in header:
        return False
    wanted = recipient.lower().encode("utf-8", "surrogateescape")
    return any(match[1].lower() == wanted for match in _DELIVERED_TO.finditer(header))
