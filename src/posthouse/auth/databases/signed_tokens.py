"""Bearer tokens that are signed (JWT), checked with keys of this machine (Dovecot's local_validation_key_dict).

The token says which key: DIRECTORY/azp/alg/kid, with "default" for what it does not say. The algorithm is part of the
path, and a key is read as what its algorithm needs: a public key is never taken for the secret of an HMAC.
"""

import base64
import binascii
import re
from collections.abc import Callable, Collection
from typing import Any, Final

import jwt
import msgspec

from posthouse.auth.databases.lookup import DatabaseError

HMAC: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""RFC 7518 s3.2: and how many octets their key must have."""
PUBLIC: Final = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
)  # fmt: skip
MAXIMAL_KEY_NAME: Final = 200
MAXIMAL_KEY_OCTETS: Final = 64 * 1024
MAXIMAL_KEYS: Final = 1000
"""That are remembered; a key that is not is read again."""


class Refused(Exception):
    """The token lets nobody in. The text is for the log."""


class KeyDirectory:
    """`read` gives the octets and raises OSError; `stamp` tells versions apart."""

    def __init__(self, prefix: str, read: Callable[[str], bytes], stamp: Callable[[str], object]) -> None:
        self._prefix = prefix
        self._read = read
        self._stamp = stamp
        self._known: dict[str, tuple[object, Any]] = {}

    def find(self, azp: str, algorithm: str, kid: str) -> Any:
        """A key as the library takes it. Raises Refused, DatabaseError."""
        path = f"{self._prefix}{_part(azp)}/{algorithm}/{_part(kid)}"
        try:
            stamp = self._stamp(path)
            known = self._known.get(path)
            if known is not None and known[0] == stamp:
                return known[1]
            octets = self._read(path)
        except (FileNotFoundError, NotADirectoryError):
            # The token names it, so that says something about the token.
            raise Refused(f"there is no key {path}") from None
        except OSError as error:
            raise DatabaseError(f"{path}: {error.strerror or error}") from error
        key = _key(octets[:MAXIMAL_KEY_OCTETS], algorithm, path)
        if len(self._known) >= MAXIMAL_KEYS:
            self._known.clear()
        self._known[path] = (stamp, key)
        return key


def _part(name: str) -> str:
    """One component of a path, as Dovecot escapes it. Raises Refused."""
    if name in (".", "..") or len(name) > MAXIMAL_KEY_NAME or not name.isprintable():
        raise Refused("the token names a key that cannot be one")
    return name.replace("%", "%25").replace("/", "%2f") or "default"


def _key(octets: bytes, algorithm: str, path: str) -> Any:
    if (wanted := HMAC.get(algorithm)) is not None:
        try:
            secret = base64.b64decode(octets.strip(), validate=True)
        except (ValueError, binascii.Error) as error:
            raise DatabaseError(f"{path}: a secret in base64 is expected") from error
        if len(secret) < wanted:
            raise DatabaseError(f"{path}: {len(secret)} octets; {algorithm} needs {wanted}")
        return secret
    try:
        return jwt.get_algorithm_by_name(algorithm).prepare_key(octets)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise DatabaseError(f"{path}: not a public key for {algorithm} in PEM form: {error}") from error


class Terms(msgspec.Struct, frozen=True):
    """What a token must say. `issuers` empty takes any; `audience` counts if the token names one."""

    issuers: Collection[str]
    audience: str
    skew_s: float


def is_jwt(token: str) -> bool:
    """Three parts in base64url: only this form is ours (RFC 7515 s3.1)."""
    return re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", token) is not None


def claims(token: str, keys: KeyDirectory, terms: Terms) -> dict[str, Any]:
    """Raises Refused, DatabaseError."""
    if not is_jwt(token):
        raise Refused("not a signed token")
    try:
        header = jwt.get_unverified_header(token)
        unverified = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise Refused(f"the token cannot be read: {error}") from error
    algorithm, kid = header.get("alg"), header.get("kid", "default")
    azp = unverified.get("azp", "default")
    if not isinstance(algorithm, str) or (algorithm not in HMAC and algorithm not in PUBLIC):
        # "none" above all.
        raise Refused(f"signed with {str(algorithm)[:20]!r}, which is not taken")
    if "crit" in header or "b64" in header:
        # RFC 7515 s4.1.11: what we do not understand and must, lets nobody in.
        raise Refused("the token needs an extension that is not known")
    if not isinstance(kid, str) or not isinstance(azp, str):
        raise Refused("the token does not name its key")
    key = keys.find(azp, algorithm, kid)
    try:
        found: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            leeway=terms.skew_s,
            # Without an end it would be good for ever, whoever gets hold of it.
            options={"require": ["exp", "sub"], "verify_aud": False, "verify_iss": False},
        )
    except jwt.PyJWTError as error:
        raise Refused(str(error)) from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Refused(f"the token cannot be checked: {error!r}") from error
    if terms.issuers and found.get("iss") not in terms.issuers:
        raise Refused(f"the token is of the issuer {str(found.get('iss'))[:100]!r}")
    audience = found.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if terms.audience and audience is not None and terms.audience not in named:
        raise Refused("the token is for another audience")
    return found
