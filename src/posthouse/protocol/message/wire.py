"""Strings of the IMAP data formats (RFC 3501 s4.3): quoted where that is possible, literal where it is not."""

import re
from typing import Final

# What a quoted string cannot hold at all, and what clients get wrong in it.
_NEEDS_LITERAL: Final = re.compile(rb'[\x00\r\n\x80-\xff"\\]')


def string(text: bytes) -> bytes:
    """Quotes and backslashes go into a literal rather than being escaped: Dovecot learned that clients are not to be
    trusted with escapes. NUL cannot be sent (RFC 3501 s9, CHAR8) and becomes U+FFFD."""
    if _NEEDS_LITERAL.search(text) is None:
        return b'"' + text + b'"'
    if b"\0" in text:
        text = text.replace(b"\0", b"\xef\xbf\xbd")
    return b"{%d}\r\n%b" % (len(text), text)


def nstring(text: bytes | None) -> bytes:
    return b"NIL" if text is None else string(text)
