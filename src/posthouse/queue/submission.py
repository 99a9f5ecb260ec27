"""What a locally submitted message gets before it is a message: CRLF line ends, Received:, and the fields it must have.

RFC 6409 s8: a submission agent may add Message-ID and Date, and RFC 5322 s3.6 wants From and Date.
"""

import re
from dataclasses import dataclass
from typing import Final

from posthouse.core.address import Address
from posthouse.queue.notices import format_date

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_MBOX_FROM: Final = re.compile(rb"(?:>?From [^\r\n]*(?:\r\n|\r|\n))+")
_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:")


_DROPPED: Final = re.compile(
    rb"(?mi)^(?:bcc|resent-bcc|return-path|content-length)[ \t]*:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*"
)
"""message_drop_headers: what must not travel with the message."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """Who handed over a message, when, and as what it goes on."""

    queue_id: str
    uid: int
    sender: Address | None
    full_name: str
    host: str
    mail_name: str
    at_s: float


def complete(content: bytes, facts: Submitted) -> tuple[bytes, str]:
    """(the message as it enters the queue, its Message-ID). A leading mbox "From " line is dropped, as sendmail does."""
    if (match := _MBOX_FROM.match(content)) is not None:
        content = content[match.end() :]
    content = _LINE_END.sub(b"\r\n", content)
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    if not _FIELD.match(content):
        header, body = b"", content.removeprefix(b"\r\n")  # a body without any header
    else:
        header, _, body = content.partition(b"\r\n\r\n")
        header = _DROPPED.sub(b"", header.removesuffix(b"\r\n") + b"\r\n")
    names = {line.partition(b":")[0].rstrip(b" \t").lower() for line in header.split(b"\r\n") if b":" in line}
    date = format_date(facts.at_s)
    added = [
        f"Received: by {facts.host} ({facts.mail_name}, from userid {facts.uid})\r\n\tid {facts.queue_id}; {date}\r\n"
    ]
    if b"message-id" in names:
        message_id = _message_id(header)
    else:
        message_id = f"<{facts.queue_id}@{facts.host}>"
        added.append(f"Message-Id: {message_id}\r\n")
    if b"date" not in names:
        added.append(f"Date: {date}\r\n")
    if b"from" not in names:
        added.append(f"From: {_from(facts)}\r\n")
    return "".join(added).encode("utf-8", "surrogateescape") + header + b"\r\n" + body, message_id


def _from(facts: Submitted) -> str:
    address = str(facts.sender) if facts.sender else "MAILER-DAEMON"
    if not facts.full_name:
        return address
    quoted = facts.full_name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{address}>'


def _message_id(header: bytes) -> str:
    match = re.search(rb"(?mi)^message-id[ \t]*:[ \t]*((?:[^\r\n]|\r\n[ \t])*)", header)
    return b" ".join(match[1].split()).decode("utf-8", "replace") if match else ""
