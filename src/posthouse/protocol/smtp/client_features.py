"""What the server offers: the answer to EHLO or LHLO (RFC 5321 s4.1.1.1)."""

from collections.abc import Iterable
from typing import Final, Self

import msgspec

from posthouse.protocol.smtp.client_reply import ServerReply

_FLAGS: Final = {
    "PIPELINING": "pipelining",
    "8BITMIME": "eight_bit",
    "SMTPUTF8": "smtputf8",
    "DSN": "dsn",
    "STARTTLS": "starttls",
    "ENHANCEDSTATUSCODES": "enhanced_status",
}


class Features(msgspec.Struct, frozen=True):
    """`size` is the largest message the server says it takes, 0 for no limit or none said, with `has_size` whether it
    knows the parameter; `host` is what it calls itself."""

    host: str = ""
    esmtp: bool = False
    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    dsn: bool = False
    starttls: bool = False
    enhanced_status: bool = False
    has_size: bool = False
    size: int = 0
    mechanisms: tuple[str, ...] = ()

    @classmethod
    def parse(cls, reply: ServerReply, discard: Iterable[str] = ()) -> Self:
        """`discard`: keywords that are not believed, in any case ("silent-discard" among them says nothing)."""
        unwanted = {word.upper() for word in discard}
        found: dict[str, bool] = {}
        has_size, size = False, 0
        mechanisms: dict[str, None] = {}
        for line in reply.lines[1:]:
            # Old servers wrote "AUTH=LOGIN".
            words = line.replace("=", " ", 1).split() if line[:5].upper() == "AUTH=" else line.split()
            keyword = words[0].upper() if words else ""
            if not keyword or keyword in unwanted:
                continue
            if keyword in _FLAGS:
                found[_FLAGS[keyword]] = True
            elif keyword == "SIZE":
                has_size = True
                if len(words) > 1 and words[1].isascii() and words[1].isdigit():
                    size = int(words[1][:19])
            elif keyword == "AUTH":
                mechanisms.update(dict.fromkeys(word.upper() for word in words[1:]))
        words = reply.lines[0].split()
        return cls(
            host=words[0] if words else "",
            esmtp=True,
            has_size=has_size,
            size=size,
            mechanisms=tuple(mechanisms),
            **found,
        )
