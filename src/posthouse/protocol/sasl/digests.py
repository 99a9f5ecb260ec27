"""CRAM-MD5 (RFC 2195) and DIGEST-MD5 (RFC 2831): old, for clients that know nothing better."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import ClassVar, Final

from posthouse.protocol.sasl.mechanism import (
    Challenge,
    NeedSecret,
    Proven,
    Said,
    SaslError,
    Secret,
    Surroundings,
    Wrong,
    authzid_field,
    name_field,
)

MAXIMAL_RESPONSE: Final = 4096
"""RFC 2831 s2.1.2: a response of DIGEST-MD5 is shorter."""


class CramMd5Server:
    """Its secret is the digest that the right password makes of the challenge."""

    name: ClassVar = "CRAM-MD5"

    def __init__(self, around: Surroundings) -> None:
        # RFC 2195 s2: like a Message-ID.
        self._challenge = f"<{around.nonce}@{around.hostname}>".encode("ascii", "replace")
        self._digest = b""

    def step(self, response: bytes | None) -> Said:
        if response is None:
            return Challenge(self._challenge)
        if self._digest:
            raise SaslError("a message out of turn")
        user, space, digest = response.rpartition(b" ")
        if not space or re.fullmatch(rb"[0-9a-fA-F]{32}", digest) is None:
            raise SaslError("no username and digest")
        self._digest = digest.lower()
        return NeedSecret(name_field(user), "", "CRAM-MD5", self._challenge)

    def secret(self, secret: Secret) -> Said:
        assert isinstance(secret, bytes)
        return Proven() if hmac.compare_digest(secret.hex().encode(), self._digest) else Wrong()


class CramMd5Client:
    name: ClassVar = "CRAM-MD5"
    may_succeed = True

    def __init__(self, authcid: str, password: str) -> None:
        self._authcid = authcid.encode("utf-8", "surrogateescape")
        self._password = password.encode("utf-8", "surrogateescape")

    def initial(self) -> bytes | None:
        return None

    def step(self, challenge: bytes) -> bytes:
        if not challenge:
            raise SaslError("no challenge")
        return b"%b %b" % (self._authcid, hmac.digest(self._password, challenge, "md5").hex().encode())


# RFC 2831 s7.1: name = token | quoted string, between commas and white space
_DIRECTIVE: Final = re.compile(
    rb"""[\s,]*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*(?:,|\Z)""", re.DOTALL
)


def parse_directives(text: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    at = 0
    while at < len(text) and text[at:].strip(b" \t\r\n,"):
        match = _DIRECTIVE.match(text, at)
        if match is None:
            raise SaslError("not a list of name=value")
        name = match[1].decode("ascii").lower()
        if name in found:
            raise SaslError(f"{name} twice")
        found[name] = re.sub(rb"\\(.)", rb"\1", match[2], flags=re.DOTALL) if match[2] is not None else match[3]
        at = match.end()
    return found


def _md5(octets: bytes) -> bytes:
    return hashlib.md5(octets, usedforsecurity=False).digest()


class DigestMd5Server:
    """qop=auth only: mail has TLS for the rest. Its secret is H(username:realm:password)."""

    name: ClassVar = "DIGEST-MD5"

    def __init__(self, around: Surroundings) -> None:
        self._nonce = around.nonce.encode("ascii")
        self._realms = around.realms or ("",)
        self._fields: Mapping[str, bytes] = {}
        self._is_proven = False

    def step(self, response: bytes | None) -> Said:
        if self._is_proven:
            if response:
                raise SaslError("a message out of turn")
            return Proven()
        if response is None:
            realms = ",".join(f'realm="{realm}"' for realm in self._realms)
            return Challenge(
                f'{realms},nonce="{self._nonce.decode()}",qop="auth",charset=utf-8,algorithm=md5-sess'.encode()
            )
        if self._fields:
            raise SaslError("a message out of turn")
        if len(response) > MAXIMAL_RESPONSE:
            raise SaslError("the response is too long")
        self._fields = fields = parse_directives(response)
        for name in ("username", "nonce", "cnonce", "nc", "digest-uri", "response"):
            if not fields.get(name):
                raise SaslError(f"no {name}")
        if not hmac.compare_digest(fields["nonce"], self._nonce):
            raise SaslError("another nonce")
        if fields["nc"] != b"00000001" or fields.get("qop", b"auth") != b"auth":
            raise SaslError("nc or qop are not ours")
        username, realm = fields["username"], fields.get("realm", b"")
        text, domain = self._text(username), self._text(realm)
        user = f"{text}@{domain}" if domain and "@" not in text else text
        authzid = authzid_field(fields.get("authzid", b""))
        return NeedSecret(user, authzid, "DIGEST-MD5", b"%b:%b:" % (username, realm))

    def _text(self, octets: bytes) -> str:
        if not octets:
            return ""
        # RFC 2831 s2.1.2: without charset=utf-8 it is ISO 8859-1.
        return name_field(octets if "charset" in self._fields else octets.decode("latin-1").encode())

    def secret(self, secret: Secret) -> Said:
        assert isinstance(secret, bytes)
        fields = self._fields
        start = b":".join((secret, fields["nonce"], fields["cnonce"]))
        if authzid := fields.get("authzid"):
            start += b":" + authzid

        def answer(method: bytes) -> bytes:
            parts = (
                _md5(start).hex().encode(),
                fields["nonce"],
                fields["nc"],
                fields["cnonce"],
                b"auth",
                _md5(method + b":" + fields["digest-uri"]).hex().encode(),
            )
            return _md5(b":".join(parts)).hex().encode()

        if not hmac.compare_digest(answer(b"AUTHENTICATE"), fields["response"]):
            return Wrong()
        self._is_proven = True
        return Challenge(b"rspauth=" + answer(b""))
