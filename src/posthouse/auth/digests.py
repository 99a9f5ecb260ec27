"""The digests of password schemes that are neither crypt(3) nor Argon2: raw, salted, keyed, derived, one-time.

Each `verify_*` takes the decoded value of a stored password; `NotAHash` means that it cannot be one of its scheme.
Sources: Dovecot's password schemes as `doveadm pw` writes them, RFC 2831 s3.3 (DIGEST-MD5), RFC 2104 and RFC 2195
(CRAM-MD5), RFC 5802 and RFC 7677 (SCRAM), RFC 2289 (OTP), RFC 8018 (PBKDF2).
"""

import base64
import binascii
import hashlib
import hmac
import math
import re
import secrets
import struct
from typing import Final

from posthouse.protocol.sasl.mechanism import ScramKeys
from posthouse.protocol.sasl.scram import scram_keys

SCRAM_ROUNDS: Final = 4096
"""RFC 7677 s4: the least; a client computes them too."""
PBKDF2_ROUNDS: Final = 5000
MAXIMAL_ROUNDS: Final = 10_000_000
"""A stored hash that asks for more is a mistake or an attack on us; it would hold a thread for seconds."""
OTP_SEQUENCE: Final = 1024
MAXIMAL_OTP_SEQUENCE: Final = 10_000


class NotAHash(ValueError):
    """The text says what is wrong, and holds nothing of the hash."""


def same(left: bytes, right: bytes) -> bool:
    return hmac.compare_digest(left, right)


# ── raw and salted ──


def digest(name: str, octets: bytes) -> bytes:
    if name == "md4":  # OpenSSL has it only in a provider that nobody loads
        # A megabyte of modules for one scheme that hardly anybody has.
        from passlib.crypto.digest import lookup_hash

        return bytes(lookup_hash("md4").const(octets).digest())
    return hashlib.new(name, octets, usedforsecurity=False).digest()


def verify_salted(name: str, value: bytes, password: bytes) -> bool:
    size = hashlib.new(name, usedforsecurity=False).digest_size
    if len(value) <= size:
        raise NotAHash("too short for a salted digest")
    return same(digest(name, password + value[size:]), value[:size])


def make_salted(name: str, password: bytes) -> bytes:
    salt = secrets.token_bytes(4)
    return digest(name, password + salt) + salt


def verify_truncated(value: bytes, password: bytes) -> bool:
    """PLAIN-TRUNC: "length-password"; a database that cut the password off has only its beginning."""
    match = re.match(rb"([0-9]{1,6})-", value)
    if match is None:
        raise NotAHash("no length in front")
    rest, length = value[match.end() :], int(match[1])
    if len(rest) == length and len(password) >= length:
        return same(rest, password[:length])
    return same(rest, password)


def digest_md5(user: str, password: bytes) -> bytes:
    """RFC 2831 s2.1.2.1: H(username:realm:password); the realm is the domain of the name."""
    name, _, realm = user.partition("@")
    return digest("md5", name.encode() + b":" + realm.encode() + b":" + password)


# ── HMAC-MD5 without the password ──

_SHIFTS: Final = (7, 12, 17, 22) * 4 + (5, 9, 14, 20) * 4 + (4, 11, 16, 23) * 4 + (6, 10, 15, 21) * 4
_SINES: Final = tuple(int(abs(math.sin(step + 1)) * 2**32) for step in range(64))
_MD5_START: Final = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_WORD: Final = 0xFFFFFFFF


def _md5_block(state: tuple[int, int, int, int], block: bytes) -> tuple[int, int, int, int]:
    """RFC 1321 s3.4: one block of 64 octets. hashlib does not give its state away."""
    words = struct.unpack("<16I", block)
    a, b, c, d = state
    for step in range(64):
        if step < 16:
            mixed, word = (b & c) | (~b & d), step
        elif step < 32:
            mixed, word = (d & b) | (~d & c), (5 * step + 1) % 16
        elif step < 48:
            mixed, word = b ^ c ^ d, (3 * step + 5) % 16
        else:
            mixed, word = c ^ (b | (~d & _WORD)), 7 * step % 16
        turned = (a + mixed + _SINES[step] + words[word]) & _WORD
        shift = _SHIFTS[step]
        a, d, c, b = d, c, b, (b + (turned << shift | turned >> (32 - shift))) & _WORD
    return tuple((old + new) & _WORD for old, new in zip(state, (a, b, c, d), strict=True))  # type: ignore[return-value]


def _md5_from(state: bytes, message: bytes) -> bytes:
    """The digest of a first block that led to `state`, and `message` behind it."""
    size = 64 + len(message)
    padded = message + b"\x80" + bytes(-(size + 9) % 64) + struct.pack("<Q", size * 8)
    words: tuple[int, int, int, int] = struct.unpack("<4I", state)
    for at in range(0, len(padded), 64):
        words = _md5_block(words, padded[at : at + 64])
    return struct.pack("<4I", *words)


def hmac_md5_context(password: bytes) -> bytes:
    """What CRAM-MD5 can work with instead of the password: MD5's state behind the outer and the inner key."""
    key = (digest("md5", password) if len(password) > 64 else password).ljust(64, b"\0")
    outer = _md5_block(_MD5_START, bytes(octet ^ 0x5C for octet in key))
    inner = _md5_block(_MD5_START, bytes(octet ^ 0x36 for octet in key))
    return struct.pack("<8I", *outer, *inner)


def hmac_md5(context: bytes, message: bytes) -> bytes:
    """RFC 2104 from such a context."""
    return _md5_from(context[:16], _md5_from(context[16:], message))


# ── SCRAM ──


def parse_scram(name: str, value: bytes) -> ScramKeys:
    try:
        rounds, salt, stored, server = value.split(b",")
        keys = ScramKeys(
            int(rounds),
            base64.b64decode(salt, validate=True),
            base64.b64decode(stored, validate=True),
            base64.b64decode(server, validate=True),
        )
    except (ValueError, binascii.Error) as error:
        raise NotAHash("not of the form rounds,salt,key,key") from error
    size = hashlib.new(name).digest_size
    if not 0 < keys.rounds <= MAXIMAL_ROUNDS or len(keys.stored) != size or len(keys.server) != size:
        raise NotAHash("rounds or keys are out of range")
    return keys


def verify_scram(name: str, value: bytes, password: bytes) -> bool:
    keys = parse_scram(name, value)
    made = scram_keys(name, password, keys.salt, keys.rounds)
    return same(made.stored, keys.stored) and same(made.server, keys.server)


def make_scram(name: str, password: bytes, rounds: int = SCRAM_ROUNDS) -> bytes:
    keys = scram_keys(name, password, secrets.token_bytes(16), rounds)
    return b",".join((b"%d" % keys.rounds, *(base64.b64encode(part) for part in (keys.salt, keys.stored, keys.server))))


# ── PBKDF2 ──

_PBKDF2: Final = re.compile(rb"\$1\$([^$]{0,100})\$([0-9]{1,9})\$([0-9A-Fa-f]{40})")


def verify_pbkdf2(value: bytes, password: bytes) -> bool:
    match = _PBKDF2.fullmatch(value)
    if match is None or not 0 < int(match[2]) <= MAXIMAL_ROUNDS:
        raise NotAHash("not of the form $1$salt$rounds$hash")
    made = hashlib.pbkdf2_hmac("sha1", password, match[1], int(match[2]))
    return same(made.hex().encode(), match[3].lower())


def make_pbkdf2(password: bytes, rounds: int = PBKDF2_ROUNDS) -> bytes:
    salt = base64.b64encode(secrets.token_bytes(12), b"./")
    return b"$1$%s$%d$%s" % (salt, rounds, hashlib.pbkdf2_hmac("sha1", password, salt, rounds).hex().encode())


# ── one-time passwords ──

_OTP: Final = re.compile(rb"(md4|md5|sha1) ([0-9]{1,5}) ([A-Za-z0-9]{1,16}) ([0-9A-Fa-f]{16})")


def _fold(name: str, octets: bytes) -> bytes:
    """RFC 2289 appendix A: 64 bits of any digest; SHA-1's words are turned round."""
    full = digest(name, octets)
    words = struct.unpack(f"<{len(full) // 4}I", full)
    if name == "sha1":
        words = struct.unpack(">5I", full)
        return struct.pack("<2I", words[0] ^ words[2] ^ words[4], words[1] ^ words[3])
    return struct.pack("<2I", words[0] ^ words[2], words[1] ^ words[3])


def otp(name: str, sequence: int, seed: bytes, password: bytes) -> bytes:
    value = _fold(name, seed.lower() + password)
    for _ in range(sequence):
        value = _fold(name, value)
    return value


def verify_otp(value: bytes, password: bytes) -> bool:
    """The password itself, not one of the words that are made of it."""
    match = _OTP.fullmatch(value)
    if match is None or int(match[2]) > MAXIMAL_OTP_SEQUENCE:
        raise NotAHash("not of the form algorithm sequence seed hash")
    made = otp(match[1].decode(), int(match[2]), match[3], password)
    return same(made.hex().encode(), match[4].lower())


def make_otp(password: bytes) -> bytes:
    seed = secrets.token_hex(8).encode()
    return b"sha1 %d %s %s" % (OTP_SEQUENCE, seed, otp("sha1", OTP_SEQUENCE, seed, password).hex().encode())
