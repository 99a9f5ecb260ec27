"""Dovecot's master protocol, server side: who is this user, and who is there (auth-userdb, auth-master)?

Lines of fields separated by tabs, answered by the client's own numbers
(https://doc.dovecot.org/2.3/developer_manual/design/auth_protocol/).
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from posthouse.protocol.dovecot_auth import BadLine, line, parse_number

MAJOR: Final = 1
MINOR: Final = 1
MAXIMAL_LINE: Final = 8192


class Version(msgspec.Struct, frozen=True):
    major: int


class LookUp(msgspec.Struct, frozen=True):
    """USER, or PASS if `of_password`: what the userdb or the passdb says about a user."""

    number: int
    user: str
    service: str
    of_password: bool


class ListUsers(msgspec.Struct, frozen=True):
    """`mask` has * and ?; "" is everybody."""

    number: int
    mask: str

    def has(self, user: str) -> bool:
        return not self.mask or fits(self.mask, user)


def fits(mask: str, text: str) -> bool:
    """* is any number of characters, ? is one; in time of the product of both lengths at most."""
    at = position = 0
    star, resume = -1, 0
    while position < len(text):
        if at < len(mask) and mask[at] == "*":
            star, resume = at, position
            at += 1
        elif at < len(mask) and mask[at] in ("?", text[position]):
            at += 1
            position += 1
        elif star >= 0:
            # The last star takes one character more.
            resume += 1
            at, position = star + 1, resume
        else:
            return False
    return not mask[at:].strip("*")


class FlushCache(msgspec.Struct, frozen=True):
    """`users` empty: everything."""

    number: int
    users: tuple[str, ...]


class Unknown(msgspec.Struct, frozen=True):
    name: str


Request = Version | LookUp | ListUsers | FlushCache | Unknown


def parse(octets: bytes) -> Request:
    """One line without its end. Raises BadLine."""
    try:
        fields = octets.decode("utf-8").split("\t")
    except UnicodeDecodeError as error:
        raise BadLine("not UTF-8") from error
    match fields:
        case ["VERSION", major, *_]:
            return Version(parse_number(major))
        case ["USER" | "PASS" as name, number, user, *rest] if user:
            return LookUp(parse_number(number), user, _parameters(rest).get("service", ""), name == "PASS")
        case ["LIST", number, *rest]:
            return ListUsers(parse_number(number), _parameters(rest).get("user", ""))
        case ["CACHE-FLUSH", number, *users]:
            return FlushCache(parse_number(number), tuple(user for user in users if user))
        case ["USER" | "PASS" | "LIST" | "CACHE-FLUSH" | "VERSION", *_]:
            raise BadLine(f"{fields[0]} with {len(fields) - 1} fields")
        case _:
            return Unknown(fields[0][:40])


def _parameters(words: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def greeting(pid: int) -> bytes:
    return line("VERSION", str(MAJOR), str(MINOR)) + line("SPID", str(pid))


def user(number: int, name: str, fields: Mapping[str, str]) -> bytes:
    return line("USER", str(number), name, *_pairs(fields))


def password(number: int, name: str, fields: Mapping[str, str]) -> bytes:
    return line("PASS", str(number), f"user={name}", *_pairs(fields))


def _pairs(fields: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" if value else name for name, value in fields.items()]


def not_found(number: int) -> bytes:
    return line("NOTFOUND", str(number))


def failed(number: int, reason: str = "") -> bytes:
    return line("FAIL", str(number), *((f"reason={reason}",) if reason else ()))


def listed(number: int, name: str) -> bytes:
    return line("LIST", str(number), name)


def done(number: int, *, failed: bool) -> bytes:
    return line("DONE", str(number), *(("fail",) if failed else ()))


def flushed(number: int, count: int) -> bytes:
    return line("OK", str(number), str(count))
