"""A message appended to an mbox file in any state, with any content.

What holds: what was there stays, but for a torn piece of this very delivery; a delivery that is there is found and not
repeated; whatever a crash cuts off the end, the next attempt makes it whole, once.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from fuzz.target import Target
from posthouse.delivery import mbox
from posthouse.delivery.locks import LockRules

_RULES: Final = LockRules(("fcntl",), attempts=1, delay_s=0.01, stale_s=500)
_HEAD: Final = b"Return-Path: <a@example.org>\n"
_DELIVERY: Final = "4bXyz.0.1"
_FROM: Final = b"From a@example.org  "
_MARK: Final = b"\nX-Posthouse-Delivery: 4bXyz.0.1\n"
_PARENT: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def check(data: bytes) -> None:
    before, _, rest = data.partition(b"\xff")
    cut, content = int.from_bytes(rest[:2], "big"), rest[2:]
    directory = tempfile.mkdtemp(prefix="posthouse-fuzz-", dir=_PARENT)
    try:
        _append(Path(directory, "box"), before, cut, content)
    finally:
        shutil.rmtree(directory)


def _append(path: Path, before: bytes, cut: int, content: bytes) -> None:
    message = mbox.render("a@example.org", _HEAD, _DELIVERY, content, 1_700_000_000.0)
    line, body = message
    assert line.count(b"\n") == 1
    assert body.endswith(b"\n\n")
    assert not body.startswith(b"From ")
    assert b"\nFrom " not in body

    def append(*, maybe: bool) -> bool:
        return mbox.append(
            str(path), message, _DELIVERY, _RULES, size_limit=0, owner=os.getuid(), maybe_delivered=maybe
        )

    path.write_bytes(before)
    assert append(maybe=False)
    once = path.read_bytes()
    assert once.startswith(before)
    assert once.endswith(line + body)
    assert len(once) <= len(before) + 2 + len(line) + len(body)
    assert not append(maybe=True)
    assert path.read_bytes() == once
    # A crash while it was written: the file ends somewhere behind what was there before.
    torn = once[: len(before) + cut % (len(once) - len(before) + 1)]
    path.write_bytes(torn)
    append(maybe=True)
    again = path.read_bytes()
    assert again.startswith(before) or _looks_torn(before)
    # Who knows the delivery id and the message beforehand can have it taken for delivered.
    assert again.endswith(line + body) or _MARK in b"\n" + before
    if _MARK not in b"\n" + before + b"\n" and _MARK not in b"\n" + content.replace(b"\r\n", b"\n") + b"\n":
        assert (b"\n" + again).count(_MARK) == 1
    assert not append(maybe=True)
    assert path.read_bytes() == again


def _looks_torn(before: bytes) -> bool:
    """Could its end be the beginning of this delivery? Then it may have been cut off."""
    tail = before[before.rfind(b"\n") + 1 :]
    return _DELIVERY.encode() in before or _FROM in before or (tail != b"" and _FROM.startswith(tail.rstrip(b"\0")))


TARGET = Target(
    check,
    seeds=(
        b"\xff\0\x30Subject: x\r\n\r\nbody\r\nFrom here\r\n",
        b"From x  Mon Jan  1 00:00:00 2024\nSubject: y\n\nno end\xff\0\x05Subject: x\r\n\r\nbody",
        b"From x  Mon\nX-Posthouse-Delivery: 4bXyz.0.1\n\nquoted\n\n\xff\1\0Subject: x\r\nX-Posthouse-Delivery: 4bXyz.0.1\r\n\r\n\r\n",
        b"\n\n\xff\0\xa0>From\r\nFrom \r\n.\r\n",
    ),
    words=(
        b"From ", b"From a@example.org  ", b"\nX-Posthouse-Delivery: 4bXyz.0.1\n", b"\r\n", b"\n", b"\n\n", b"\r",
        b"\0", b"\xff", b">From ", b"Return-Path: <a@example.org>\n",
    ),
    max_octets=4000,
)  # fmt: skip
