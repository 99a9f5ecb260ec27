"""SASL mechanisms, server and client side: octets in, octets out, no base64 (that is the protocol's that carries them).

A server mechanism says `Challenge` or `Credentials` to each response; a `response` of None means that the client sent
no initial response. What cannot be the mechanism's message raises `SaslError`. Whether the credentials are right is
not asked here.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Final, Protocol

import msgspec

MAXIMAL_FIELD: Final = 1024
"""Octets of a name or a password; RFC 4616 s2 asks for up to 255 characters at least."""


class SaslError(ValueError):
    """Not a message of this mechanism; the text is for the log."""


class Challenge(msgspec.Struct, frozen=True):
    data: bytes


class Credentials(msgspec.Struct, frozen=True):
    """`authcid` is who the password belongs to, `authzid` whom the client wants to act as ("" for the same)."""

    authcid: str
    password: bytes
    authzid: str = ""


class ServerMechanism(Protocol):
    name: ClassVar[str]
    is_plaintext: ClassVar[bool]
    """The password crosses the wire readable, so that the connection must protect it."""

    def step(self, response: bytes | None) -> Challenge | Credentials: ...


class ClientMechanism(Protocol):
    name: ClassVar[str]

    def initial(self) -> bytes | None:
        """The initial response; None if the server speaks first."""
        ...

    def step(self, challenge: bytes) -> bytes: ...


def _name(octets: bytes) -> str:
    if not octets:
        raise SaslError("empty username")
    if len(octets) > MAXIMAL_FIELD:
        raise SaslError("username is too long")
    if b"\0" in octets:
        raise SaslError("NUL in username")
    return _text(octets)


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        # RFC 4616 s2: the strings are UTF-8.
        raise SaslError("username is not valid UTF-8") from error


def _password(octets: bytes) -> bytes:
    if len(octets) > MAXIMAL_FIELD:
        raise SaslError("password is too long")
    if b"\0" in octets:
        raise SaslError("NUL in password")
    return octets


class PlainServer:
    """RFC 4616: message = [authzid] UTF8NUL authcid UTF8NUL passwd"""

    name: ClassVar = "PLAIN"
    is_plaintext: ClassVar = True

    def step(self, response: bytes | None) -> Challenge | Credentials:
        if response is None:
            return Challenge(b"")
        fields = response.split(b"\0")
        if len(fields) != 3:
            raise SaslError("invalid input")
        authzid, authcid, password = fields
        if len(authzid) > MAXIMAL_FIELD:
            raise SaslError("authorization identity is too long")
        return Credentials(_name(authcid), _password(password), _text(authzid))


class LoginServer:
    """The LOGIN mechanism, which has no RFC: two questions, as every client expects them. An initial response is the
    name."""

    name: ClassVar = "LOGIN"
    is_plaintext: ClassVar = True

    def __init__(self) -> None:
        self._username: str | None = None

    def step(self, response: bytes | None) -> Challenge | Credentials:
        if response is None:
            return Challenge(b"Username:")
        if self._username is None:
            self._username = _name(response)
            return Challenge(b"Password:")
        return Credentials(self._username, _password(response))


class PlainClient:
    name: ClassVar = "PLAIN"

    def __init__(self, authcid: str, password: str, authzid: str = "") -> None:
        for field in (authcid, password, authzid):
            if "\0" in field:
                raise SaslError("NUL in a name or password")
        self._message = f"{authzid}\0{authcid}\0{password}".encode("utf-8", "surrogateescape")

    def initial(self) -> bytes | None:
        return self._message

    def step(self, challenge: bytes) -> bytes:
        # A server that did not take the initial response asks with an empty challenge.
        if challenge:
            raise SaslError("PLAIN has no challenges")
        return self._message


class LoginClient:
    name: ClassVar = "LOGIN"

    def __init__(self, authcid: str, password: str) -> None:
        self._answers = [authcid.encode("utf-8", "surrogateescape"), password.encode("utf-8", "surrogateescape")]

    def initial(self) -> bytes | None:
        return None

    def step(self, challenge: bytes) -> bytes:  # noqa: ARG002 - the signature of all mechanisms
        # Servers word the questions differently, so only their order counts.
        if not self._answers:
            raise SaslError("LOGIN has two challenges")
        return self._answers.pop(0)


SERVER_MECHANISMS: Final[Mapping[str, Callable[[], ServerMechanism]]] = {"PLAIN": PlainServer, "LOGIN": LoginServer}
CLIENT_MECHANISMS: Final[Mapping[str, Callable[[str, str], ClientMechanism]]] = {
    "PLAIN": PlainClient,
    "LOGIN": LoginClient,
}
PLAINTEXT_MECHANISMS: Final = frozenset({"PLAIN", "LOGIN"})
