"""Answers that travel through a third process: the tables process tells smtpd about a recipient, and the queue gets the
same answer together with the message instead of asking again.

The queue would not take smtpd's word for where mail goes. So the answer is sealed with a key that the queue made and
told only the tables process: who carries it can neither read anything new in it nor change it, only leave it out.
"""

import hashlib
import hmac
import os
from typing import Final

import msgspec

from posthouse.core.address import Address
from posthouse.runtime.schema import Expansion, Record, Resolution

KEY_OCTETS: Final = 32
_MARK_OCTETS: Final = 16


class SealedAnswer(Record, frozen=True):
    """What the queue would ask about `recipient`: its expansion, and the routes of what comes out of it, in order.
    `at_s` is CLOCK_MONOTONIC, which is the machine's."""

    at_s: float
    recipient: Address
    expansion: Expansion | None
    """None: there are no virtual aliases at all."""
    routes: tuple[Resolution, ...]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(SealedAnswer)


def new_key() -> bytes:
    return os.urandom(KEY_OCTETS)


def seal(key: bytes, answer: SealedAnswer) -> bytes:
    body = _encoder.encode(answer)
    return _mark(key, body) + body


def unseal(key: bytes, sealed: bytes) -> SealedAnswer | None:
    """None: not sealed with this key, or changed since."""
    body = sealed[_MARK_OCTETS:]
    if not hmac.compare_digest(sealed[:_MARK_OCTETS], _mark(key, body)):
        return None
    return _decoder.decode(body)


def _mark(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=_MARK_OCTETS).digest()
