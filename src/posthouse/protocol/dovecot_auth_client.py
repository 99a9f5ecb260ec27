"""Dovecot's authentication protocol 1.x, client side: what a server of `service auth` says, and what we ask it.

The other side is protocol/dovecot_auth.py; lines, fields and escapes are the same.
"""

import base64
from typing import Final

import msgspec

from posthouse.protocol.dovecot_auth import MAXIMAL_LINE, BadLine, line, parse_number

MAXIMAL_MECHANISMS: Final = 100
__all__ = ["MAXIMAL_LINE", "BadLine"]


class Mechanism(msgspec.Struct, frozen=True):
    name: str
    flags: tuple[str, ...]


class Done(msgspec.Struct, frozen=True):
    """The greeting is complete."""


class Ok(msgspec.Struct, frozen=True):
    """`data`: what the client is to be told with the success."""

    number: int
    user: str
    data: bytes


class Challenge(msgspec.Struct, frozen=True):
    number: int
    data: bytes


class Fail(msgspec.Struct, frozen=True):
    number: int
    is_temporary: bool
    is_disabled: bool
    reason: str


Said = Mechanism | Done | Ok | Challenge | Fail | None


def parse(octets: bytes) -> Said:
    """One line without its end; None for what may be ignored. Raises BadLine."""
    try:
        fields = [_unescaped(one) for one in octets.decode("utf-8").split("\t")]
    except UnicodeDecodeError as error:
        raise BadLine("not UTF-8") from error
    match fields:
        case ["VERSION", major, *_]:
            if parse_number(major) != 1:
                raise BadLine(f"version {major} of the protocol")
            return None
        case ["MECH", name, *flags] if name:
            return Mechanism(name.upper(), tuple(flags))
        case ["DONE"]:
            return Done()
        case ["OK", number, *rest]:
            given = _parameters(rest)
            if not given.get("user"):
                # Whom it would let in it has to say.
                raise BadLine("OK without a user")
            return Ok(parse_number(number), given["user"], _decoded(given.get("resp", "")))
        case ["CONT", number, data]:
            return Challenge(parse_number(number), _decoded(data))
        case ["FAIL", number, *rest]:
            given = _parameters(rest)
            return Fail(
                parse_number(number),
                "temp" in given or given.get("code") == "temp_fail",
                given.get("code") == "user_disabled",
                given.get("reason", ""),
            )
        case ["MECH" | "OK" | "CONT" | "FAIL" | "VERSION", *_]:
            raise BadLine(f"{fields[0]} with {len(fields) - 1} fields")
        case _:
            return None


def _parameters(words: list[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise BadLine("not base64") from error


def _unescaped(text: str) -> str:
    if "\1" not in text:
        return text
    out, characters = [], iter(text)
    for one in characters:
        if one != "\1":
            out.append(one)
            continue
        out.append({"1": "\1", "t": "\t", "n": "\n", "r": "\r", "0": "\0"}.get(next(characters, ""), ""))
    return "".join(out)


def hello(pid: int) -> bytes:
    return line("VERSION", "1", "1") + line("CPID", str(pid))


def authenticate(
    number: int, mechanism: str, service: str, *, remote: str, local: str, is_secured: bool, response: bytes | None
) -> bytes:
    fields = ["AUTH", str(number), mechanism, f"service={service}", "nologin"]
    fields += [f"{name}={value}" for name, value in (("rip", remote), ("lip", local)) if value]
    fields += ["secured"] if is_secured else []
    if response is not None:
        fields.append(f"resp={base64.b64encode(response).decode()}")
    return line(*fields)


def go_on(number: int, response: bytes) -> bytes:
    return line("CONT", str(number), base64.b64encode(response).decode())


def cancel(number: int) -> bytes:
    return line("CANCEL", str(number))
