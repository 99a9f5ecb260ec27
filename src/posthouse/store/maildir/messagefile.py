"""Reading and writing one message file: LF on disk, CRLF above."""

import os
from typing import Final

from posthouse.store.maildir.names import file_size

FILE_MODE: Final = 0o600


def to_file(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n")


def to_wire(data: bytes) -> bytes:
    """Files that other programs wrote with CRLF, wholly or in part, come out with single CRs."""
    if b"\r\n" in data:
        data = data.replace(b"\r\n", b"\n")
    return data.replace(b"\n", b"\r\n")


def wire_length(data: bytes) -> int:
    """len(to_wire(data)), without making it."""
    return len(data) + data.count(b"\n") - data.count(b"\r\n")


def read_file(path: str, expected: int = 0) -> bytes:
    """Raises FileNotFoundError. `expected` (S= of the name) saves a system call when it is right."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = expected + 1 if expected else os.fstat(descriptor).st_size + 1
        data = os.read(descriptor, size)
        if len(data) < size:
            return data
        pieces = [data]
        while piece := os.read(descriptor, 1 << 20):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)


def create_file(path: str, data: bytes) -> int:
    """Write a new file whose name nobody else has; the answer is its open descriptor. On failure nothing is left.

    O_TRUNC, not O_EXCL: what stands there under our own unique name is what we left behind in a crash.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        write_all(descriptor, data)
    except OSError as error:
        os.close(descriptor)
        os.unlink(path)
        error.filename = path
        raise
    return descriptor


def write_all(descriptor: int, data: bytes) -> None:
    """A file takes less than it is given when the disk fills up: the next call then says why."""
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


def flush_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_on_disk(directory: str, file: str) -> int:
    """From the name, else from the file; 0 if it is gone."""
    size = file_size(file)
    if size is not None:
        return size
    try:
        return os.stat(f"{directory}/{file}").st_size
    except FileNotFoundError:
        return 0
