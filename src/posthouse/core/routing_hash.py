"""Which mailbox worker owns a user: the same answer in every process, so that a user's mail has one writer.

The hash is only routing; what keeps two workers out of one store is the store's lock. It looks at the local part only
up to the first ASCII mark that is neither letter nor digit: whatever recipient_delimiter is, user+extension@domain
arrives where user@domain is at home.
"""

import re
import zlib
from typing import Final

_MARK: Final = re.compile(r"[\x00-/:-@\[-`{-\x7f]")


def worker_of(user: str, workers: int) -> int:
    """`user` is the address (or login name); `workers` the number of mailbox processes."""
    if workers <= 1:
        return 0
    local_part, _, domain = user.lower().rpartition("@") if "@" in user else (user.lower(), "", "")
    stem = _MARK.split(local_part, maxsplit=1)[0]
    return zlib.crc32(f"{stem}@{domain}".encode("utf-8", "surrogateescape")) % workers
