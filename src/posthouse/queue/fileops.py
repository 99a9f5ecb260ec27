"""The system calls the queue's durability rests on, in one place, so that tests can make each of them fail."""

import os
from collections.abc import Sequence
from typing import Final

IOV_MAX: Final = 1024
"""Linux takes at most this many buffers per writev."""


class FileOps:
    """The real thing. Tests subclass it and raise OSError."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def write_all(self, descriptor: int, buffers: Sequence[bytes], offset: int) -> int:
        """Write every octet at `offset`; returns the offset behind them."""
        at = 0
        while at < len(buffers):
            part = buffers[at : at + IOV_MAX]
            at += len(part)
            wanted = sum(map(len, part))
            written = self.pwritev(descriptor, part, offset)
            offset += written
            if written < wanted:
                # A short write (a signal, or the disk filling up): the rest goes out alone, or raises the real reason.
                rest = memoryview(b"".join(part))[written:]
                while rest:
                    written = self.pwritev(descriptor, (bytes(rest),), offset)
                    offset += written
                    rest = rest[written:]
        return offset

    def pwritev(self, descriptor: int, buffers: Sequence[bytes], offset: int) -> int:
        return os.pwritev(descriptor, buffers, offset)

    def fdatasync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def ftruncate(self, descriptor: int, length: int) -> None:
        os.ftruncate(descriptor, length)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)  # bytes-for-bytes what the kernel sees, in one place

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(descriptor)
        finally:
            os.close(descriptor)

    def free_octets(self, path: str) -> int:
        facts = os.statvfs(path)
        return facts.f_bavail * facts.f_frsize
