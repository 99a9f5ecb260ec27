"""System users: who each process becomes, and how it stops being root for good."""

import ctypes
import os
import pwd
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from posthouse.config.parameter import Param, Settings
from posthouse.config.parameters import master as parameters
from posthouse.runtime.sockets import Owner
from posthouse.runtime.spec import ProcessSpec

_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_KEEPCAPS: Final = 8
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_PR_SET_DUMPABLE: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522
_LAST_CAPABILITY: Final = 63
"""Higher than any kernel's; the kernel says where its own end."""

USER_PARAMETERS: Final[Mapping[str, Param[str]]] = {
    one.name: one
    for one in (
        parameters.CONTROL_USER,
        parameters.AUTH_USER,
        parameters.TABLES_USER,
        parameters.MAIL_OWNER,
        parameters.VIRTUAL_USER,
        parameters.LOCAL_USER,
        parameters.SMTP_USER,
        parameters.SMTPD_USER,
        parameters.LOGIN_USER,
    )
}


class NoSuchSystemUser(Exception):
    """A process should run as a user that this machine does not have."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process becomes. Supplementary groups are never kept."""

    user: str
    uid: int
    gid: int

    @property
    def owner(self) -> Owner:
        return Owner(self.uid, self.gid)


def identity(settings: Settings, spec: ProcessSpec) -> Identity:
    name = settings[USER_PARAMETERS[spec.user]]
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise NoSuchSystemUser(
            f'{spec.user} = {name}: there is no such system user; "posthouse init" makes those that are missing'
        ) from None
    return Identity(name, entry.pw_uid, entry.pw_gid)


def identities(settings: Settings, specs: Iterable[ProcessSpec]) -> dict[str, Identity]:
    """By process name. Two processes that must be kept apart may not share a user, unless the administrator insists."""
    return {spec.name: identity(settings, spec) for spec in specs}


def become(one: Identity) -> None:
    """Groups, gid, uid, real, effective and saved. Capabilities go with the last step (no keepcaps)."""
    os.setgroups([])
    os.setresgid(one.gid, one.gid, one.gid)
    os.setresuid(one.uid, one.uid, one.uid)
    if os.getresuid() != (one.uid,) * 3 or os.getresgid() != (one.gid,) * 3 or os.getgroups():
        raise PermissionError(f"could not become {one.user}")


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def drop_bounding_set() -> None:
    """No program that this process could start ever gets a capability back. Needs CAP_SETPCAP, so before `become`;
    without it there is nothing to drop from."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number in range(_LAST_CAPABILITY + 1):
        if libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break


def drop_capabilities() -> None:
    """All sets, also for a process that keeps uid 0 (a sandbox started by root)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_KEEPCAPS, 0, 0, 0, 0)
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    nothing = (_CapabilityData * 2)()
    if libc.capset(ctypes.byref(header), ctypes.byref(nothing)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capset: {os.strerror(number)}")


def forbid_new_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"no_new_privs: {os.strerror(number)}")


def forbid_dumps() -> None:
    """No core file with passwords in it; no other process of the same user may trace this one or read its memory."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
