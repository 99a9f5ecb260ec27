"""seccomp: system calls that no jailed process of ours needs are answered with EPERM.

A small BPF program, built here. A deny list rather than an allow list: Python and its libraries may use new harmless
calls after an update, and a mail system that stops then protects nobody; what is listed is what an intruder wants:
to start programs, to
trace or read other processes, to change mounts, namespaces, modules, keys or identity, and kernel interfaces with a
history
(io_uring, userfaultfd, bpf). EPERM, never a kill: a wrong guess of ours becomes a log line, not lost service.
"""

import ctypes
import os
import platform
import struct
from dataclasses import dataclass
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_EPERM: Final = 1
_ENOSYS: Final = 38

# struct seccomp_data: nr (u32), arch (u32), instruction_pointer (u64), args[6] (u64).
_NR: Final = 0
_ARCH: Final = 4
_ARG0_LOW: Final = 16

_LD_ABS: Final = 0x20
_JEQ: Final = 0x15
_JGE: Final = 0x35
_JSET: Final = 0x45
_RET: Final = 0x06

_CLONE_THREAD: Final = 0x00010000
_LOCAL_FAMILIES: Final = (1,)
"""AF_UNIX."""
_NETWORK_FAMILIES: Final = (*_LOCAL_FAMILIES, 2, 10)
"""And AF_INET, AF_INET6."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One architecture: its audit number, and the numbers of the calls we name."""

    audit: int
    foreign_bit: int
    """On x86_64 the x32 calls share the audit number and carry this bit: refused as a whole."""
    denied: tuple[int, ...]
    clone: int
    clone3: int
    socket: int


# execve execveat ptrace process_vm_readv/writev mount umount2 pivot_root chroot swapon/off reboot
# sethostname/domainname
# unshare setns bpf perf_event_open add_key request_key keyctl kexec_load kexec_file_load init/finit/delete_module
# open_by_handle_at userfaultfd io_uring_setup/enter/register personality acct settimeofday clock_settime quotactl
# setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid mknod(at) kcmp pidfd_getfd
# move_mount open_tree fsopen fsconfig fsmount fspick mount_setattr process_madvise
_MACHINES: Final = {
    "x86_64": Machine(
        audit=0xC000003E,
        foreign_bit=0x40000000,
        denied=(
            *(59, 322, 57, 58, 101, 310, 311, 165, 166, 155, 161, 167, 168, 169, 170, 171, 272, 308, 321, 298),
            *(248, 249, 250, 246, 320, 175, 313, 176, 304, 323, 425, 426, 427, 135, 163, 164, 227, 179),
            *(105, 106, 113, 114, 117, 119, 116, 122, 123, 133, 259, 312, 438, 429, 428, 430, 431, 432, 433, 442, 440),
        ),
        clone=56,
        clone3=435,
        socket=41,
    ),
    "aarch64": Machine(
        audit=0xC00000B7,
        foreign_bit=0,
        denied=(
            *(221, 281, 117, 270, 271, 40, 39, 41, 51, 224, 225, 142, 161, 162, 97, 268, 280, 241),
            *(217, 218, 219, 104, 294, 105, 273, 106, 265, 282, 425, 426, 427, 92, 89, 170, 112, 60),
            *(146, 144, 145, 143, 147, 149, 159, 151, 152, 33, 272, 438, 429, 428, 430, 431, 432, 433, 442, 440),
        ),
        clone=220,
        clone3=435,
        socket=198,
    ),
}


class _SockFilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]  # ctypes' own protocol


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def program(machine: Machine, *, has_network: bool) -> bytes:
    """The filter, instruction by instruction. Jumps are relative; each test falls through when it does not match.

    Without `has_network` no Internet socket can be made, UDP included, which Landlock does not know; listeners and
    connections that were handed over still work.
    """
    families = _NETWORK_FAMILIES if has_network else _LOCAL_FAMILIES
    refuse = _instruction(_RET, _ERRNO | _EPERM)
    unknown = _instruction(_RET, _ERRNO | _ENOSYS)
    allow = _instruction(_RET, _ALLOW)
    out = [_instruction(_LD_ABS, _ARCH), _instruction(_JEQ, machine.audit, 1, 0), refuse, _instruction(_LD_ABS, _NR)]
    if machine.foreign_bit:
        out += [_instruction(_JGE, machine.foreign_bit, 0, 1), refuse]
    for number in machine.denied:
        out += [_instruction(_JEQ, number, 0, 1), refuse]
    # glibc falls back to clone when clone3 is unknown; clone3's flags lie in memory, where no filter can look.
    out += [_instruction(_JEQ, machine.clone3, 0, 1), unknown]
    # clone: threads, not processes.
    out += [
        _instruction(_JEQ, machine.clone, 0, 4),
        _instruction(_LD_ABS, _ARG0_LOW),
        _instruction(_JSET, _CLONE_THREAD, 1, 0),
        refuse,
        allow,
    ]
    # socket: the families mail needs.
    out += [_instruction(_JEQ, machine.socket, 0, 2 + len(families)), _instruction(_LD_ABS, _ARG0_LOW)]
    for position, family in enumerate(families):
        out.append(_instruction(_JEQ, family, len(families) - position, 0))
    out += [refuse, allow]
    return b"".join(out)


def restrict(*, has_network: bool) -> str:
    """Install the filter for this process, before any thread exists. Returns "seccomp", or "no seccomp (why)".

    Raises OSError if the kernel has seccomp but refuses the filter.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return f"no seccomp (no table for {platform.machine()})"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    code = program(machine, has_network=has_network)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_SockFilterProgram(len(code) // 8, code)), 0, 0):
        error = ctypes.get_errno()
        if error == 22:  # EINVAL: the kernel was built without filters
            return "no seccomp (not in this kernel)"
        raise OSError(error, f"prctl(PR_SET_SECCOMP): {os.strerror(error)}")
    return "seccomp"
