"""Dovecot's `dovecot-uidlist`, read once, so that clients see the UIDs they know.

Version 3::

    3 V<uidvalidity> N<next uid> G<guid>
    <uid> [<letter><value> …] :<file name>

Version 1 has "1 <uidvalidity> <next uid>" and "<uid> <file name>" (Courier's courierimapuiddb is the same).
"""

from typing import Final

import msgspec

from posthouse.store.maildir.names import base_of

FILES: Final = ("dovecot-uidlist", "courierimapuiddb")
_MAX_UID: Final = 0xFFFFFFFF


class UidList(msgspec.Struct):
    uid_validity: int
    uid_next: int
    uids: dict[str, int]
    """By the base of the file name."""
    wire_sizes: dict[str, int]


class BadUidList(ValueError):
    """Not a UID list; the mailbox gets new UIDs."""


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) <= _MAX_UID:
        raise BadUidList(f"not a number of 32 bits: {text[:20]!r}")
    return int(text)


def parse_uidlist(text: str) -> UidList:
    """Broken lines are left out (their messages get new UIDs); a UID that does not ascend ends the list, because what
    follows was written by nobody sane. Raises BadUidList if the first line is not one."""
    lines = text.split("\n")
    header = lines[0].split(" ")
    if header[0] == "3":
        values = {word[0]: word[1:] for word in header[1:] if word}
        if "V" not in values or "N" not in values:
            raise BadUidList("no UIDVALIDITY in the first line")
        found = UidList(_number(values["V"]), _number(values["N"]), {}, {})
    elif header[0] == "1" and len(header) >= 3:
        found = UidList(_number(header[1]), _number(header[2]), {}, {})
    else:
        raise BadUidList(f"unknown version {header[0][:20]!r}")
    last = 0
    for line in lines[1:]:
        front, colon, name = line.partition(" :") if header[0] == "3" else line.partition(" ")
        words = front.split(" ")
        if not colon or not name or "/" in name:
            continue
        try:
            uid = _number(words[0])
        except BadUidList:
            continue
        if uid <= last:
            break
        last = uid
        base = base_of(name)
        found.uids[base] = uid
        for word in words[1:]:
            if word[:1] == "W" and word[1:].isdecimal() and word.isascii() and len(word) < 16:
                found.wire_sizes[base] = int(word[1:])
    found.uid_next = max(found.uid_next, last + 1)
    if found.uid_next > _MAX_UID:
        raise BadUidList("UIDs are used up")
    return found
