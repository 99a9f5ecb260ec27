"""What a locally submitted message gets before it is a message: CRLF line ends, Received:, and the fields it must have.

RFC 6409 s8: a submission agent may add Message-ID and Date, and RFC 5322 s3.6 wants From and Date.
"""

import re
from typing import Final

from posthouse.core.address import Address
from posthouse.queue.notices import format_date

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_MBOX_FROM: Final = re.compile(rb"(?:>?From [^\r\n]*(?:\r\n|\r|\n))+")
_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:")


def complete(
    content: bytes, *, queue_id: str, uid: int, sender: Address | None, host: str, mail_name: str, now_s: float
) -> tuple[bytes, str]:
    """(the message as it enters the queue, its Message-ID). A leading mbox "From " line is dropped, as sendmail does."""
    if (match := _MBOX_FROM.match(content)) is not None:
        content = content[match.end() :]
    content = _LINE_END.sub(b"\r\n", content)
    if not content.startswith(b"\r\n") and not _FIELD.match(content):
        content = b"\r\n" + content  # a body without any header
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    end = 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n")
    header = content if end < 0 else content[: end + 2]
    names = {line.partition(b":")[0].rstrip(b" \t").lower() for line in header.split(b"\r\n") if b":" in line}
    added = [
        f"Received: by {host} ({mail_name}, from userid {uid})\r\n\tid {queue_id}; {format_date(now_s)}\r\n",
    ]
    if b"message-id" in names:
        message_id = _message_id(header)
    else:
        message_id = f"<{queue_id}@{host}>"
        added.append(f"Message-Id: {message_id}\r\n")
    if b"date" not in names:
        added.append(f"Date: {format_date(now_s)}\r\n")
    if b"from" not in names:
        added.append(f"From: {sender if sender else 'MAILER-DAEMON'}\r\n")
    separator = b"\r\n" if end < 0 and not content.endswith(b"\r\n\r\n") else b""
    return "".join(added).encode("utf-8", "surrogateescape") + content + separator, message_id


def _message_id(header: bytes) -> str:
    match = re.search(rb"(?mi)^message-id[ \t]*:[ \t]*((?:[^\r\n]|\r\n[ \t])*)", header)
    return b" ".join(match[1].split()).decode("utf-8", "replace") if match else ""
