"""XOAUTH2 (Google's) and OAUTHBEARER (RFC 7628): a token that somebody else gave out."""

import re
from typing import ClassVar, Final

from posthouse.protocol.sasl.mechanism import Challenge, Said, SaslError, Surroundings, Token, Wrong, name_field

MAXIMAL_TOKEN: Final = 16_384
"""Octets: tokens with claims in them are long."""
# RFC 6750 s2.1: b64token
_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)")


class _TokenServer:
    """A refusal is told as a challenge; the client's answer to it means nothing."""

    refusal: ClassVar[bytes]

    def __init__(self, around: Surroundings) -> None:  # noqa: ARG002 - the signature of all mechanisms
        self._was_heard = False

    def step(self, response: bytes | None) -> Said:
        if self._was_heard:
            return Wrong()
        if response is None:
            return Challenge(b"")
        if len(response) > MAXIMAL_TOKEN:
            raise SaslError("the token is too long")
        self._was_heard = True
        return self._parsed(response)

    def _parsed(self, response: bytes) -> Said:
        raise NotImplementedError

    @staticmethod
    def _token(fields: list[bytes], user: str) -> Said:
        for field in fields:
            if field.startswith(b"auth="):
                match = _BEARER.fullmatch(field[5:])
                if match is None:
                    raise SaslError("no bearer token")
                return Token(user, match[1].decode("ascii"))
        raise SaslError("no token")


class Xoauth2Server(_TokenServer):
    """ "user=" name ^A "auth=Bearer " token ^A ^A"""

    name: ClassVar = "XOAUTH2"
    refusal: ClassVar = b'{"status":"401","schemes":"bearer","scope":"mail"}'

    def _parsed(self, response: bytes) -> Said:
        fields = response.split(b"\1")
        if not fields[0].startswith(b"user=") or fields[-2:] != [b"", b""]:
            raise SaslError("invalid input")
        return self._token(fields[1:], name_field(fields[0][5:]))


class OauthBearerServer(_TokenServer):
    """RFC 7628 s3.1: gs2-header kvsep *kvpair kvsep"""

    name: ClassVar = "OAUTHBEARER"
    refusal: ClassVar = b'{"status":"invalid_token","scope":"mail"}'

    def _parsed(self, response: bytes) -> Said:
        header, *fields = response.split(b"\1")
        match = re.fullmatch(rb"[ny],(?:a=([^,]*))?,", header)
        if match is None or fields[-2:] != [b"", b""]:
            raise SaslError("invalid input")
        name = (match[1] or b"").replace(b"=2C", b",").replace(b"=3D", b"=")
        return self._token(fields, name_field(name) if name else "")
