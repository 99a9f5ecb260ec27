"""Application passwords: one for each device, for the services it needs, made by us and shown once.

Sixteen random characters of an alphabet of 32 are 80 bits. Nobody can go through so many, however fast the hash is, so
a salted SHA-256 is enough and a login with one costs microseconds. A password that a person chose gets Argon2id because
it can be guessed; this one cannot.
"""

import re
import secrets
from typing import Final

import msgspec

from posthouse.auth.schemes import make, verify

ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without l, o, 0 and 1, which look like others."""
GROUPS: Final = 4
GROUP_LENGTH: Final = 4
MAXIMAL_PER_ACCOUNT: Final = 50
MAXIMAL_LABEL: Final = 64
SERVICES: Final = ("imap", "pop3", "smtp", "sieve")
"""What a scope usually names; others are taken too, for servers that ask in the name of a service of their own."""
_FORM: Final = re.compile(f"[{ALPHABET}]{{{GROUPS * GROUP_LENGTH}}}")
_SERVICE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")


class AppPassword(msgspec.Struct, frozen=True):
    """`services` empty: for all; `expires_s` 0: never; `last_used_s` 0: not yet."""

    label: str
    digest: str
    services: tuple[str, ...] = ()
    created_s: int = 0
    expires_s: int = 0
    last_used_s: int = 0

    def refusal(self, service: str, now_s: float) -> str:
        """Why it does not let anybody in for this service now; "" if it does."""
        if self.expires_s and self.expires_s <= now_s:
            return f'app password "{self.label}" has expired'
        if self.services and service_name(service) not in self.services:
            return f'app password "{self.label}" is not for {service}'
        return ""


def generate() -> str:
    """xxxx-xxxx-xxxx-xxxx"""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH)) for _ in range(GROUPS))


def canonical(password: bytes) -> bytes | None:
    """As it is hashed, if it may be one: people type capitals and leave out what stands between the groups."""
    if not GROUPS * GROUP_LENGTH <= len(password) <= 2 * GROUPS * GROUP_LENGTH:
        return None
    try:
        text = password.decode("ascii").lower().replace("-", "").replace(" ", "")
    except UnicodeDecodeError:
        return None
    return text.encode() if _FORM.fullmatch(text) else None


def digest(password: str) -> str:
    """ "{SSHA256}…" of one that `generate` made."""
    key = canonical(password.encode())
    if key is None:
        raise ValueError("only generated passwords are random enough for a quick digest")
    return make("SSHA256", key)


def fitting(candidates: tuple[AppPassword, ...], key: bytes) -> AppPassword | None:
    """The one whose password this is. Raises UnknownScheme for a digest that is none."""
    return next((one for one in candidates if verify(one.digest, key, "SSHA256")), None)


def service_name(name: str) -> str:
    """Submission is smtp with another port, and servers call both by either name."""
    name = name.lower()
    return "smtp" if name in ("submission", "submissions", "smtps") else name


def parse_services(names: list[str]) -> tuple[str, ...]:
    """Raises ValueError."""
    found = tuple(dict.fromkeys(service_name(name) for name in names))
    for name in found:
        if not _SERVICE.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a service (usual are {', '.join(SERVICES)})")
    if len(" ".join(found)) > 255:
        raise ValueError("too many services")
    return found
