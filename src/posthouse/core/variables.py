"""Dovecot's %variables: a template parsed once, filled in per user.

`%u`, `%{user}`, `%Lu` (lower case), `%Un` (upper case), `%%`. Only the names that the caller allows are taken, so
that a typing mistake is found when the configuration is read and not at a user's login.
"""

import re
from collections.abc import Mapping
from typing import Final, Self

import msgspec

_VARIABLE: Final = re.compile(r"%(?:(%)|([LU]*)(?:\{([A-Za-z_]+)\}|([A-Za-z])))")

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


class BadTemplate(ValueError):
    """The text says which variable is not known."""


class Template(msgspec.Struct, frozen=True):
    """`parts` alternates: literal text, (variable, modifiers), literal text …"""

    text: str
    literals: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str, names: Mapping[str, str] = USER_VARIABLES) -> Self:
        literals: list[str] = []
        variables: list[tuple[str, str]] = []
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
            name = match[3] or match[4]
            if name not in names:
                raise BadTemplate(f"the variable %{name} in {text!r} is not known here")
            literals.append(literal)
            literal = ""
            variables.append((names[name], match[2]))
        return cls(text, (*literals, literal + text[at:]), tuple(variables))

    def fill(self, values: Mapping[str, str]) -> str:
        out = [self.literals[0]]
        for number, (name, modifiers) in enumerate(self.variables, 1):
            value = values.get(name, "")
            for modifier in modifiers:
                value = value.lower() if modifier == "L" else value.upper()
            out.append(value)
            out.append(self.literals[number])
        return "".join(out)


def user_values(user: str, service: str = "", home: str = "") -> dict[str, str]:
    """What the variables stand for: without an @ the whole name is %n and %d is empty, as in Dovecot."""
    at = user.rfind("@")
    username, domain = (user[:at], user[at + 1 :]) if at >= 0 else (user, "")
    return {"user": user, "username": username, "domain": domain, "home": home, "service": service}
