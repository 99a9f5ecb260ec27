"""Which mailbox worker owns a user: the same answer in every process, so that a user's mail has one writer.

The hash is only routing; what keeps two workers out of one store is the store's lock.
"""

import zlib


def worker_of(user: str, workers: int) -> int:
    """`user` is the address (or login name); `workers` the number of mailbox processes."""
    return zlib.crc32(user.lower().encode("utf-8", "surrogateescape")) % workers if workers > 1 else 0
