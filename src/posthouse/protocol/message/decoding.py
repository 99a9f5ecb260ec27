"""Octets to text, for those who look into messages (SEARCH): encoded words, transfer encodings, character sets.

Never fails: what cannot be decoded is read as well as possible, because a search must not stop at a broken message.
"""

import binascii
import codecs
import re
from typing import Final

_ENCODED_WORD: Final = re.compile(rb"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?\r\n]*)\?=")
_BETWEEN_WORDS: Final = re.compile(rb"(\?=)\s+(?==\?[^?\s]{1,80}\?[bBqQ]\?)")
_HEX: Final = re.compile(rb"=([0-9A-Fa-f]{2})")

# RFC 2978 names that Python does not know or reads too narrowly: mail that says gb2312 contains GBK.
_ALIASES: Final = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "iso-8859-8-i": "iso-8859-8",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "unknown-8bit": "utf-8",
}
# Codecs of Python that are no character sets of mail; some take quadratic time.
_NO_CHARSETS: Final = frozenset(
    {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
)
_MAX_CHARSET: Final = 40


def decode_text(octets: bytes, charset: str) -> str:
    """In the named character set; UTF-8 and then Latin-1 where that is impossible."""
    name = charset.strip().lower()[:_MAX_CHARSET]
    name = _ALIASES.get(name, name) or "utf-8"
    try:
        info = codecs.lookup(name)
        if info.name.replace("-", "_") not in _NO_CHARSETS and getattr(info, "_is_text_encoding", True):
            text = octets.decode(name, "replace")
            if "\ufffd" not in text or name != "utf-8":
                return text
    except (LookupError, ValueError):
        pass
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _decode_word(match: re.Match[bytes]) -> bytes:
    charset, encoding, encoded = match.groups()
    if encoding in b"bB":
        octets = decode_base64(encoded)
    else:
        octets = _HEX.sub(lambda found: bytes([int(found[1], 16)]), encoded.replace(b"_", b" "))
    return decode_text(octets, charset.decode("ascii", "replace")).encode("utf-8", "replace")


def decode_header(value: bytes) -> str:
    """A field's value (unfolded) with its encoded words in clear (RFC 2047 s6.2); raw UTF-8 is taken as it is."""
    if b"=?" in value:
        value = _ENCODED_WORD.sub(_decode_word, _BETWEEN_WORDS.sub(rb"\1", value))
    return decode_text(value, "utf-8")


def decode_base64(octets: bytes) -> bytes:
    """As much as can be read."""
    try:
        return binascii.a2b_base64(octets)
    except binascii.Error:
        pass
    usable = re.sub(rb"[^A-Za-z0-9+/]", b"", octets)
    usable = usable[: len(usable) - len(usable) % 4] if len(usable) % 4 == 1 else usable + b"=" * (-len(usable) % 4)
    try:
        return binascii.a2b_base64(usable)
    except binascii.Error:
        return b""


def decode_transfer(octets: bytes, encoding: bytes) -> bytes:
    """RFC 2045 s6."""
    match encoding.strip().lower():
        case b"base64":
            return decode_base64(octets)
        case b"quoted-printable":
            return binascii.a2b_qp(octets)
        case _:
            return octets
