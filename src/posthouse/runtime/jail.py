"""Closing the jail: the order in which a process gives up what it does not need.

Landlock comes first, because its paths are opened with master's rights; then the identity and every capability;
seccomp is last, because it forbids what the steps before it need. All of it holds for good, and happens before a
thread exists.
"""

import os

from posthouse.runtime import landlock, seccomp
from posthouse.runtime.privileges import (
    Identity,
    become,
    drop_bounding_set,
    drop_capabilities,
    forbid_dumps,
    forbid_new_privileges,
)


def close(rules: landlock.Rules | None, identity: Identity | None) -> str:
    """For the calling process, for good. Returns what holds now, in words for the log; raises if a step that the kernel
    knows is refused: a process that only believes itself jailed must not run. Without `rules` neither Landlock nor
    seccomp is used (debugging)."""
    if os.geteuid() == 0:
        drop_bounding_set()
    levels = [f"user {identity.user if identity else os.getuid()}"]
    if rules is not None:
        levels.append(landlock.restrict(rules))
    if identity is not None:
        become(identity)
    drop_capabilities()
    forbid_new_privileges()
    if rules is None:
        levels.append("no jail (jail_processes = no)")
    else:
        forbid_dumps()
        levels.append(seccomp.restrict(has_network=rules.has_network))
    return ", ".join(levels)
