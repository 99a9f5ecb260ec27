"""Delivery status notifications: the message that tells a sender what became of a message.

RFC 3461 (who is told), RFC 3462 (multipart/report), RFC 3464 (message/delivery-status), RFC 6533 (the same with UTF-8
addresses). The shape and the first lines of the text are those of Postfix, because people and bounce processors
recognise them. No clock and no randomness here: date, Message-ID and boundary are arguments.
"""

import enum
import re
import textwrap
from dataclasses import dataclass
from typing import Final

from posthouse.core.address import Address

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_LINE_WIDTH: Final = 72
MAX_FIELD: Final = 900
"""Remote words longer than this are cut: RFC 5322 s2.1.1 allows 998 octets a line and nobody reads more."""


class Kind(enum.Enum):
    FAILED = "failed"
    DELAYED = "delayed"
    SUCCESS = "success"


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """`action`: RFC 3464 s2.3.3. `reason` is what the log says, `remote_reply` the peer's own words, if any."""

    address: Address
    original: str
    action: str
    status: str
    reason: str
    remote_mta: str = ""
    remote_reply: str = ""


@dataclass(frozen=True, slots=True)
class Notification:
    """`to` None means postmaster gets a copy (`sender` is then still the original sender). `original` is the header, or
    with `is_full` the whole message, CRLF line ends."""

    kind: Kind
    host: str
    origin: str
    mail_name: str
    queue_id: str
    notice_id: str
    sender: Address | None
    to: Address
    is_postmaster_copy: bool
    envid: str
    arrival_date: str
    date: str
    message_id: str
    boundary: str
    recipients: tuple[ReportedRecipient, ...]
    original: bytes
    is_full: bool
    smtputf8: bool = False
    retry_until: str = ""
    original_message_id: str = ""


_SUBJECTS: Final = {
    Kind.FAILED: "Undelivered Mail Returned to Sender",
    Kind.DELAYED: "Delayed Mail (still being retried)",
    Kind.SUCCESS: "Successful Mail Delivery Report",
}
_POSTMASTER_SUBJECTS: Final = {
    Kind.FAILED: "Postmaster Copy: Undelivered Mail",
    Kind.DELAYED: "Postmaster Warning: Delayed Mail",
    Kind.SUCCESS: "Postmaster Copy: Successful Mail Delivery Report",
}
_TEXTS: Final = {
    Kind.FAILED: (
        "I'm sorry to have to inform you that your message could not",
        "be delivered to one or more recipients. It's attached below.",
        "",
        "If you need help, write to postmaster and include this",
        "report; the attached message itself may be left out.",
    ),
    Kind.DELAYED: (
        "####################################################################",
        "# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #",
        "####################################################################",
        "",
        "Your message could not be delivered yet to the recipients below.",
        "It stays in the queue and will be tried again until {until}.",
        "",
        "If you need help, write to postmaster and include this report.",
    ),
    Kind.SUCCESS: (
        "Your message was successfully delivered to the destination(s)",
        "listed below. If the message was delivered to mailbox you will",
        "receive no further notifications. Otherwise you may still receive",
        "notifications of mail delivery errors from other systems.",
    ),
}


def one_line(text: str, limit: int = MAX_FIELD) -> str:
    """Text from outside as part of one line: control characters become spaces, endless text is cut."""
    return _UNSAFE.sub(" ", text).strip()[:limit]


def build(notice: Notification) -> bytes:
    """The whole message, CRLF line ends."""
    international = notice.smtputf8 and not all(
        address.is_ascii for address in (notice.to, *(recipient.address for recipient in notice.recipients))
    )
    boundary = _boundary(notice)
    parts = [
        _header(notice, boundary),
        f"--{boundary}\r\n",
        "Content-Description: Notification\r\n",
        f"Content-Type: text/plain; charset={'utf-8' if _has_utf8(notice) else 'us-ascii'}\r\n",
        *(("Content-Transfer-Encoding: 8bit\r\n",) if _has_utf8(notice) else ()),
        "\r\n",
        _explanation(notice),
        f"\r\n--{boundary}\r\n",
        "Content-Description: Delivery report\r\n",
        f"Content-Type: message/{'global-' if international else ''}delivery-status\r\n",
        *(("Content-Transfer-Encoding: 8bit\r\n",) if international else ()),
        "\r\n",
        _status(notice, international),
        f"\r\n--{boundary}\r\n",
        _original_header(notice, international),
    ]
    tail = b"" if notice.original.endswith(b"\r\n") else b"\r\n"
    return b"".join(
        (
            "".join(parts).encode("utf-8", "replace"),
            notice.original,
            tail,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )


def _boundary(notice: Notification) -> str:
    """RFC 2046 s5.1.1: must not occur in the parts."""
    boundary = notice.boundary
    number = 0
    while boundary.encode() in notice.original:
        number += 1
        boundary = f"{notice.boundary}.{number}"
    return boundary


def _has_utf8(notice: Notification) -> bool:
    return not all(
        recipient.address.is_ascii and recipient.reason.isascii() and recipient.original.isascii()
        for recipient in notice.recipients
    )


def _header(notice: Notification, boundary: str) -> str:
    subject = (_POSTMASTER_SUBJECTS if notice.is_postmaster_copy else _SUBJECTS)[notice.kind]
    lines = [
        f"Received: by {notice.host} ({notice.mail_name})",
        f"\tid {notice.notice_id}; {notice.date}",
        f"Date: {notice.date}",
        f"From: MAILER-DAEMON@{notice.origin} (Mail Delivery System)",
        f"Subject: {subject}",
        f"To: {one_line(str(notice.to))}",
        # RFC 3834 s2: so that no vacation program answers.
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{boundary}"',
    ]
    if _has_8bit(notice.original) or _has_utf8(notice):
        lines.append("Content-Transfer-Encoding: 8bit")
    if notice.original_message_id:
        lines.append(f"References: {one_line(notice.original_message_id, 250)}")
    lines.append(f"Message-ID: {notice.message_id}")
    lines += ["", "This is a MIME-encapsulated message.", ""]
    return "\r\n".join(lines) + "\r\n"


def _explanation(notice: Notification) -> str:
    lines = [f"This is the mail system at host {notice.host}.", ""]
    lines += [line.format(until=notice.retry_until or "it expires") for line in _TEXTS[notice.kind]]
    lines += ["", "                   The mail system", ""]
    for recipient in notice.recipients:
        expanded = ""
        if recipient.original and recipient.original != str(recipient.address):
            expanded = f" (expanded from <{one_line(recipient.original, 250)}>)"
        words = f"<{one_line(str(recipient.address), 250)}>{expanded}: {one_line(recipient.reason)}"
        lines += textwrap.wrap(
            words, _LINE_WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
        lines.append("")
    return "\r\n".join(lines)


def _status(notice: Notification, international: bool) -> str:
    """RFC 3464 s2.1: the fields about the message, then one group per recipient, separated by empty lines."""
    name = notice.mail_name.replace(" ", "-")
    lines = [f"Reporting-MTA: dns; {notice.host}"]
    if notice.envid:
        lines.append(f"Original-Envelope-Id: {one_line(notice.envid, 250)}")
    lines.append(f"X-{name}-Queue-ID: {notice.queue_id}")
    if notice.sender is not None:
        lines.append(f"X-{name}-Sender: {_typed(notice.sender, international)}")
    lines.append(f"Arrival-Date: {notice.arrival_date}")
    for recipient in notice.recipients:
        lines += ["", f"Final-Recipient: {_typed(recipient.address, international)}"]
        if recipient.original:
            lines.append(f"Original-Recipient: rfc822;{_ascii(one_line(recipient.original, 500), international)}")
        lines += [f"Action: {recipient.action}", f"Status: {recipient.status}"]
        if recipient.remote_mta:
            lines.append(f"Remote-MTA: dns; {one_line(recipient.remote_mta, 255)}")
        if recipient.remote_reply:
            lines += _folded(f"Diagnostic-Code: smtp; {_ascii(one_line(recipient.remote_reply), international)}")
        else:
            lines += _folded(f"Diagnostic-Code: X-{name}; {_ascii(one_line(recipient.reason), international)}")
        if notice.kind is Kind.DELAYED and notice.retry_until:
            lines.append(f"Will-Retry-Until: {notice.retry_until}")
    return "\r\n".join(lines) + "\r\n"


def _typed(address: Address, international: bool) -> str:
    """RFC 6533 s3: address type utf-8 only where it is needed."""
    text = one_line(str(address), 500)
    if international and not address.is_ascii:
        return f"utf-8; {text}"
    return f"rfc822; {_ascii(text, international)}"


def _ascii(text: str, international: bool) -> str:
    return text if international or text.isascii() else text.encode("ascii", "backslashreplace").decode()


def _folded(line: str) -> list[str]:
    return textwrap.wrap(line, _LINE_WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _has_8bit(content: bytes) -> bool:
    return not content.isascii()


def _original_header(notice: Notification, international: bool) -> str:
    what = "Undelivered" if notice.kind is Kind.FAILED else "Delayed" if notice.kind is Kind.DELAYED else "Message"
    if notice.is_full:
        description = "Message" if notice.kind is Kind.SUCCESS else f"{what} Message"
        kind = "message/global" if international else "message/rfc822"
    else:
        description = "Message Headers" if notice.kind is Kind.SUCCESS else f"{what} Message Headers"
        # RFC 6533 s4.2: message/global-headers; RFC 3462 s2: text/rfc822-headers
        kind = "message/global-headers" if international else "text/rfc822-headers"
    lines = [f"Content-Description: {description}", f"Content-Type: {kind}"]
    if _has_8bit(notice.original):
        lines.append("Content-Transfer-Encoding: 8bit")
    lines.append("")
    if notice.sender is not None:
        lines.append(f"Return-Path: <{one_line(str(notice.sender), 500)}>")
    return "\r\n".join(lines) + "\r\n"


def header_of(content: bytes) -> bytes:
    """The header of a message with the empty line that ends it (all of it if there is no body)."""
    if content.startswith(b"\r\n"):
        return b"\r\n"
    end = content.find(b"\r\n\r\n")
    return content if end < 0 else content[: end + 4]


def wants(notify: tuple[str, ...], kind: Kind) -> bool:
    """RFC 3461 s4.1: without NOTIFY, failures are always reported and delays may be; NEVER means never."""
    if kind is Kind.SUCCESS:
        return "SUCCESS" in notify
    if not notify:
        return True
    return ("FAILURE" if kind is Kind.FAILED else "DELAY") in notify
