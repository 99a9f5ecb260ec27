"""What a locally submitted message must be before it is a message: its line ends, and who handed it over."""

import re
from dataclasses import dataclass
from typing import Final

from posthouse.core.address import Address
from posthouse.core.identifiers import QueueId

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_MBOX_FROM: Final = re.compile(rb"(?:>?From [^\r\n]*(?:\r\n|\r|\n))+")


@dataclass(frozen=True, slots=True)
class Submitted:
    """`content` as the queue keeps content: every line ends with CRLF, and no CR or LF stands alone."""

    queue_id: QueueId
    uid: int
    sender: Address | None
    full_name: str
    at_s: float
    content: bytes


def normalize(content: bytes) -> bytes:
    """Programs write the line ends of this system. A leading mbox "From " line is dropped, as sendmail does."""
    if (match := _MBOX_FROM.match(content)) is not None:
        content = content[match.end() :]
    content = _LINE_END.sub(b"\r\n", content)
    return content if content.endswith(b"\r\n") or not content else content + b"\r\n"
