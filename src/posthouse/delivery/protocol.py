"""What the parent of local delivery and its children say to each other: one question, one answer, one packet each.

Children are plain loops without asyncio: a lock may make them wait for seconds, a command for minutes. Content up to
`INLINE_OCTETS` is in the packet; more comes as a read-only descriptor, message from offset 0.
"""

import os
from typing import Final

import msgspec

PACKET_OCTETS: Final = 192 * 1024
"""Below the kernel's default buffer of a Unix socket (212,992), so that a packet always fits."""
INLINE_OCTETS: Final = 64 * 1024


class Question(msgspec.Struct, frozen=True, tag=True):
    pass


class Spawn(msgspec.Struct, frozen=True):
    """To the forker, with the child's end of a socket pair: make a process that works as this user, for good."""

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    may_gain_privileges: bool
    """Only for running the user's own commands, which may be setgid programs (procmail, lockfile), as in a shell."""


class ReadForward(Question, frozen=True):
    """The first of these files that exists. `owner` besides root."""

    paths: tuple[str, ...]
    owner: int
    size_limit: int
    home: str = ""
    """With require_home_directory: must exist."""


class ReadInclude(Question, frozen=True):
    path: str
    size_limit: int


class Drop(Question, frozen=True):
    """Put one message into a file or a Maildir (`path` ends with a slash). `head` are header lines (LF) in front of the
    content; `delivery` names this delivery for ever; `maybe_delivered`: look before you write."""

    path: str
    sender: str
    head: bytes
    delivery: str
    at_s: float
    size: int
    content: bytes
    host: str
    locks: tuple[str, ...]
    lock_attempts: int
    lock_delay_s: float
    lock_stale_s: float
    size_limit: int
    owner: int
    """The uid that the file must have (strict_mailbox_ownership); -1 for any."""
    maybe_delivered: bool = False


class Run(Question, frozen=True):
    """Run a command with head and content (LF, with a From_ line) on its standard input."""

    command: str
    shell: str
    directory: str
    environment: dict[str, str]
    sender: str
    head: bytes
    at_s: float
    size: int
    content: bytes
    time_limit_s: float
    output_limit: int


class Text(msgspec.Struct, frozen=True, tag=True):
    """`text` None: there is no such file. `warnings` for the log."""

    text: str | None
    path: str = ""
    warnings: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True, tag=True):
    """`dsn` begins with 2, 4 or 5; `words` for log, bounce and client. `is_uncertain`: what was written could not be
    taken back, and may be whole."""

    dsn: str
    words: str
    warnings: tuple[str, ...] = ()
    is_uncertain: bool = False


Questions = ReadForward | ReadInclude | Drop | Run
Answers = Text | Outcome
encoder: Final = msgspec.msgpack.Encoder()
questions: Final = msgspec.msgpack.Decoder(Questions)
answers: Final = msgspec.msgpack.Decoder(Answers)
spawns: Final = msgspec.msgpack.Decoder(Spawn)


def content_of(descriptor: int, size: int) -> bytes:
    """A large message as one piece; the descriptor's own position is shared with others and stays untouched."""
    pieces: list[bytes] = []
    at = 0
    while at < size:
        piece = os.pread(descriptor, min(size - at, 1 << 20), at)
        if not piece:
            raise OSError(f"the message ends after {at} of {size} octets")
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
