"""What every message goes through on its way in, from the network or from the maildrop (Postfix's cleanup)."""

import re
from typing import Final

from posthouse.config.parameter import BadValue, Kind, Param, boolean, declare, integer, size, text, words

_ESCAPES: Final = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, '"': 34}


def _parse_characters(value: str) -> bytes:
    octets = bytearray()
    at = 0
    while at < len(value):
        if value[at] != "\\":
            octets += value[at].encode()
            at += 1
            continue
        number = re.compile(r"\\([0-7]{1,3})").match(value, at)
        if number:
            octets.append(int(number[1], 8) & 255)
            at = number.end()
        elif value[at + 1 : at + 2] in _ESCAPES:
            octets.append(_ESCAPES[value[at + 1]])
            at += 2
        else:
            raise BadValue(f"a C-like escape such as \\0 or \\n is expected after the backslash in {value!r}")
    return bytes(octets)


characters: Final = Kind("characters with C-like escapes", _parse_characters)

ALWAYS_ADD_MISSING_HEADERS: Final = declare(
    Param(
        "always_add_missing_headers",
        boolean,
        "no",
        "Whether From:, Date: and Message-Id: are added for every client, not only in local_header_rewrite_clients.",
    )
)
LOCAL_HEADER_REWRITE_CLIENTS: Final = declare(
    Param(
        "local_header_rewrite_clients",
        words,
        "permit_inet_interfaces",
        "Whose messages are completed with missing header fields, beside locally submitted ones: "
        "permit_inet_interfaces, permit_mynetworks, permit_sasl_authenticated.",
    )
)
MESSAGE_DROP_HEADERS: Final = declare(
    Param(
        "message_drop_headers",
        words,
        "bcc, content-length, resent-bcc, return-path",
        "Header fields that are removed from every message.",
    )
)
UNDISCLOSED_RECIPIENTS_HEADER: Final = declare(
    Param(
        "undisclosed_recipients_header",
        text,
        "",
        "A header field to add, where fields are completed, to a message without To:, Cc: and Bcc:; empty adds none.",
    )
)
HOPCOUNT_LIMIT: Final = declare(
    Param(
        "hopcount_limit",
        integer,
        "50",
        "The most Received: fields a message may have; one with more is going round in circles (RFC 5321 s6.3).",
        minimum=1,
    )
)
HEADER_SIZE_LIMIT: Final = declare(
    Param(
        "header_size_limit",
        size,
        "102400",
        "The longest single header field in octets; a message with a longer one is refused, never cut short, "
        "because cutting breaks signatures.",
        minimum=1,
    )
)
HEADER_SECTION_SIZE_LIMIT: Final = declare(
    Param(
        "header_section_size_limit",
        size,
        "256k",
        "All header fields of a message together in octets; 256 KB is a hundred times an ordinary header, and it is "
        "what must be in memory at once.",
        minimum=1024,
    )
)
MESSAGE_REJECT_CHARACTERS: Final = declare(
    Param(
        "message_reject_characters",
        characters,
        r"\0",
        "Octets that no message may contain; NUL, because IMAP cannot hand it out again (RFC 9051 s4.3); empty "
        "refuses nothing.",
    )
)
MESSAGE_STRIP_CHARACTERS: Final = declare(
    Param("message_strip_characters", characters, "", "Octets that are removed from every message.")
)
