"""Stored passwords: "{SCHEME}hash", as Dovecot writes them.

Everything here may take tens of milliseconds: call it in the hashing threads (`auth.hashing`), not in the event loop.
A scheme that we do not know is an error of the administrator, not a wrong password: `UnknownScheme`, a temporary
failure.
"""

import base64
import binascii
import enum
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from argon2.exceptions import Argon2Error
from argon2.low_level import Type, hash_secret, verify_secret

from posthouse.auth import crypt, digests
from posthouse.auth.digests import NotAHash

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

    def hash(self, password: str, scheme: str = "", user: str = "") -> str:
        """Argon2id, or another scheme for mechanisms that need it. Raises UnusablePassword."""
        octets = password.encode("utf-8", "surrogateescape")
        if not octets:
            raise UnusablePassword("an empty password is not accepted")
        if len(octets) > MAXIMAL_PASSWORD:
            raise UnusablePassword(f"a password has at most {MAXIMAL_PASSWORD} octets")
        if b"\0" in octets or b"\n" in octets or b"\r" in octets:
            raise UnusablePassword("a password cannot hold NUL or line ends")
        cost = self._cost
        if scheme:
            return make(scheme, octets, user, cost)
        encoded = hash_secret(
            octets, secrets.token_bytes(16), cost.passes, cost.memory_octets >> 10, cost.lanes, 32, Type.ID
        )
        return "{ARGON2ID}" + encoded.decode("ascii")

    def checked(self, stored: str) -> str:
        """A hash made elsewhere, refused here rather than at the first login if it could never be checked."""
        scheme, _ = split(stored, "")
        if scheme.partition(".")[0] not in SCHEMES:
            known = ", ".join("{" + name + "}" for name in SCHEMES)
            raise UnusablePassword(f"a stored password begins with its scheme, one of {known}")
        if re.search(r"[\x00-\x1f\x7f]", stored):
            raise UnusablePassword("a stored password is one line")
        if _ORDINARY.fullmatch(stored):
            # Computing it would say the same; with thousands of them it takes hours.
            return stored
        try:
            verify(stored, b"is this a hash at all?", "")
        except UnknownScheme as error:
            raise UnusablePassword(str(error)) from error
        return stored

    def decoy(self) -> str:
        """A hash of nobody's password: checking it makes an unknown user cost what a wrong password costs."""
        return self.hash(secrets.token_urlsafe(18))


def split(stored: str, default_scheme: str) -> tuple[str, str]:
    """Scheme in capitals (with its encoding, as in "SHA256.HEX"), and the rest."""
    match = _PREFIX.match(stored)
    if match:
        return match[1].upper(), stored[match.end() :]
    return default_scheme.upper(), stored


def verify(stored: str, password: bytes, default_scheme: str, user: str = "") -> bool:
    """Whether the password is right. Raises UnknownScheme if that cannot be said. `user` is the full name, which
    DIGEST-MD5 hashes too."""
    name, value = split(stored, default_scheme)
    scheme, octets = _decoded(name, value)
    if len(password) > MAXIMAL_PASSWORD:
        return False
    try:
        return scheme.check(octets, password, user)
    except NotAHash as error:
        raise UnknownScheme(f"a value that cannot be of the scheme {name}: {error}") from error


def make(name: str, password: bytes, user: str = "", cost: "Argon2Cost | None" = None, rounds: int = 0) -> str:
    """A new "{SCHEME}hash", as `doveadm pw -s` makes it. Raises UnusablePassword."""
    base, dot, encoding = name.upper().partition(".")
    scheme = SCHEMES.get(base)
    if scheme is None or (dot and encoding not in _ENCODINGS):
        raise UnusablePassword(f"unknown password scheme {name}")
    octets = scheme.make(password, user, cost or Argon2Cost(), rounds)
    chosen = _ENCODINGS.get(encoding, scheme.encoding)
    if chosen is Encoding.HEX:
        octets = binascii.hexlify(octets)
    elif chosen is Encoding.BASE64:
        octets = base64.b64encode(octets)
    return f"{{{base}{dot}{encoding}}}{octets.decode('utf-8', 'surrogateescape')}"


class Encoding(enum.Enum):
    NONE = "as it is"
    HEX = "hexadecimal"
    BASE64 = "base64"


_ENCODINGS: Final = {"HEX": Encoding.HEX, "B64": Encoding.BASE64, "BASE64": Encoding.BASE64}

Check = Callable[[bytes, bytes, str], bool]
"""Value, password, user."""
Make = Callable[[bytes, str, Argon2Cost, int], bytes]
"""Password, user, cost, rounds (0: the usual)."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """`size` is that of a raw digest, which tells hexadecimal from base64; 0 where that says nothing. `is_weak`: a
    guess costs less than it should today (fast digests, short salts, plain text)."""

    check: Check
    make: Make
    encoding: Encoding = Encoding.NONE
    size: int = 0
    is_weak: bool = True


def is_weak(stored: str, default_scheme: str) -> bool:
    """Should this hash be replaced by one of today's when the password is next known?"""
    name, value = split(stored, default_scheme)
    if name == "CRYPT":
        return not value.startswith(_STRONG_CRYPT)
    scheme = SCHEMES.get(name.partition(".")[0])
    return scheme is not None and scheme.is_weak


def value_of(stored: str, default_scheme: str) -> tuple[str, bytes]:
    """Scheme without its encoding, and the decoded value: what mechanisms other than PLAIN work with. Raises
    UnknownScheme."""
    name, value = split(stored, default_scheme)
    _, octets = _decoded(name, value)
    return name.partition(".")[0], octets


def _decoded(name: str, value: str) -> tuple[Scheme, bytes]:
    base, dot, suffix = name.partition(".")
    scheme = SCHEMES.get(base)
    if scheme is None or (dot and suffix not in _ENCODINGS):
        raise UnknownScheme(f"unknown password scheme {name}" if name else "no password scheme")
    octets = value.encode("utf-8", "surrogateescape")
    encoding = _ENCODINGS[suffix] if dot else scheme.encoding
    if not dot and scheme.size and encoding is not Encoding.NONE:
        # Dovecot takes either where the length tells them apart.
        encoding = Encoding.HEX if len(octets) == 2 * scheme.size else Encoding.BASE64
    try:
        if encoding is Encoding.HEX:
            octets = binascii.unhexlify(octets)
        elif encoding is Encoding.BASE64:
            octets = base64.b64decode(octets, validate=True)
    except ValueError as error:
        raise UnknownScheme(f"a value that is not {encoding.value}, as the scheme {name} is") from error
    if scheme.size and len(octets) != scheme.size:
        raise UnknownScheme(f"a value of the wrong length for the scheme {name}")
    return scheme, octets


def _plain(value: bytes, password: bytes, user: str) -> bool:  # noqa: ARG001 - a Check
    return hmac.compare_digest(value, password)


def _make_plain(password: bytes, user: str, cost: Argon2Cost, rounds: int) -> bytes:  # noqa: ARG001 - a Make
    return password


def _argon2(kind: Type) -> Scheme:
    prefix = b"$argon2id$" if kind is Type.ID else b"$argon2i$"

    def check(value: bytes, password: bytes, user: str) -> bool:  # noqa: ARG001
        if not value.startswith(prefix):
            raise UnknownScheme("a malformed Argon2 hash")
        try:
            return verify_secret(value, password, kind)
        except Argon2Error as error:
            if type(error).__name__ == "VerifyMismatchError":
                return False
            raise UnknownScheme(f"an Argon2 hash that cannot be checked: {error}") from error

    def make_hash(password: bytes, user: str, cost: Argon2Cost, rounds: int) -> bytes:  # noqa: ARG001
        passes = rounds or cost.passes
        return hash_secret(password, secrets.token_bytes(16), passes, cost.memory_octets >> 10, cost.lanes, 32, kind)

    return Scheme(check, make_hash, is_weak=False)


def _crypt(prefixes: tuple[bytes, ...], setting: Callable[[int], bytes], *, is_weak: bool) -> Scheme:
    """`prefixes` empty: any method of crypt(3)."""

    def check(value: bytes, password: bytes, user: str) -> bool:  # noqa: ARG001
        if prefixes and not value.startswith(prefixes):
            raise UnknownScheme("a hash that is not of the scheme it names")
        try:
            return crypt.verify(password, value)
        except crypt.CannotCrypt as error:
            raise UnknownScheme(str(error)) from error

    def make_hash(password: bytes, user: str, cost: Argon2Cost, rounds: int) -> bytes:  # noqa: ARG001
        try:
            return crypt.make(password, setting(rounds))
        except crypt.CannotCrypt as error:
            raise UnusablePassword(str(error)) from error

    return Scheme(check, make_hash, is_weak=is_weak)


def _digest(name: str, size: int, encoding: Encoding) -> Scheme:
    return Scheme(
        lambda value, password, _: digests.same(value, digests.digest(name, password)),
        lambda password, *_: digests.digest(name, password),
        encoding,
        size,
    )


def _salted(name: str) -> Scheme:
    return Scheme(
        lambda value, password, _: digests.verify_salted(name, value, password),
        lambda password, *_: digests.make_salted(name, password),
        Encoding.BASE64,
    )


def _scram(name: str) -> Scheme:
    return Scheme(
        lambda value, password, _: digests.verify_scram(name, value, password),
        lambda password, _user, _cost, rounds: digests.make_scram(name, password, rounds or digests.SCRAM_ROUNDS),
    )


def _md5(value: bytes, password: bytes, user: str) -> bool:
    """MD5: crypt's, or a plain digest in hexadecimal (what a database's own md5() gives)."""
    if value.startswith(b"$1$"):
        return _MD5_CRYPT.check(value, password, user)
    try:
        octets = binascii.unhexlify(value)
    except ValueError as error:
        raise NotAHash("neither MD5-CRYPT nor PLAIN-MD5") from error
    if len(octets) != 16:
        raise NotAHash("neither MD5-CRYPT nor PLAIN-MD5")
    return digests.same(octets, digests.digest("md5", password))


def _salt(length: int) -> bytes:
    return "".join(secrets.choice(_SALT_CHARACTERS) for _ in range(length)).encode()


def _sha_crypt(letter: bytes) -> Callable[[int], bytes]:
    return lambda rounds: b"$" + letter + b"$" + (b"rounds=%d$" % rounds if rounds else b"") + _salt(16)


def _blowfish(rounds: int) -> bytes:
    return b"$2y$%02d$%s" % (min(max(rounds or 10, 4), 20), _salt(21) + b".")


_ORDINARY: Final = re.compile(
    r"\{(?:BLF-)?CRYPT\}\$2[aby]\$(?:0[4-9]|1[0-4])\$[./A-Za-z0-9]{53}"
    r"|\{(?:SHA256-)?CRYPT\}\$5\$[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43}"
    r"|\{(?:SHA512-)?CRYPT\}\$6\$[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}"
    r"|\{ARGON2ID\}\$argon2id\$v=19\$m=[0-9]{2,6},t=[1-9][0-9]?,p=[1-9]\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}"
)
"""Hashes that cost much and are surely hashes."""
_STRONG_CRYPT: Final = ("$2", "$5$", "$6$", "$7$", "$y$", "$gy$")
_SALT_CHARACTERS: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MD5_CRYPT: Final = _crypt((b"$1$",), lambda _: b"$1$" + _salt(8), is_weak=True)
_PLAIN: Final = Scheme(_plain, _make_plain)
_HMAC_MD5: Final = Scheme(
    lambda value, password, _: digests.same(value, digests.hmac_md5_context(password)),
    lambda password, *_: digests.hmac_md5_context(password),
    Encoding.HEX,
    32,
)

SCHEMES: Final[Mapping[str, Scheme]] = {
    "ARGON2ID": _argon2(Type.ID),
    "ARGON2I": _argon2(Type.I),
    "BLF-CRYPT": _crypt((b"$2a$", b"$2b$", b"$2x$", b"$2y$"), _blowfish, is_weak=False),
    "SHA512-CRYPT": _crypt((b"$6$",), _sha_crypt(b"6"), is_weak=False),
    "SHA256-CRYPT": _crypt((b"$5$",), _sha_crypt(b"5"), is_weak=False),
    "MD5-CRYPT": _MD5_CRYPT,
    "DES-CRYPT": _crypt((), lambda _: _salt(2), is_weak=True),
    # Whatever the C library knows: yescrypt ($y$), gost-yescrypt, scrypt, SunMD5, bigcrypt …
    "CRYPT": _crypt((), _blowfish, is_weak=False),
    "MD5": Scheme(_md5, _MD5_CRYPT.make),
    "PLAIN": _PLAIN,
    "CLEAR": _PLAIN,
    "CLEARTEXT": _PLAIN,
    "PLAIN-TRUNC": Scheme(
        lambda value, password, _: digests.verify_truncated(value, password),
        lambda password, *_: b"%d-%s" % (len(password), password),
    ),
    "PLAIN-MD4": _digest("md4", 16, Encoding.HEX),
    "PLAIN-MD5": _digest("md5", 16, Encoding.HEX),
    "LDAP-MD5": _digest("md5", 16, Encoding.BASE64),
    "SHA": _digest("sha1", 20, Encoding.BASE64),
    "SHA1": _digest("sha1", 20, Encoding.BASE64),
    "SHA256": _digest("sha256", 32, Encoding.BASE64),
    "SHA512": _digest("sha512", 64, Encoding.BASE64),
    "SMD5": _salted("md5"),
    "SSHA": _salted("sha1"),
    "SSHA256": _salted("sha256"),
    "SSHA512": _salted("sha512"),
    "CRAM-MD5": _HMAC_MD5,
    "HMAC-MD5": _HMAC_MD5,
    "DIGEST-MD5": Scheme(
        lambda value, password, user: digests.same(value, digests.digest_md5(user, password)),
        lambda password, user, *_: digests.digest_md5(user, password),
        Encoding.HEX,
        16,
    ),
    "SCRAM-SHA-1": _scram("sha1"),
    "SCRAM-SHA-256": _scram("sha256"),
    "PBKDF2": Scheme(
        lambda value, password, _: digests.verify_pbkdf2(value, password),
        lambda password, _user, _cost, rounds: digests.make_pbkdf2(password, rounds or digests.PBKDF2_ROUNDS),
    ),
    "OTP": Scheme(
        lambda value, password, _: digests.verify_otp(value, password), lambda password, *_: digests.make_otp(password)
    ),
}
"""What `doveadm pw -l` lists on Debian."""
