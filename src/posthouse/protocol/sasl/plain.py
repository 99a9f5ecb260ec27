"""PLAIN (RFC 4616) and LOGIN: the password itself."""

from typing import ClassVar

from posthouse.protocol.sasl.mechanism import (
    Challenge,
    Credentials,
    Said,
    SaslError,
    Surroundings,
    authzid_field,
    name_field,
    password_field,
)


class PlainServer:
    """RFC 4616: message = [authzid] UTF8NUL authcid UTF8NUL passwd"""

    name: ClassVar = "PLAIN"

    def __init__(self, around: Surroundings) -> None:
        pass

    def step(self, response: bytes | None) -> Said:
        if response is None:
            return Challenge(b"")
        fields = response.split(b"\0")
        if len(fields) != 3:
            raise SaslError("invalid input")
        authzid, authcid, password = fields
        return Credentials(name_field(authcid), password_field(password), authzid_field(authzid))


class LoginServer:
    """The LOGIN mechanism, which has no RFC: two questions, as every client expects them. An initial response is the
    name."""

    name: ClassVar = "LOGIN"

    def __init__(self, around: Surroundings) -> None:  # noqa: ARG002 - the signature of all mechanisms
        self._username: str | None = None

    def step(self, response: bytes | None) -> Said:
        if response is None:
            return Challenge(b"Username:")
        if self._username is None:
            self._username = name_field(response)
            return Challenge(b"Password:")
        return Credentials(self._username, password_field(response))


class PlainClient:
    name: ClassVar = "PLAIN"
    may_succeed = True

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
    may_succeed = True

    def __init__(self, authcid: str, password: str) -> None:
        self._answers = [authcid.encode("utf-8", "surrogateescape"), password.encode("utf-8", "surrogateescape")]

    def initial(self) -> bytes | None:
        return None

    def step(self, challenge: bytes) -> bytes:  # noqa: ARG002 - the signature of all mechanisms
        # Servers word the questions differently, so only their order counts.
        if not self._answers:
            raise SaslError("LOGIN has two challenges")
        return self._answers.pop(0)
