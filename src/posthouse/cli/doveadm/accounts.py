"""doveadm user, auth, who and kick."""

import getpass
import ipaddress
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from posthouse.cli.doveadm.call import Call
from posthouse.cli.doveadm.endings import EX_NOHOST, EX_NOPERM, EX_NOUSER, EX_TEMPFAIL, EX_USAGE, OK, Ended, Fatal
from posthouse.cli.doveadm.formatters import Column
from posthouse.cli.doveadm.system import WILDCARDS, fits
from posthouse.runtime.schema import (
    Authenticate,
    AuthFailure,
    AuthSuccess,
    Changed,
    EndSessions,
    FlushAuthCache,
    ListSessions,
    LoginEntry,
    LookupLogin,
    NoSuchUser,
    Record,
    SessionEntry,
    SessionPage,
    UserEntry,
)

_VERDICT: Final[Any] = AuthSuccess | AuthFailure
_LOGIN: Final[Any] = LoginEntry | NoSuchUser
"""Unions have no static type."""
KICKED_AT_ONCE: Final = 10_000


def user(call: Call) -> int:
    """doveadm user: what userdb says, or who there is."""
    if not call.arguments:
        raise call.refuse_usage()
    if len(call.arguments) == 1 and WILDCARDS & set(call.arguments[0]):
        return _listing(call, call.arguments[0])
    if call.has("f"):
        return _one_field(call)
    if call.has("u"):
        return _as_stored(call)
    status = OK
    rows = call.formatter("tab", [Column("field"), Column("value")])
    for name in call.arguments:
        found = call.system.look_up(name)
        if found is None:
            status = EX_NOUSER
            call.say(f"\nuserdb lookup: user {name} doesn't exist")
            continue
        for field, value in _fields(found).items():
            rows.row([field, value])
    rows.end()
    return status


def _listing(call: Call, mask: str) -> int:
    for name in call.system.users(mask):
        call.out.write(f"{name}\n")
    if call.system.unlisted:
        raise Ended(EX_TEMPFAIL, f"Error: userdb {', '.join(call.system.unlisted)} cannot list its users")
    return OK


def _one_field(call: Call) -> int:
    status = OK
    for name in call.arguments:
        found = call.system.look_up(name)
        if found is None:
            status = EX_NOUSER
            call.say(f"userdb lookup: user {name} doesn't exist")
        elif (value := _fields(found).get(call.value("f"))) is not None:
            call.out.write(f"{value}\n")
    return status


def _as_stored(call: Call) -> int:
    status = OK
    for name in call.arguments:
        found = call.system.look_up(name)
        if found is None:
            status = EX_NOUSER
            call.say(f"userdb lookup: user {name} doesn't exist")
            continue
        _lines(call, f"userdb: {name}", {"user": found.user, **_fields(found)})
    return status


def _lines(call: Call, title: str, fields: dict[str, str]) -> None:
    width = max(map(len, fields))
    call.out.write(f"{title}\n" + "".join(f"  {one.ljust(width)}: {value}\n" for one, value in fields.items()) + "\n")


def _fields(found: UserEntry) -> dict[str, str]:
    fields = {"uid": str(found.uid), "gid": str(found.gid), "home": found.home, "mail": found.mail}
    if found.quota_octets:
        fields["quota_rule"] = f"*:bytes={found.quota_octets}"
    return fields


# ── auth ──


def auth_test(call: Call) -> int:
    return _try(call)


def auth_login(call: Call) -> int:
    """As `auth test`, and what userdb says."""
    status = _try(call)
    if status == OK:
        found = call.system.look_up(call.arguments[0])
        if found is None:
            raise Ended(EX_NOUSER, f"userdb lookup: user {call.arguments[0]} doesn't exist")
        call.out.write(f"userdb extra fields:\n  {found.user}\n")
        call.out.write("".join(f"  {name}={value}\n" for name, value in _fields(found).items()))
    return status


def _try(call: Call) -> int:
    if not 1 <= len(call.arguments) <= 2:
        raise call.refuse_usage()
    name = call.arguments[0]
    password = call.arguments[1] if len(call.arguments) == 2 else ask_password("Password: ")
    facts = dict(one.partition("=")[::2] for one in call.values("x"))
    authzid, authcid = (name, call.value("M")) if call.has("M") else ("", name)
    response = "\0".join((authzid, authcid, password)).encode("utf-8", "surrogateescape")
    question = Authenticate(1, "PLAIN", response, "", facts.get("rip", ""), facts.get("lip", ""), secured=True)
    found: Record = call.system.auth().call(question, _VERDICT)
    match found:
        case AuthSuccess(known):
            call.out.write(f"passdb: {name} auth succeeded\nextra fields:\n  user={known}\n")
            return OK
        case AuthFailure(is_temporary, reason):
            call.out.write(f"passdb: {name} auth failed\nextra fields:\n  user={name}\n")
            if is_temporary or reason != "Password mismatch":
                call.out.write(f"  reason={reason}\n" + ("  temp\n" if is_temporary else ""))
            return EX_TEMPFAIL if is_temporary else EX_NOPERM
        case _:
            raise Fatal("auth answered what was not asked")


def auth_lookup(call: Call) -> int:
    """What passdb says, without a password."""
    if not call.arguments:
        raise call.refuse_usage()
    status = OK
    for name in call.arguments:
        found: Record = call.system.auth().call(LookupLogin(name), _LOGIN)
        if not isinstance(found, LoginEntry):
            status = EX_NOUSER
            call.say(f"passdb lookup: user {name} doesn't exist")
            continue
        fields = {"user": found.user, **dict(found.fields)}
        if not call.has("f"):
            _lines(call, f"passdb: {name}", fields)
        elif call.value("f") in fields:
            call.out.write(f"{fields[call.value('f')]}\n")
    return status


def auth_cache_flush(call: Call) -> int:
    found = call.system.auth().call(FlushAuthCache(tuple(call.arguments)), Changed)
    call.out.write(f"{found.count} cache entries flushed\n")
    return OK


def ask_password(prompt: str) -> str:
    """Without echo on a terminal, else a line of standard input."""
    if sys.stdin.isatty():
        return getpass.getpass(prompt)
    return sys.stdin.readline().rstrip("\n")


# ── who, kick ──


class _Session(msgspec.Struct, frozen=True):
    worker: int
    entry: SessionEntry


def _sessions(call: Call, masks: list[str]) -> Iterator[_Session]:
    users, networks = _masks(masks)
    workers = call.system.workers()
    if not workers:
        call.system.mailboxes(0)  # which says why
    for worker in range(workers):
        client = call.system.mailboxes(worker)
        after = 0
        while True:
            page = client.call(ListSessions(after), SessionPage)
            for one in page.sessions:
                if any(not fits(one.user, mask) for mask in users):
                    continue
                if networks and not any(_is_in(one.remote, network) for network in networks):
                    continue
                # Our own sessions are not who is here.
                if one.service != "doveadm":
                    yield _Session(worker, one)
            after = page.after
            if not after:
                break


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _masks(words: list[str]) -> tuple[list[str], list[Network]]:
    """What looks like an address is one."""
    users: list[str] = []
    networks: list[Network] = []
    for word in words:
        try:
            networks.append(ipaddress.ip_network(word.strip("[]"), strict=False))
        except ValueError:
            users.append(word)
    return users, networks


def _is_in(address: str, network: Network) -> bool:
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False


def who(call: Call) -> int:
    found = [one.entry for one in _sessions(call, call.arguments)]
    if call.has("1"):
        columns = [Column("username", expands=True), Column("proto", "service"), Column("pid"), Column("ip")]
        rows = call.formatter("table", columns)
        for one in sorted(found, key=lambda one: (one.user, one.service, one.pid)):
            rows.row([one.user, one.service, str(one.pid), one.remote])
        rows.end()
        return OK
    columns = [
        Column("username"),
        Column("#", "connections"),
        Column("proto", "service"),
        Column("(pids)", "pids"),
        Column("(ips)", "ips"),
    ]
    rows = call.formatter("table", columns)
    together: dict[tuple[str, str], list[SessionEntry]] = {}
    for one in found:
        together.setdefault((one.user, one.service), []).append(one)
    for (name, service), those in sorted(together.items()):
        pids = " ".join(sorted({str(one.pid) for one in those}))
        addresses = " ".join(sorted({one.remote for one in those}))
        rows.row([name, str(len(those)), service, f"({pids})", f"({addresses})"])
    rows.end()
    return OK


def kick(call: Call) -> int:
    if not call.arguments:
        raise Ended(EX_USAGE, "Error: user and/or ip[/bits] must be specified.")
    found = list(_sessions(call, call.arguments))
    ended = 0
    for worker in {one.worker for one in found}:
        numbers = [one.entry.number for one in found if one.worker == worker]
        for at in range(0, len(numbers), KICKED_AT_ONCE):
            order = EndSessions(tuple(numbers[at : at + KICKED_AT_ONCE]))
            ended += call.system.mailboxes(worker).call(order, Changed).count
    if not ended:
        call.out.write("no users kicked\n")
        return EX_NOHOST
    call.out.write("kicked connections from the following users:\n")
    call.out.write("".join(f"{name} " for name in sorted({one.entry.user for one in found})) + "\n")
    return OK
