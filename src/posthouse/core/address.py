"""Mail addresses as values (RFC 5321 s4.1.2, RFC 6531 for non-ASCII).

Text becomes an `Address` at the edge and text again at the edge. The local part is kept unquoted; `str()` quotes it
again where the grammar asks for it. Look-ups use `key`, which folds case the way every mail system does in practice
(RFC 5321 s2.4 allows case-sensitive local parts; nobody's users expect them).
"""

import re
from typing import Final, Self

import msgspec

# RFC 5322 s3.2.3 atext, plus UTF-8 non-ASCII (RFC 6531 s3.3).
_DOT_STRING: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\U0010ffff]+(?:\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\U0010ffff]+)*\Z"
)

_ORDINARY: Final = re.compile(r"(?!-)[A-Za-z0-9#$&'*+\-/=?^_`{|}~]+(?:\.[A-Za-z0-9#$&'*+\-/=?^_`{|}~]+)*\Z")


class Address(msgspec.Struct, frozen=True, array_like=True):
    """One mailbox: `local_part` (unquoted) and `domain` ("" for a bare local name, "[192.0.2.1]" for a literal)."""

    local_part: str
    domain: str = ""

    @classmethod
    def split(cls, text: str) -> Self:
        """From "local@domain" that is already in internal (unquoted) form; the last @ separates."""
        local_part, at, domain = text.rpartition("@")
        return cls(local_part, domain) if at else cls(text, "")

    @property
    def key(self) -> str:
        """The form for look-ups: lower case, unquoted."""
        return f"{self.local_part}@{self.domain}".lower() if self.domain else self.local_part.lower()

    @property
    def is_ordinary(self) -> bool:
        """A local part that asks for nothing: no routing (@, !, %), no quotes, no option, ASCII."""
        return _ORDINARY.match(self.local_part) is not None

    @property
    def is_ascii(self) -> bool:
        return self.local_part.isascii() and self.domain.isascii()

    def quoted_local_part(self) -> str:
        if _DOT_STRING.match(self.local_part):
            return self.local_part
        # RFC 5321 s4.1.2 Quoted-string
        return '"' + self.local_part.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def with_domain(self, domain: str) -> Self:
        return type(self)(self.local_part, domain)

    def __str__(self) -> str:
        return f"{self.quoted_local_part()}@{self.domain}" if self.domain else self.quoted_local_part()
