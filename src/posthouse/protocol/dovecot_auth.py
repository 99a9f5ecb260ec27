"""Dovecot's authentication protocol 1.x, server side: what Postfix and Exim speak to a socket of `service auth`.

Lines of fields separated by tabs. The server says what it offers and DONE, the client says VERSION and CPID; then AUTH
and CONT lines are answered with OK, FAIL or CONT, in any order, by the client's own numbers.
(https://doc.dovecot.org/2.3/developer_manual/design/auth_protocol/)
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Final

import msgspec

MAJOR: Final = 1
MINOR: Final = 2
MAXIMAL_LINE: Final = 16_384
"""Octets; the client must not send longer ones either (AUTH_CLIENT_MAX_LINE_LENGTH)."""
MAXIMAL_NUMBER: Final = 0xFFFFFFFF


class BadLine(ValueError):
    """Not this protocol: the connection ends; the text is for the log."""


class Version(msgspec.Struct, frozen=True):
    major: int
    minor: int


class ClientPid(msgspec.Struct, frozen=True):
    pid: int


class Auth(msgspec.Struct, frozen=True):
    """`parameters` are name=value, or a name alone with "". `response` None: no initial response."""

    number: int
    mechanism: str
    service: str
    parameters: Mapping[str, str]
    response: bytes | None


class Continue(msgspec.Struct, frozen=True):
    number: int
    response: bytes


class Cancel(msgspec.Struct, frozen=True):
    number: int


Line = Version | ClientPid | Auth | Continue | Cancel | None


def parse(line: bytes) -> Line:
    """One line without its end; None for a command that may be ignored. Raises BadLine."""
    try:
        fields = line.decode("utf-8").split("\t")
    except UnicodeDecodeError as error:
        raise BadLine("not UTF-8") from error
    match fields:
        case ["VERSION", major, minor]:
            return Version(parse_number(major), parse_number(minor))
        case ["CPID", pid]:
            return ClientPid(parse_number(pid))
        case ["AUTH", number, mechanism, *rest]:
            return _auth(parse_number(number), mechanism, rest)
        case ["CONT", number, response]:
            return Continue(parse_number(number), _decoded(response))
        case ["CANCEL", number]:
            return Cancel(parse_number(number))
        case ["VERSION" | "CPID" | "AUTH" | "CONT" | "CANCEL", *_]:
            raise BadLine(f"{fields[0]} with {len(fields) - 1} fields")
        case _:
            return None


def _auth(number: int, mechanism: str, rest: list[str]) -> Auth:
    parameters: dict[str, str] = {}
    response: bytes | None = None
    for at, word in enumerate(rest):
        name, _, value = word.partition("=")
        if name == "resp":
            # It is the last one, and may hold anything. Exim sends an empty one for none.
            response = _decoded("\t".join(rest[at:]).partition("=")[2]) or None
            break
        parameters[name] = value
    service = parameters.get("service", "")
    if not service or not mechanism:
        raise BadLine("AUTH without a mechanism or a service")
    return Auth(number, mechanism, service, parameters, response)


def parse_number(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text[:11]) > MAXIMAL_NUMBER:
        raise BadLine(f"{text[:20]!r} is no number")
    return int(text)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadLine("not base64") from error


def _escaped(text: str) -> str:
    for character, escape in (("\1", "1"), ("\t", "t"), ("\n", "n"), ("\r", "r"), ("\0", "0")):
        text = text.replace(character, f"\1{escape}")
    return text


def line(*fields: str) -> bytes:
    return ("\t".join(_escaped(one) for one in fields) + "\n").encode("utf-8", "surrogateescape")


def greeting(mechanisms: Mapping[str, tuple[str, ...]], *, pid: int, connection: int, cookie: str) -> bytes:
    """`mechanisms`: name → flags (plaintext, dictionary, active, mutual-auth, anonymous)."""
    lines = [line("VERSION", str(MAJOR), str(MINOR))]
    lines += [line("MECH", name, *flags) for name, flags in mechanisms.items()]
    lines += [
        line("SPID", str(pid)),
        line("CUID", str(connection)),
        line("COOKIE", cookie),
        line("DONE"),
    ]
    return b"".join(lines)


def ok(number: int, user: str) -> bytes:
    return line("OK", str(number), f"user={user}")


def challenge(number: int, data: bytes) -> bytes:
    return line("CONT", str(number), base64.b64encode(data).decode())


def fail(number: int, user: str = "", *, temporary: bool = False, disabled: bool = False, reason: str = "") -> bytes:
    fields = [f"user={user}"] if user else []
    if temporary:
        fields += ["temp", "code=temp_fail"]
    elif disabled:
        fields += ["code=user_disabled"]
    if reason:
        fields += [f"reason={reason}"]
    return line("FAIL", str(number), *fields)
