"""Why the file system said no, in Dovecot's words, and the command that mends it."""

import errno
import os
from typing import Final

from posthouse.store.interface import StorageFailed

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def storage_failed(call: str, path: str, error: OSError) -> StorageFailed:
    """`call` is the system call, for the log; the user reads that it was not his fault."""
    if error.errno in NO_SPACE:
        failure = StorageFailed("Not enough disk space", f"{call}({path}) failed: {error.strerror}", no_space=True)
    elif error.errno in _DENIED:
        failure = StorageFailed("Internal error: permission denied", explain(call, path, error))
    else:
        failure = StorageFailed("Internal error: mail storage failed", f"{call}({path}) failed: {error.strerror}")
    failure.__cause__ = error
    return failure


def explain(call: str, path: str, error: OSError) -> str:
    """`open(/path) failed: Permission denied (euid=999 egid=999 missing +w perm: /dir, dir owned by 0:0 mode=0755)`."""
    text = f"{call}({path}) failed: {error.strerror}"
    if error.errno == errno.EROFS:
        return text
    uid, gid = os.geteuid(), os.getegid()
    who = f"euid={uid} egid={gid}"
    parents = _parents(path)
    nearest = parents[0]
    for one in parents:
        try:
            status = os.stat(one)
        except OSError:
            break
        is_directory = os.path.isdir(one)
        if is_directory:
            nearest = one
        if is_directory and not os.access(one, os.X_OK, effective_ids=True):
            # Not chown: others live below it too.
            return f"{text} ({who} missing +x perm: {one}, {_owner(status)}); to repair: chmod o+x {one}"
        if not is_directory and not os.access(one, os.R_OK, effective_ids=True):
            return f"{text} ({who} missing +r perm: {one}, {_owner(status)}); to repair: chown {uid}:{gid} {one}"
    if not os.access(nearest, os.W_OK, effective_ids=True):
        following = parents[parents.index(nearest) + 1 :]
        mend = f"chown {uid}:{gid} {nearest}"
        in_maildir = os.path.basename(nearest) in ("tmp", "new", "cur") or os.path.isdir(f"{nearest}/cur")
        if following and not in_maildir:
            mend = f"install -d -o {uid} -g {gid} -m 700 {following[0]}"
        return f"{text} ({who} missing +w perm: {nearest}, {_owner(os.stat(nearest))}); to repair: {mend}"
    return f"{text} ({who} UNIX perms appear ok (ACL/MAC wrong?))"


def _parents(path: str) -> list[str]:
    """ "/", "/a", "/a/b" …, the path itself last."""
    parts = [part for part in os.path.abspath(path).split("/") if part]
    return ["/"] + ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def _owner(status: os.stat_result) -> str:
    kind = "dir" if status.st_mode & 0o040000 else "file"
    return f"{kind} owned by {status.st_uid}:{status.st_gid} mode=0{status.st_mode & 0o7777:o}"
