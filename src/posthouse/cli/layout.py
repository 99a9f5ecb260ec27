"""Directories of an installation: their owners and modes. `init`, `start` and `sandbox` make what is missing."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from posthouse.auth.opening import directory_of
from posthouse.config.configuration import Configuration
from posthouse.config.parameters.auth import DIRECTORY_DATABASE
from posthouse.config.parameters.general import DATA_DIRECTORY, QUEUE_DIRECTORY
from posthouse.config.parameters.master import MAILLOG_FILE, RUN_DIRECTORY
from posthouse.runtime.privileges import Identity
from posthouse.services.jails import code_directories, store_directories

MAILDROP: Final = "maildrop"
MAILDROP_MODE: Final = 0o3733
"""Anybody may put a file in, nobody may list, and nobody removes another's; new files get the queue's group, which is
how pickup tells them from files that were moved in."""


@dataclass(frozen=True, slots=True)
class Place:
    """`owner` is a process name of the process table, or "" for root (or the caller). A place that is not `ours` alone
    is left as it is when it exists: it may have been somebody's before us."""

    path: str
    owner: str
    mode: int
    ours: bool = True


def places(configuration: Configuration) -> Iterator[Place]:
    main = configuration.main
    spool = main[QUEUE_DIRECTORY]
    yield Place(spool, "queue", 0o711)
    yield Place(f"{spool}/{MAILDROP}", "queue", MAILDROP_MODE)
    yield Place(main[DATA_DIRECTORY], "", 0o755)
    if directory := directory_of(main[DIRECTORY_DATABASE]):
        yield Place(directory, "auth", 0o700)
    for store in store_directories(configuration):
        yield Place(store, "mailbox", 0o700, ours=False)
    if log := main[MAILLOG_FILE]:
        yield Place(os.path.dirname(log), "", 0o755, ours=False)
    yield Place(main[RUN_DIRECTORY], "", 0o711)


def make_places(configuration: Configuration, identities: Mapping[str, Identity]) -> list[str]:
    """Make what is missing, mend owners and modes of our own directories; returns what was changed, in words."""
    changed: list[str] = []
    for place in places(configuration):
        path = Path(place.path)
        is_new = not path.exists()
        if is_new:
            path.mkdir(parents=True, mode=0o755)
            changed.append(f"made {path}")
        elif not place.ours:
            continue
        facts = path.stat()
        identity = identities.get(place.owner)
        if identity is not None and (facts.st_uid, facts.st_gid) != (identity.uid, identity.gid):
            os.chown(path, identity.uid, identity.gid)
            if not is_new:
                changed.append(f"gave {path} to {identity.user}")
        if facts.st_mode & 0o7777 != place.mode:
            path.chmod(place.mode)
            if not is_new:
                changed.append(f"{path}: mode {place.mode:04o}")
    return changed


def unreachable(path: str) -> str:
    """The first directory on the way to `path` (itself included) that service users may not enter; "" if they can."""
    absolute = Path(path).resolve()
    for one in (*reversed(absolute.parents), absolute):
        try:
            if not one.stat().st_mode & 0o001:
                return str(one)
        except FileNotFoundError:
            return ""
    return ""


def unreadable_code() -> str:
    """The first directory that keeps service users from reading our code or the interpreter's; "" if none does."""
    for one in code_directories():
        if blocking := unreachable(one):
            return blocking
        if not Path(one).stat().st_mode & 0o004:
            return one
    return ""
