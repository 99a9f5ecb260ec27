"""Why the file system said no, in Dovecot's words, and the command that mends it."""

import errno
import os
import re
import shlex
from typing import Final

from posthouse.store.interface import StorageFailed

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
NAMES: Final[dict[int, str]] = {}
"""Users that were looked up before the jail, where nobody can be."""
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
    """`open(/path) failed: Permission denied (euid=999(vmail) egid=999 missing +w perm: /dir, dir owned by 0:0
    mode=0755)`, and the command that an administrator types."""
    text = f"{call}({path}) failed: {error.strerror}"
    if error.errno == errno.EROFS:
        return text
    uid, gid = os.geteuid(), os.getegid()
    name = f"({NAMES[uid]})" if uid in NAMES else ""
    who = f"euid={uid}{name} egid={gid}"
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
            mend = _for_owner(_maildir_of(one, path), status, uid, gid) or f"chmod o+x {shlex.quote(one)}"
            return f"{text} ({who} missing +x perm: {one}, {_owner(status)}); to repair: {mend}"
        if not is_directory and not os.access(one, os.R_OK, effective_ids=True):
            mend = _for_owner(_maildir_of(one, path) or one, status, uid, gid)
            return f"{text} ({who} missing +r perm: {one}, {_owner(status)}); to repair: {mend}"
    if not os.access(nearest, os.W_OK, effective_ids=True):
        following = parents[parents.index(nearest) + 1 :]
        maildir = _maildir_of(nearest, path)
        mend = _for_owner(maildir or nearest, os.stat(nearest), uid, gid)
        if following and not maildir:
            mend = f"install -d -o {uid} -g {gid} -m 700 {shlex.quote(following[0])}"
        return f"{text} ({who} missing +w perm: {nearest}, {_owner(os.stat(nearest))}); to repair: {mend}"
    # SELinux, AppArmor, an ACL, an attribute: nothing that we may look at.
    mend = f"restorecon -Rv {shlex.quote(nearest)} (SELinux), or see getfacl, lsattr and the kernel's log"
    return f"{text} ({who} UNIX perms appear ok (ACL/MAC wrong?)); to repair: {mend}"


def _for_owner(place: str, status: os.stat_result, uid: int, gid: int) -> str:
    """Within a mailbox everything is the owner's, and what came the wrong way rarely came alone. "" without a place."""
    if not place:
        return ""
    return (
        f"chmod -R u+rwX {shlex.quote(place)}" if status.st_uid == uid else f"chown -R {uid}:{gid} {shlex.quote(place)}"
    )


_IN_MAILDIR: Final = re.compile(r"(?:tmp|new|cur|\.[^/]*|posthouse\.[^/]*|dovecot[^/]*)(?:/|\Z)")


def _maildir_of(directory: str, path: str) -> str:
    """The Maildir that `directory` is or is in; "" for none. One that may not be looked into is known by what was
    wanted in it (`path`). /tmp is in no Maildir."""
    if path.startswith(f"{directory}/") and _IN_MAILDIR.match(path, len(directory) + 1) and directory.count("/") > 1:
        return directory
    for one in (directory, os.path.dirname(directory), os.path.dirname(os.path.dirname(directory))):
        if all(os.path.isdir(f"{one}/{part}") for part in ("cur", "new", "tmp")):
            return one
    return ""


def _parents(path: str) -> list[str]:
    """ "/", "/a", "/a/b" …, the path itself last."""
    parts = [part for part in os.path.abspath(path).split("/") if part]
    return ["/"] + ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def _owner(status: os.stat_result) -> str:
    kind = "dir" if status.st_mode & 0o040000 else "file"
    return f"{kind} owned by {status.st_uid}:{status.st_gid} mode=0{status.st_mode & 0o7777:o}"
