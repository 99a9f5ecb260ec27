"""SCRAM (RFC 5802, RFC 7677), with and without channel binding, server and client side.

The server's last message travels as a challenge, because IMAP, POP3 and SMTP have no place for it in a success; the
client answers it with nothing.
"""

import base64
import binascii
import enum
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import ClassVar, Final

from posthouse.protocol.sasl.mechanism import (
    MAXIMAL_FIELD,
    Challenge,
    NeedSecret,
    Proven,
    Said,
    SaslError,
    ScramKeys,
    Secret,
    Surroundings,
    Wrong,
    authzid_field,
    name_field,
)
from posthouse.protocol.sasl.saslprep import saslprep

MAXIMAL_MESSAGE: Final = 4 * MAXIMAL_FIELD
MAXIMAL_ROUNDS: Final = 1_000_000
"""That a server may ask of our client: about a second of computing."""

# RFC 5802 s7: gs2-cbind-flag "," [ authzid ] ","
_GS2: Final = re.compile(rb"(n|y|p=([A-Za-z0-9.-]{1,60})),(?:a=([^,]*))?,")
# client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]
_FIRST: Final = re.compile(rb"n=([^,]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,.*)?", re.DOTALL)
# client-final-message = channel-binding "," nonce ["," extensions] "," proof
_FINAL: Final = re.compile(rb"(c=([A-Za-z0-9+/=]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,(?!p=)[^,]*)*),p=([A-Za-z0-9+/=]+)")
_SERVER_FIRST: Final = re.compile(
    rb"r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=([1-9][0-9]{0,8})(?:,.*)?", re.DOTALL
)


def scram_keys(hash_name: str, password: bytes, salt: bytes, rounds: int) -> ScramKeys:
    salted = hashlib.pbkdf2_hmac(hash_name, password, salt, rounds)
    client = hmac.digest(salted, b"Client Key", hash_name)
    return ScramKeys(
        rounds, salt, hashlib.new(hash_name, client).digest(), hmac.digest(salted, b"Server Key", hash_name)
    )


def _base64(octets: bytes) -> bytes:
    try:
        return base64.b64decode(octets, validate=True)
    except (ValueError, binascii.Error) as error:
        raise SaslError("not base64") from error


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(left ^ right for left, right in zip(one, other, strict=True))


def _decoded_name(octets: bytes) -> bytes:
    """RFC 5802 s5.1: "," and "=" of a name are =2C and =3D, and no other "=" may be there."""
    if re.search(rb"=(?!2C|3D)", octets):
        raise SaslError("a name with a bare =")
    return octets.replace(b"=2C", b",").replace(b"=3D", b"=")


class _State(enum.Enum):
    FIRST = enum.auto()
    SECRET = enum.auto()
    FINAL = enum.auto()
    DONE = enum.auto()
    OVER = enum.auto()


class ScramServer:
    name: ClassVar = "SCRAM"

    def __init__(self, around: Surroundings, hash_name: str, kind: str, *, is_plus: bool) -> None:
        self._around = around
        self._hash = hash_name
        self._kind = kind
        self._is_plus = is_plus
        self._state = _State.FIRST
        self._keys = ScramKeys(0, b"", b"", b"")
        self._gs2 = self._binding = self._first = self._server_first = self._nonce = b""

    def step(self, response: bytes | None) -> Said:
        if self._state is _State.FIRST:
            return Challenge(b"") if response is None else self._client_first(response)
        if response is None or len(response) > MAXIMAL_MESSAGE:
            raise SaslError("no message, or one that is too long")
        if self._state is _State.FINAL:
            return self._client_final(response)
        if self._state is _State.DONE and not response:
            self._state = _State.OVER
            return Proven()
        raise SaslError("a message out of turn")

    def _client_first(self, message: bytes) -> Said:
        if len(message) > MAXIMAL_MESSAGE:
            raise SaslError("the message is too long")
        header = _GS2.match(message)
        if header is None:
            raise SaslError("no GS2 header")
        self._gs2, bare = header[0], message[header.end() :]
        if bare.startswith(b"m="):
            # RFC 5802 s5.1: an extension that must be understood.
            raise SaslError("extensions are not supported")
        first = _FIRST.fullmatch(bare)
        if first is None:
            raise SaslError("no username and nonce")
        flag, binding = header[1], (header[2] or b"").decode("ascii")
        if self._is_plus != flag.startswith(b"p="):
            raise SaslError("the channel binding flag does not fit the mechanism")
        if self._is_plus and binding not in self._around.bindings:
            raise SaslError(f"channel binding {binding} is not supported here")
        if flag == b"y" and self._around.bindings:
            # RFC 5802 s6: the client can bind and believes we cannot; somebody took -PLUS out of our list.
            return Wrong("the offer of channel binding did not reach the client")
        self._binding = self._around.bindings.get(binding, b"")
        self._first = bare
        self._nonce = first[2] + self._around.nonce.encode("ascii")
        self._state = _State.SECRET
        authzid = authzid_field(_decoded_name(header[3])) if header[3] else ""
        return NeedSecret(saslprep(name_field(_decoded_name(first[1]))), authzid, self._kind)

    def secret(self, secret: Secret) -> Said:
        assert isinstance(secret, ScramKeys)
        self._keys = secret
        self._server_first = b"r=%b,s=%b,i=%d" % (self._nonce, base64.b64encode(secret.salt), secret.rounds)
        self._state = _State.FINAL
        return Challenge(self._server_first)

    def _client_final(self, message: bytes) -> Said:
        self._state = _State.OVER
        final = _FINAL.fullmatch(message)
        if final is None:
            raise SaslError("no final message of SCRAM")
        without_proof, binding, nonce, proof = final[1], _base64(final[2]), final[3], _base64(final[4])
        if not hmac.compare_digest(nonce, self._nonce):
            raise SaslError("another nonce")
        if not hmac.compare_digest(binding, self._gs2 + self._binding):
            return Wrong("the channel binding is another connection's")
        said = b",".join((self._first, self._server_first, without_proof))
        signature = hmac.digest(self._keys.stored, said, self._hash)
        if len(proof) != len(signature):
            raise SaslError("a proof of another length")
        key = hashlib.new(self._hash, _xor(proof, signature)).digest()
        if not hmac.compare_digest(key, self._keys.stored):
            return Wrong()
        self._state = _State.DONE
        return Challenge(b"v=" + base64.b64encode(hmac.digest(self._keys.server, said, self._hash)))


class ScramClient:
    """Without channel binding: mail servers that offer it offer the plain one too."""

    name: ClassVar = "SCRAM"

    def __init__(
        self, hash_name: str, authcid: str, password: str, nonce: Callable[[], str] = lambda: secrets.token_urlsafe(18)
    ) -> None:
        self._hash = hash_name
        self._password = saslprep(password).encode()
        name = saslprep(authcid).replace("=", "=3D").replace(",", "=2C")
        if "\0" in name or "\0" in password:
            raise SaslError("NUL in a name or password")
        self._nonce = nonce().encode("ascii")
        self._first = b"n=%b,r=%b" % (name.encode(), self._nonce)
        self._signature = b""
        self.may_succeed = False

    def initial(self) -> bytes | None:
        return b"n,," + self._first

    def step(self, challenge: bytes) -> bytes:
        if not challenge and not self._signature:
            return b"n,," + self._first
        if self._signature:
            return self._server_final(challenge)
        first = _SERVER_FIRST.fullmatch(challenge)
        if first is None or not first[1].startswith(self._nonce) or len(first[1]) == len(self._nonce):
            raise SaslError("no first message of a SCRAM server")
        rounds = int(first[3])
        if rounds > MAXIMAL_ROUNDS:
            raise SaslError(f"the server asks for {rounds} rounds, and {MAXIMAL_ROUNDS} are allowed")
        without_proof = b"c=biws,r=" + first[1]
        said = b",".join((self._first, challenge, without_proof))
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, _base64(first[2]), rounds)
        client = hmac.digest(salted, b"Client Key", self._hash)
        proof = _xor(client, hmac.digest(hashlib.new(self._hash, client).digest(), said, self._hash))
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", self._hash), said, self._hash)
        return without_proof + b",p=" + base64.b64encode(proof)

    def _server_final(self, challenge: bytes) -> bytes:
        if not challenge.startswith(b"v="):
            raise SaslError(f"the server says {challenge[:60]!r}")
        if not hmac.compare_digest(_base64(challenge[2:].partition(b",")[0]), self._signature):
            raise SaslError("the server does not know the password")
        self.may_succeed = True
        return b""
