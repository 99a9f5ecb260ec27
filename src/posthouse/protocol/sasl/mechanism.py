"""What a SASL mechanism is told and what it says.

A server mechanism answers each response with one of `Said`; a `response` of None means that the client sent no initial
response. What cannot be the mechanism's message raises `SaslError`. Whether a password is right is not asked here: the
mechanism says what it needs (`Credentials`, `NeedSecret`, `Token` …), and whoever knows the users goes on from there.
"""

from collections.abc import Mapping
from typing import ClassVar, Final, Protocol

import msgspec

MAXIMAL_FIELD: Final = 1024
"""Octets of a name or a password; RFC 4616 s2 asks for up to 255 characters at least."""


class SaslError(ValueError):
    """Not a message of this mechanism; the text is for the log."""


class Surroundings(msgspec.Struct, frozen=True):
    """What a mechanism must know of the connection. `nonce`: printable ASCII without a comma, never the same twice.

    `bindings`: channel bindings by type (RFC 5056), empty where none are offered; `certified`: the user name in the
    client's verified certificate, "" without one; `realms`: of DIGEST-MD5."""

    nonce: str
    hostname: str = "localhost"
    bindings: Mapping[str, bytes] = {}
    certified: str = ""
    realms: tuple[str, ...] = ()


# ── what it says ──


class Challenge(msgspec.Struct, frozen=True):
    data: bytes


class Credentials(msgspec.Struct, frozen=True):
    """`authcid` is who the password belongs to, `authzid` whom the client wants to act as ("" for the same)."""

    authcid: str
    password: bytes
    authzid: str = ""


class NeedSecret(msgspec.Struct, frozen=True):
    """What is stored about `authcid`, in the form that `kind` names (a name of `auth.secrets.KINDS`); `material` goes
    into it. Then `SecretMechanism.secret` is called."""

    authcid: str
    authzid: str
    kind: str
    material: bytes = b""


class Proven(msgspec.Struct, frozen=True):
    """The client knows the secret that was given."""


class Wrong(msgspec.Struct, frozen=True):
    """It does not, or not in the way that was agreed on. The text is for the log; "" for a wrong password."""

    reason: str = ""


class Token(msgspec.Struct, frozen=True):
    """A bearer token, of `authcid` if it says so ("" if the token alone tells)."""

    authcid: str
    token: str


class Claim(msgspec.Struct, frozen=True):
    """Proven by other means: the client's certificate."""

    authcid: str
    authzid: str


class Anonymous(msgspec.Struct, frozen=True):
    """`trace` is whatever the client says of itself, for the log."""

    trace: str


Said = Challenge | Credentials | NeedSecret | Proven | Wrong | Token | Claim | Anonymous


class ScramKeys(msgspec.Struct, frozen=True):
    """RFC 5802 s3: all that a server needs of a password."""

    rounds: int
    salt: bytes
    stored: bytes
    server: bytes


Secret = bytes | ScramKeys


class ServerMechanism(Protocol):
    name: ClassVar[str]

    def step(self, response: bytes | None) -> Said: ...


class SecretMechanism(ServerMechanism, Protocol):
    def secret(self, secret: Secret) -> Said:
        """Called once, after NeedSecret."""
        ...


class ClientMechanism(Protocol):
    name: ClassVar[str]

    def initial(self) -> bytes | None:
        """The initial response; None if the server speaks first."""
        ...

    def step(self, challenge: bytes) -> bytes: ...

    @property
    def may_succeed(self) -> bool:
        """Has the server shown all it had to? A success before that is none."""
        ...


# ── fields ──


def name_field(octets: bytes) -> str:
    if not octets:
        raise SaslError("empty username")
    if len(octets) > MAXIMAL_FIELD:
        raise SaslError("username is too long")
    if b"\0" in octets:
        raise SaslError("NUL in username")
    return text_field(octets)


def text_field(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        # RFC 4616 s2: the strings are UTF-8.
        raise SaslError("username is not valid UTF-8") from error


def authzid_field(octets: bytes) -> str:
    if len(octets) > MAXIMAL_FIELD:
        raise SaslError("authorization identity is too long")
    if b"\0" in octets:
        raise SaslError("NUL in authorization identity")
    return text_field(octets)


def password_field(octets: bytes) -> bytes:
    if len(octets) > MAXIMAL_FIELD:
        raise SaslError("password is too long")
    if b"\0" in octets:
        raise SaslError("NUL in password")
    return octets
