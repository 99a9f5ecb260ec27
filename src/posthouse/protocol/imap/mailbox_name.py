"""Mailbox names on the wire: modified UTF-7 (RFC 3501 s5.1.3) and quoting."""

import binascii
import re
from typing import Final

from posthouse.protocol.message.wire import string

_ENCODED: Final = re.compile(r"&([^-]*)-|&")
_NON_PRINTABLE: Final = re.compile(r"[^\x20-\x7e]+")
_ATOM: Final = re.compile(rb"""[^\x00-\x20\x7f-\xff()\{%*"\\\]]+\Z""")


class BadMailboxName(ValueError):
    """Not valid modified UTF-7."""


def _decode_run(match: re.Match[str]) -> str:
    run = match[1]
    if run is None:
        raise BadMailboxName
    if run == "":
        return "&"
    if "=" in run or len(run) % 4 == 1:
        raise BadMailboxName
    padded = run.replace(",", "/") + "=" * (-len(run) % 4)
    try:
        return binascii.a2b_base64(padded, strict_mode=True).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise BadMailboxName from error


def _encode_run(match: re.Match[str]) -> str:
    octets = match[0].encode("utf-16-be", "surrogatepass")
    return "&" + binascii.b2a_base64(octets, newline=False).rstrip(b"=").replace(b"/", b",").decode("ascii") + "-"


def decode_mailbox_name(octets: bytes) -> str:
    """Raises BadMailboxName for control characters and octets above 127, and for an encoding that is not the one way to
    write the name: two
    spellings of one mailbox would be two mailboxes elsewhere."""
    try:
        text = octets.decode("ascii")
    except UnicodeDecodeError as error:
        raise BadMailboxName from error
    if not text.isprintable():
        raise BadMailboxName
    if "&" not in text:
        return text
    name = _ENCODED.sub(_decode_run, text)
    if encode_mailbox_name(name) != octets:
        raise BadMailboxName
    return name


def encode_mailbox_name(name: str) -> bytes:
    """Modified UTF-7 without quoting."""
    if name.isascii() and name.isprintable():
        return name.replace("&", "&-").encode("ascii") if "&" in name else name.encode("ascii")
    return _NON_PRINTABLE.sub(_encode_run, name.replace("&", "&-")).encode("ascii")


def format_mailbox_name(name: str) -> bytes:
    """As an astring: plain where that is possible, because some clients are only tested with that."""
    encoded = encode_mailbox_name(name)
    if _ATOM.match(encoded) and encoded.upper() != b"NIL":
        return encoded
    return string(encoded)
