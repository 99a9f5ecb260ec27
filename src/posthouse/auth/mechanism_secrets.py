"""From a stored password to what a mechanism compares with, and made-up ones for users who do not exist."""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Final

from posthouse.auth import digests
from posthouse.auth.digests import NotAHash
from posthouse.auth.schemes import UnknownScheme, value_of
from posthouse.protocol.sasl.mechanism import NeedSecret, SaslError, ScramKeys, Secret
from posthouse.protocol.sasl.saslprep import saslprep
from posthouse.protocol.sasl.scram import scram_keys

CLEAR: Final = frozenset({"PLAIN", "CLEAR", "CLEARTEXT"})
SCRAM_ROUNDS: Final = 4096
"""For keys made of a password in clear text; RFC 7677 s4 asks for that many at least."""
_SCRAM_HASHES: Final = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}


class CannotServe(Exception):
    """The stored password is of no use to the mechanism; the text is for the log and names schemes only."""


def secret_of(need: NeedSecret, stored: str, default_scheme: str, salt: bytes) -> Secret:
    """May take milliseconds: for the hashing threads. Raises UnknownScheme, CannotServe."""
    scheme, value = value_of(stored, default_scheme)
    made = _MAKERS[need.kind](need, scheme, value, salt)
    if made is None:
        raise CannotServe(f"{need.kind} needs a password stored as PLAIN or {need.kind}, this one is {scheme}")
    return made


def _scram(need: NeedSecret, scheme: str, value: bytes, salt: bytes) -> Secret | None:
    name = _SCRAM_HASHES[need.kind]
    if scheme == need.kind:
        try:
            return digests.parse_scram(name, value)
        except NotAHash as error:
            raise UnknownScheme(f"a value that cannot be of the scheme {scheme}: {error}") from error
    if scheme not in CLEAR:
        return None
    try:
        password = saslprep(value.decode("utf-8")).encode()
    except (UnicodeDecodeError, SaslError):
        password = value
    return scram_keys(name, password, salt, SCRAM_ROUNDS)


def _cram(need: NeedSecret, scheme: str, value: bytes, salt: bytes) -> Secret | None:  # noqa: ARG001 - as _scram
    if scheme in CLEAR:
        return hmac.digest(value, need.material, "md5")
    return digests.hmac_md5(value, need.material) if scheme in ("CRAM-MD5", "HMAC-MD5") else None


def _digest(need: NeedSecret, scheme: str, value: bytes, salt: bytes) -> Secret | None:  # noqa: ARG001
    if scheme in CLEAR:
        return hashlib.md5(need.material + value, usedforsecurity=False).digest()
    return value if scheme == "DIGEST-MD5" else None


_MAKERS: Final[Mapping[str, Callable[[NeedSecret, str, bytes, bytes], Secret | None]]] = {
    "SCRAM-SHA-1": _scram,
    "SCRAM-SHA-256": _scram,
    "CRAM-MD5": _cram,
    "DIGEST-MD5": _digest,
}
KINDS: Final = frozenset(_MAKERS)


class Decoys:
    """Secrets that nothing fits. The same name gets the same salt again, as a real user does."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def salt(self, need: NeedSecret) -> bytes:
        """Of this name, for keys that are made here: of a real user's password, and of nobody's."""
        name = f"{need.kind}:{need.authcid}".encode("utf-8", "surrogateescape")
        return hmac.digest(self._key, name, "sha256")[:16]

    def secret(self, need: NeedSecret) -> Secret:
        if need.kind not in _SCRAM_HASHES:
            return secrets.token_bytes(16)
        size = hashlib.new(_SCRAM_HASHES[need.kind]).digest_size
        return ScramKeys(SCRAM_ROUNDS, self.salt(need), secrets.token_bytes(size), secrets.token_bytes(size))
