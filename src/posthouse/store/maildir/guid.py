"""The name of a mailbox that survives its renaming: 32 hexadecimal digits, as Dovecot's commands show it.

A mailbox that Dovecot has had keeps the one in its `dovecot-uidlist` while its UIDVALIDITY is the same; others get
one made of root and UIDVALIDITY, which no two mailboxes of a user share.
"""

import hashlib
import re
from typing import Final

_HEADER: Final = re.compile(rb"3(?= )(?=.* V([0-9]{1,10})(?: |$))(?=.* G([0-9a-f]{32})(?: |$))")
MAXIMAL_LINE: Final = 512
"""Octets of the first line of a dovecot-uidlist that are looked at."""


def parse_guid(line: bytes, uid_validity: int) -> str:
    """Of the first line of a dovecot-uidlist; "" if it is of another mailbox or has none."""
    match = _HEADER.match(line)
    return match[2].decode("ascii") if match and int(match[1]) == uid_validity else ""


def guid(root: str, directory: str, uid_validity: int) -> str:
    try:
        with open(f"{directory}/dovecot-uidlist", "rb") as file:
            found = parse_guid(file.readline(MAXIMAL_LINE).rstrip(b"\n"), uid_validity)
    except OSError:
        found = ""
    return found or hashlib.sha256(f"{root}\0{uid_validity}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
