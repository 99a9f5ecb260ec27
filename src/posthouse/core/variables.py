"""Dovecot's %variables: a template parsed once, filled in per user.

`%u`, `%{user}`, `%%`; modifiers (`%Lu` lower case, `%Un`, `%Rn` reversed, `%Mu` MD5, `%Hu` and `%Nu` hashes, `%Dd` with
",dc=" for dots, `%Eu`, `%Xp`, `%Tu`), and a part of the value (`%2n`, `%1.3n`, `%-2.2n`; for hashes: digits, modulus).
Only the names that the caller allows are taken, so that a typing mistake is found when the configuration is read and
not at a user's login.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Final, Self

import msgspec

_VARIABLE: Final = re.compile(
    r"%(?:(%)|(?:(-?[0-9]{1,6})(?:\.(-?[0-9]{1,9}))?)?([LUERXHNMDT]*)(?:\{([A-Za-z_0-9]+)\}|([A-Za-z])))"
)

USER_VARIABLES: Final = {
    "u": "user",
    "user": "user",
    "username": "username",
    "n": "username",
    "d": "domain",
    "domain": "domain",
    "h": "home",
    "home": "home",
    "s": "service",
    "service": "service",
}
"""Every spelling and what it stands for: `user` is the whole name, `username` the part before the last @."""
LOGIN_VARIABLES: Final = {
    **USER_VARIABLES,
    "l": "lip",
    "lip": "lip",
    "r": "rip",
    "rip": "rip",
    "a": "lport",
    "lport": "lport",
    "b": "rport",
    "rport": "rport",
    "p": "pid",
    "pid": "pid",
    "c": "secured",
    "secured": "secured",
    "m": "mech",
    "mech": "mech",
    "w": "password",
    "password": "password",
    "session": "session",
    "auth_user": "auth_user",
    "auth_username": "auth_username",
    "auth_domain": "auth_domain",
    "login_user": "login_user",
    "login_username": "login_username",
    "login_domain": "login_domain",
    "master_user": "master_user",
}
"""In databases of auth: what is known about the login too."""


class BadTemplate(ValueError):
    """The text says which variable is not known."""


class Variable(msgspec.Struct, frozen=True):
    """`offset` and `width` as Dovecot has them: where the part begins (from the end if negative), and how long it is
    (0: to the end)."""

    name: str
    modifiers: str = ""
    offset: int = 0
    width: int = 0

    def of(self, value: str) -> str:
        offset, width = self.offset, self.width
        for modifier in self.modifiers:
            if modifier in "HN":
                # For a hash the numbers are its digits and its modulus.
                value = _hash(value, width, is_new=modifier == "N").rjust(offset, "0")
                offset = width = 0
            else:
                value = _MODIFIERS[modifier](value)
        if offset < 0:
            offset = max(0, len(value) + offset)
        value = value[offset:]
        return value[:width] if width > 0 else value[: len(value) + width] if width < 0 else value


def _hash(value: str, modulus: int, *, is_new: bool) -> str:
    octets = value.encode("utf-8", "surrogateescape")
    if is_new:
        number = int.from_bytes(hashlib.md5(octets, usedforsecurity=False).digest()[:8], "big")
    else:
        number = 0
        for octet in octets:
            number = (number << 4) + octet & 0xFFFFFFFF
            if high := number & 0xF0000000:
                number ^= high >> 24 ^ high
    # Without a modulus Dovecot prints 32 bits of it.
    return f"{number % modulus if modulus > 0 else number & 0xFFFFFFFF:x}"


def _hexadecimal(value: str) -> str:
    return f"{int(value):x}" if value.isdecimal() else "0"


_MODIFIERS: Final[Mapping[str, Callable[[str], str]]] = {
    "L": str.lower,
    "U": str.upper,
    "E": lambda value: re.sub(r"([\\\"'])", r"\\\1", value),
    "X": _hexadecimal,
    "R": lambda value: value[::-1],
    "M": lambda value: hashlib.md5(value.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest(),
    "D": lambda value: value.replace(".", ",dc="),
    "T": str.rstrip,
}


class Template(msgspec.Struct, frozen=True):
    """`literals` and `variables` alternate: literal text, variable, literal text …"""

    text: str
    literals: tuple[str, ...]
    variables: tuple["Variable", ...]

    @classmethod
    def parse(cls, text: str, names: Mapping[str, str] = USER_VARIABLES) -> Self:
        literals: list[str] = []
        variables: list[Variable] = []
        literal, at = "", 0
        while (percent := text.find("%", at)) >= 0:
            match = _VARIABLE.match(text, percent)
            if match is None:
                raise BadTemplate(f"a variable is expected after % in {text!r} (a percent sign itself is %%)")
            literal += text[at:percent]
            at = match.end()
            if match[1]:
                literal += "%"
                continue
            name = match[5] or match[6]
            if name not in names:
                raise BadTemplate(f"the variable %{name} in {text!r} is not known here")
            literals.append(literal)
            literal = ""
            first, second = match[2], match[3]
            # Without a dot it is a width, whose sign says nothing.
            offset, width = (int(first), int(second)) if second is not None else (0, abs(int(first or 0)))
            variables.append(Variable(names[name], match[4], offset, width))
        return cls(text, (*literals, literal + text[at:]), tuple(variables))

    def fill(self, values: Mapping[str, str]) -> str:
        out = [self.literals[0]]
        for number, variable in enumerate(self.variables, 1):
            out.append(variable.of(values.get(variable.name, "")))
            out.append(self.literals[number])
        return "".join(out)


def user_values(user: str, service: str = "", home: str = "") -> dict[str, str]:
    """What the variables stand for: without an @ the whole name is %n and %d is empty, as in Dovecot."""
    at = user.rfind("@")
    username, domain = (user[:at], user[at + 1 :]) if at >= 0 else (user, "")
    return {"user": user, "username": username, "domain": domain, "home": home, "service": service}
