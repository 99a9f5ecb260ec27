"""SASL exchanges as SMTP carries them: base64 lines (RFC 4954 s4, RFC 4648 s4)."""

import binascii
from typing import Final

from posthouse.core.reply import Reply

CANCEL: Final = b"*"


class BadBase64(ValueError):
    pass


def decode_response(line: bytes) -> bytes | None:
    """One response line; None for "*", which cancels."""
    if line == CANCEL:
        return None
    return decode(line)


def decode_initial(word: str) -> bytes:
    """RFC 4954 s4: "=" is an empty initial response."""
    return b"" if word == "=" else decode(word.encode("utf-8", "surrogateescape"))


def decode(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True) if text else b""
    except binascii.Error as error:
        raise BadBase64(str(error)) from None


def challenge_reply(challenge: bytes) -> Reply:
    """RFC 4954 s4: 334 and the challenge, which may be empty."""
    return Reply.of(334, "", binascii.b2a_base64(challenge, newline=False).decode())
