"""One look at a message's header: what must be there, what must go, where it ends.

Octets in, octets out; lines end with CRLF and no CR or LF stands alone. The header of a large message must be in its
first piece, the rest is never seen here. An ordinary message costs one regular expression over its header, a few
substring searches and one concatenation.
"""

import re
import time
from typing import Final

import msgspec

from posthouse.core.address import Address
from posthouse.core.identifiers import QueueId
from posthouse.core.reply import PermFail, Reply
from posthouse.intake.date import format_date
from posthouse.intake.rules import Rules

TOO_MANY_HOPS: Final = Reply.of(554, "5.4.0", "Error: too many hops")
FIELD_TOO_LONG: Final = Reply.of(552, "5.3.4", "Error: header field too long")
HEADER_TOO_LARGE: Final = Reply.of(552, "5.3.4", "Error: message header too large")
FORBIDDEN_CHARACTER: Final = Reply.of(550, "5.6.0", "Error: message contains a disallowed character")

# RFC 5322 s2.2: field-name = 1*(%d33-57 / %d59-126); s4.5 (obsolete) allows white space before the colon. Lines of
# white space only are taken for continuations, as every reader does. What may follow each part begins differently from
# the part itself, so nothing is tried twice. (Possessive groups would say so, but Python 3.11.2, which is Debian 12's,
# matches them wrongly.)
_SECTION: Final = re.compile(rb"(?:[!-9;-~]+[ \t]*:.*\n(?:[ \t].*\n)*)*")
_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:.*\n(?:[ \t].*\n)*")
_FOLD: Final = re.compile(rb"\r\n(?=[ \t])")
_MAXIMAL_LOGGED_ID: Final = 255


class Prepared(msgspec.Struct, frozen=True):
    """`content` replaces what was given; `message_id` is for the log, "" if there is none."""

    content: bytes
    message_id: str


def check_octets(rules: Rules, piece: bytes) -> bytes:
    """For every piece of a message: what may not be in it. Raises PermFail."""
    for octet in rules.forbidden_octets:
        if octet in piece:
            raise PermFail(FORBIDDEN_CHARACTER)
    return piece.translate(None, rules.stripped_octets) if rules.stripped_octets else piece


def prepare(
    rules: Rules,
    content: bytes,
    *,
    received: bytes,
    queue_id: QueueId,
    at_s: float,
    sender: Address | None,
    sender_name: str = "",
    add_missing: bool,
    is_whole: bool = True,
) -> Prepared:
    """`content` is the message, or (`is_whole` false) its first piece, at least header_section_size_limit long.

    `received` goes in front. With `add_missing` (or always_add_missing_headers) From:, Date: and Message-Id: are
    added behind the header where they are missing. Raises PermFail for loops and for headers over the limits.
    """
    if content.startswith((b"From ", b">From ")):
        # The first line of an mbox is no header field, but what follows is one: keep both.
        content = b"X-Mailbox-Line: " + content
    match = _SECTION.match(content)
    assert match is not None  # it matches nothing at all, too
    end = match.end()
    if end > rules.section_size_limit or not (is_whole or _is_decided(content, end)):
        raise PermFail(HEADER_TOO_LARGE)
    if end > rules.field_size_limit and any(
        field.end() - field.start() > rules.field_size_limit for field in _FIELD.finditer(content, 0, end)
    ):
        raise PermFail(FIELD_TOO_LONG)
    folded = b"\n" + content[:end].lower()
    # RFC 5321 s6.3: loop detection by counting.
    if folded.count(b"\nreceived:") > rules.hopcount_limit:
        raise PermFail(TOO_MANY_HOPS)
    message_id = _value(content, folded, b"message-id")
    added = b""
    if add_missing or rules.always_add_missing:
        added, message_id = _missing(rules, folded, message_id, queue_id, at_s, sender, sender_name)
    for name in rules.dropped_fields:
        if b"\n" + name in folded:
            header = _without(content[:end], rules.dropped_fields)
            break
    else:
        if not added and content[end : end + 2] == b"\r\n":
            return Prepared(received + content, message_id)
        header = content[:end]
    # RFC 5322 s2.1: an empty line separates. A first line that is no field is the body of a message without it.
    separator = b"" if end == len(content) or content[end : end + 2] == b"\r\n" else b"\r\n"
    return Prepared(b"".join((received, header, added, separator, content[end:])), message_id)


def _is_decided(content: bytes, end: int) -> bool:
    """Is what stands behind the fields certainly not one more field, cut in two?"""
    return content.find(b"\n", end) >= 0


def _find(folded: bytes, name: bytes) -> int:
    """Where the field stands in `content` (`folded` is one octet ahead), -1 if nowhere."""
    at = folded.find(b"\n" + name + b":")
    if at < 0 and b"\n" + name in folded:
        match = re.search(rb"\n" + re.escape(name) + rb"[ \t]+:", folded)
        at = match.start() if match else -1
    return at


def _value(content: bytes, folded: bytes, name: bytes) -> str:
    at = _find(folded, name)
    if at < 0:
        return ""
    field = _FIELD.match(content, at)
    assert field is not None
    value = _FOLD.sub(b"", field[0].partition(b":")[2]).strip()
    # Records and log lines are UTF-8; other octets are shown as what they are.
    return value[:_MAXIMAL_LOGGED_ID].decode("utf-8", "backslashreplace")


def _missing(
    rules: Rules,
    folded: bytes,
    message_id: str,
    queue_id: QueueId,
    at_s: float,
    sender: Address | None,
    sender_name: str,
) -> tuple[bytes, str]:
    """The fields to add (RFC 5322 s3.6: From: and Date: are required), and the Message-ID."""
    # RFC 5322 s3.6.6: a message that is sent again carries a second set; that one is completed.
    prefix = "Resent-" if b"\nresent-" in folded else ""
    lower = prefix.lower().encode()
    added = ""
    if _find(folded, lower + b"message-id") < 0:
        made = f"<{time.strftime('%Y%m%d%H%M%S', time.gmtime(at_s))}.{queue_id}@{rules.myhostname}>"
        added = f"{prefix}Message-Id: {made}\r\n"
        message_id = message_id or made
    if _find(folded, lower + b"date") < 0:
        added += f"{prefix}Date: {format_date(at_s)}\r\n"
    if _find(folded, lower + b"from") < 0:
        added += f"{prefix}From: {_mailbox(sender, sender_name)}\r\n"
    if rules.undisclosed_recipients and all(_find(folded, lower + name) < 0 for name in (b"to", b"cc", b"bcc")):
        added += f"{prefix}{rules.undisclosed_recipients}\r\n"
    return added.encode("utf-8", "surrogateescape"), message_id


def _mailbox(sender: Address | None, name: str) -> str:
    address = str(sender) if sender is not None else "MAILER-DAEMON"
    if not name.strip():
        return address
    name = " ".join("".join(one if one.isprintable() else " " for one in name).split())
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ \x80-\U0010ffff]+", name):
        name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{name} <{address}>"


def _without(header: bytes, names: tuple[bytes, ...]) -> bytes:
    return b"".join(field[0] for field in _FIELD.finditer(header) if field[1].lower() not in names)
