"""File names of messages: `<time>.<unique>.<host>,S=<size>,W=<size with CRLF>:2,<flags>`.

What is before the colon never changes and names the message. S= is what Maildir++ quotas add up, W= saves us (as it
does Dovecot) reading the file for RFC822.SIZE. Flag letters are in ASCII order: D F R S T, then keywords a to z.
"""

import itertools
import os
import re
import secrets
import socket
from typing import Final

from posthouse.core.identifiers import DeliveryId
from posthouse.store.interface import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN

LETTERS: Final = {"D": DRAFT, "F": FLAGGED, "R": ANSWERED, "S": SEEN, "T": DELETED}
LETTER_OF: Final = {flag: letter for letter, flag in LETTERS.items()}
MAX_KEYWORDS: Final = 26
"""Those with a letter; a mailbox's further keywords live in the index only, as with Dovecot."""

_SIZE: Final = re.compile(r",S=([0-9]{1,18})(?=[,:]|\Z)")
_WIRE_SIZE: Final = re.compile(r",W=([0-9]{1,18})(?=[,:]|\Z)")
_DELIVERY: Final = re.compile(r"([0-9]{1,12})\.([0-9A-Za-z]+\.[0-9]+\.[0-9]+)\.")

_APPENDED: Final = re.compile(r"[0-9]{1,12}\.M[0-9]{1,6}P[0-9]+R[0-9a-f]{6}Q[0-9]+\.")


def host_name() -> str:
    """This host, as it stands in file names (the Maildir specification's escapes, and the comma for S=)."""
    name = socket.gethostname() or "localhost"
    return name.replace("/", "\\057").replace(":", "\\072").replace(",", "\\054")[:64]


def base_of(name: str) -> str:
    """The part that names the message; `name` without its directory."""
    return name.partition(":")[0]


def letters_of(name: str) -> str:
    """The flag letters; "" for a name without info or with an info other than 2."""
    info = name.partition(":")[2]
    return info[2:] if info.startswith("2,") else ""


def file_size(name: str) -> int | None:
    found = _SIZE.search(name)
    return int(found[1]) if found else None


def wire_size(name: str) -> int | None:
    found = _WIRE_SIZE.search(name)
    return int(found[1]) if found else None


def arrival_time(base: str) -> int:
    """The first number of the name; 0 if there is none."""
    digits = base.partition(".")[0]
    return int(digits) if digits.isdecimal() and digits.isascii() and len(digits) < 13 else 0


def delivery_of(base: str) -> tuple[DeliveryId, int] | None:
    """The delivery that made this file, and when; None for files of other programs and of APPEND."""
    found = _DELIVERY.match(base)
    return (DeliveryId(found[2]), int(found[1])) if found else None


def is_ours(base: str) -> bool:
    """Made by a delivery or an APPEND of ours."""
    return _DELIVERY.match(base) is not None or _APPENDED.match(base) is not None


class NameSource:
    """Makes names that no other message has. One per process, made after the fork."""

    def __init__(self) -> None:
        self._host = host_name()
        self._tag = f"P{os.getpid()}R{secrets.token_hex(3)}"
        self._number = itertools.count()

    def of_delivery(self, delivery: DeliveryId, now_s: float, size: int, wire: int) -> str:
        return f"{int(now_s)}.{delivery}.{self._host},S={size},W={wire}"

    def new(self, now_s: float, sizes: str) -> str:
        """Time, microseconds, process, a random tag, a counter. `sizes` is ",S=…,W=…"."""
        return f"{int(now_s)}.M{int(now_s % 1 * 1e6)}{self._tag}Q{next(self._number)}.{self._host}{sizes}"
