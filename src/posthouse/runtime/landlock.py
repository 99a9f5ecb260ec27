"""Landlock: what a process may still reach in the file system and the network, for good.

A thin layer over the three system calls (landlock(7)); no library needed. Rules are asked for by intent (`Rules`),
and reduced to
what the running kernel's ABI knows; `restrict` returns the level that is in force, for the one log line that names it.
Landlock does not cover connecting to pathname Unix sockets: that rests on the modes of the socket directories.
"""

import ctypes
import os
import struct
from dataclasses import dataclass
from typing import Final

# The same numbers on every architecture (asm-generic, since Linux 5.13).
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38

EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
REMOVE_DIR: Final = 1 << 4
REMOVE_FILE: Final = 1 << 5
MAKE_CHAR: Final = 1 << 6
MAKE_DIR: Final = 1 << 7
MAKE_REG: Final = 1 << 8
MAKE_SOCK: Final = 1 << 9
MAKE_FIFO: Final = 1 << 10
MAKE_BLOCK: Final = 1 << 11
MAKE_SYM: Final = 1 << 12
REFER: Final = 1 << 13  # ABI 2: rename and link between directories
TRUNCATE: Final = 1 << 14  # ABI 3
IOCTL_DEV: Final = 1 << 15  # ABI 5
BIND_TCP: Final = 1 << 0  # ABI 4
CONNECT_TCP: Final = 1 << 1  # ABI 4
SCOPE_ABSTRACT_SOCKET: Final = 1 << 0  # ABI 6
SCOPE_SIGNAL: Final = 1 << 1  # ABI 6

_FS_BY_ABI: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}

READ: Final = READ_FILE | READ_DIR
WRITE: Final = (
    READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM | MAKE_FIFO | REFER | TRUNCATE
)
_FILE_ONLY: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Rules:
    """What stays possible. Paths that do not exist are skipped (they cannot be reached anyway, and what is made
    there later
    stays out of reach). `has_network` false forbids all outgoing TCP; binding is always forbidden: listeners are
    inherited."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    has_network: bool = False


def abi() -> int:
    """The kernel's Landlock ABI; 0 if there is none (not built in, or switched off at boot)."""
    version = _libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(int(version), 0)


def restrict(rules: Rules) -> str:
    """Apply to this process and everything it starts. Returns "landlock ABI n" or "no landlock".

    Must be called before any thread exists (other threads would keep their rights). Raises OSError if the kernel knows
    Landlock but refuses: then the caller must not go on as if it were jailed.
    """
    level = abi()
    if level == 0:
        return "no landlock"
    handled_fs = _FS_BY_ABI[min(level, 5)]
    # A port rule names one port: a process that connects to ports nobody can list keeps all outgoing TCP.
    handled_net = 0 if level < 4 else BIND_TCP if rules.has_network else BIND_TCP | CONNECT_TCP
    scoped = (SCOPE_ABSTRACT_SOCKET | SCOPE_SIGNAL) if level >= 6 else 0
    size = 8 if level < 4 else 16 if level < 6 else 24
    ruleset = _call(_CREATE_RULESET, struct.pack("QQQ", handled_fs, handled_net, scoped)[:size], size, 0)
    try:
        for path in rules.read:
            _allow_path(ruleset, path, READ & handled_fs)
        for path in rules.write:
            _allow_path(ruleset, path, WRITE & handled_fs)
        _enforce(ruleset)
    finally:
        os.close(ruleset)
    return f"landlock ABI {level}"


def _allow_path(ruleset: int, path: str, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            access &= _FILE_ONLY
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", access, fd), 0)
    finally:
        os.close(fd)


def _enforce(ruleset: int) -> None:
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    _call(_RESTRICT_SELF, ruleset, 0)


def _call(number: int, *arguments: int | bytes) -> int:
    converted = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *converted))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"landlock system call {number}: {os.strerror(error)}")
    return result
