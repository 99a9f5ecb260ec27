"""Stored passwords: "{SCHEME}hash", as Dovecot writes them.

Everything here may take tens of milliseconds: call it in the hashing threads (`auth.hashing`), not in the event loop.
A scheme that we do not know is an error of the administrator, not a wrong password: `UnknownScheme`, a temporary
failure.
"""

import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from argon2.exceptions import Argon2Error
from argon2.low_level import Type, hash_secret, verify_secret

from posthouse.auth import crypt

MAXIMAL_PASSWORD: Final = 1024
"""Octets; far above any real password, far below what would make hashing it a burden."""

_PREFIX: Final = re.compile(r"\{([A-Za-z0-9.+_-]{1,32})\}")


class UnknownScheme(ValueError):
    """A hash that cannot be checked here; the text names the scheme and never the hash."""


class UnusablePassword(ValueError):
    """Not a password that can be set; the text says why."""


class Argon2Cost(msgspec.Struct, frozen=True):
    """RFC 9106 s4 recommends 64 MiB and three passes for memory-constrained machines, which costs a login 100 ms and
    more; 19 MiB and two passes stay near 20 ms of one core. Old hashes keep the cost they were made with."""

    memory_octets: int = 19 << 20
    passes: int = 2
    lanes: int = 1


class Hasher:
    """Makes the hashes of new passwords."""

    def __init__(self, cost: Argon2Cost | None = None) -> None:
        self._cost = cost or Argon2Cost()

    def hash(self, password: str) -> str:
        octets = password.encode("utf-8", "surrogateescape")
        if not octets:
            raise UnusablePassword("an empty password is not accepted")
        if len(octets) > MAXIMAL_PASSWORD:
            raise UnusablePassword(f"a password has at most {MAXIMAL_PASSWORD} octets")
        if b"\0" in octets or b"\n" in octets or b"\r" in octets:
            raise UnusablePassword("a password cannot hold NUL or line ends")
        cost = self._cost
        encoded = hash_secret(
            octets, secrets.token_bytes(16), cost.passes, cost.memory_octets >> 10, cost.lanes, 32, Type.ID
        )
        return "{ARGON2ID}" + encoded.decode("ascii")

    def checked(self, stored: str) -> str:
        """A hash made elsewhere, refused here rather than at the first login if it could never be checked."""
        scheme, _ = split(stored, "")
        if scheme not in SCHEMES:
            known = ", ".join("{" + name + "}" for name in SCHEMES)
            raise UnusablePassword(f"a stored password begins with its scheme, one of {known}")
        if re.search(r"[\x00-\x1f\x7f]", stored):
            raise UnusablePassword("a stored password is one line")
        try:
            verify(stored, b"is this a hash at all?", "")
        except UnknownScheme as error:
            raise UnusablePassword(str(error)) from error
        return stored

    def decoy(self) -> str:
        """A hash of nobody's password: checking it makes an unknown user cost what a wrong password costs."""
        return self.hash(secrets.token_urlsafe(18))


def split(stored: str, default_scheme: str) -> tuple[str, str]:
    """Scheme in capitals, and the rest."""
    match = _PREFIX.match(stored)
    if match:
        return match[1].upper(), stored[match.end() :]
    return default_scheme.upper(), stored


def verify(stored: str, password: bytes, default_scheme: str) -> bool:
    """Whether the password is right. Raises UnknownScheme if that cannot be said."""
    scheme, value = split(stored, default_scheme)
    check = SCHEMES.get(scheme)
    if check is None:
        raise UnknownScheme(f"unknown password scheme {scheme}" if scheme else "no password scheme")
    if len(password) > MAXIMAL_PASSWORD:
        return False
    return check(value.encode("utf-8", "surrogateescape"), password)


def _verify_plain(value: bytes, password: bytes) -> bool:
    return hmac.compare_digest(value, password)


def _verify_argon2(kind: Type) -> Callable[[bytes, bytes], bool]:
    def check(value: bytes, password: bytes) -> bool:
        if not value.startswith(b"$argon2"):
            raise UnknownScheme("a malformed Argon2 hash")
        try:
            return verify_secret(value, password, kind)
        except Argon2Error as error:
            if type(error).__name__ == "VerifyMismatchError":
                return False
            raise UnknownScheme(f"an Argon2 hash that cannot be checked: {error}") from error

    return check


def _verify_crypt(prefixes: tuple[bytes, ...]) -> Callable[[bytes, bytes], bool]:
    def check(value: bytes, password: bytes) -> bool:
        if not value.startswith(prefixes):
            raise UnknownScheme("a hash that is not of the scheme it names")
        try:
            return crypt.verify(password, value)
        except crypt.CannotCrypt as error:
            raise UnknownScheme(str(error)) from error

    return check


SCHEMES: Final[Mapping[str, Callable[[bytes, bytes], bool]]] = {
    "ARGON2ID": _verify_argon2(Type.ID),
    "BLF-CRYPT": _verify_crypt((b"$2a$", b"$2b$", b"$2y$")),
    "SHA512-CRYPT": _verify_crypt((b"$6$",)),
    "SHA256-CRYPT": _verify_crypt((b"$5$",)),
    "MD5-CRYPT": _verify_crypt((b"$1$",)),
    "PLAIN": _verify_plain,
}
