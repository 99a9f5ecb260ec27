"""Where a certificate of our own and its key are. The library that makes them (`certificates`) is large, and a system
that has them already never loads it."""

import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    authority: Path
    certificate: Path
    key: Path

    @classmethod
    def within(cls, directory: Path) -> "CertificateFiles":
        return cls(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")

    def exist(self) -> bool:
        return all(one.exists() for one in (self.authority, self.certificate, self.key))


def make_in_child(directory: Path, names: Sequence[str]) -> bool:
    """`certificates.make` in a child process, so that the library does not stay in the memory of a master that all
    others are forked from. Whether it worked; what went wrong is on standard error. No thread may exist yet."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            from posthouse.runtime.certificates import make

            make(directory, names)
            status = 0
        except Exception:  # the edge of this child
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
