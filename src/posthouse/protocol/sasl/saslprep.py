"""SASLprep (RFC 4013): one form for names and passwords that look the same."""

import stringprep
import unicodedata
from typing import Final

from posthouse.protocol.sasl.mechanism import SaslError

_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,  # RFC 4013 s2.5: unassigned code points are none of a stored string
)


def saslprep(text: str) -> str:
    """Raises SaslError for what must not be in a name or password."""
    if text.isascii() and text.isprintable():
        return text
    # RFC 4013 s2.1, s2.2
    mapped = "".join(" " if stringprep.in_table_c12(one) else one for one in text if not stringprep.in_table_b1(one))
    prepared = unicodedata.normalize("NFKC", mapped)
    if any(table(one) for one in prepared for table in _PROHIBITED):
        raise SaslError("a character that SASLprep forbids")
    # RFC 3454 s6: text from right to left stays by itself.
    if any(map(stringprep.in_table_d1, prepared)) and (
        any(map(stringprep.in_table_d2, prepared))
        or not stringprep.in_table_d1(prepared[0])
        or not stringprep.in_table_d1(prepared[-1])
    ):
        raise SaslError("text of both directions")
    return prepared
