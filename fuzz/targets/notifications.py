"""Delivery status notifications and log lines, with anything a peer, a sender or a client may have said.

What holds: the result is a clean message of three parts that say what they are, whatever the words contain; each field
is a field; a log line is one line.
"""

from typing import Final

from fuzz.target import Target
from posthouse.core.address import Address
from posthouse.protocol.dsn import Kind, Notification, ReportedRecipient, build, header_of, one_line
from posthouse.protocol.message.header import fields, header_end
from posthouse.protocol.message.scanner import scan
from posthouse.protocol.smtp.line_ends import crlf, is_clean

_KINDS: Final = tuple(Kind)


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    choice = data[0]
    words = [piece.decode("utf-8", "surrogateescape") for piece in data[1:].split(b"\xff", 8)]
    local, domain, original, reason, remote, reply, envid, identifier = (words + [""] * 8)[:8]
    content = crlf(data[1:].split(b"\xff", 8)[8]) if len(words) > 8 else b"Subject: x\r\n\r\n"
    assert "\n" not in one_line(reason)
    full = bool(choice & 4)
    address = Address(local, domain or "example.org")
    recipient = ReportedRecipient(address, original, "failed", "5.1.1", reason, remote, reply)
    notice = Notification(
        _KINDS[choice % len(_KINDS)], "mx.example", "example", "Posthouse", "4ABC", "4DEF", address, Address("s", "example.net"),
        bool(choice & 8), envid, "Mon, 1 Jan 2024 00:00:00 +0000", "Mon, 1 Jan 2024 00:00:00 +0000", "<1@mx.example>",
        "4DEF.1/mx.example", (recipient, recipient), content if full else header_of(content), full,
        bool(choice & 16), "Tue, 2 Jan 2024 00:00:00 +0000", identifier,
    )  # fmt: skip
    made = build(notice)
    assert is_clean(made)
    root = scan(made)
    assert root.is_multipart
    assert len(root.children) == 3
    text, status, returned = root.children
    assert (text.main_type, text.sub_type) == (b"text", b"plain")
    assert status.main_type == b"message"
    assert status.sub_type in (b"delivery-status", b"global-delivery-status")
    assert returned.main_type in (b"message", b"text")
    groups = made[status.body_start : status.body_end].split(b"\r\n\r\n")
    assert len(groups) == 3
    for group in groups:
        for line in group.removesuffix(b"\r\n").split(b"\r\n"):
            assert line[:1] in (b" ", b"\t") or b": " in line, line
    assert [name for name, _ in fields(groups[1])].count(b"final-recipient") == 1
    names = [name for name, _ in fields(made[: header_end(made)])]
    assert names.count(b"subject") == names.count(b"from") == names.count(b"to") == 1
    inside = made[returned.body_start : returned.body_end]
    assert notice.original.rstrip(b"\r\n") in inside or len(root.children) != 3


TARGET = Target(
    check,
    seeds=(
        b"\4a\xffexample.org\xfforig@x\xffhost said: 550 no\xffmx.example\xff550 5.1.1 no such user\xffenv\xff<id@x>\xffSubject: y\r\n\r\n--4DEF.1/mx.example\r\n",
        b"\x11\xc3\xa4 \"b\"\xff\xc3\xb6.example\xff\xff" + b"long " * 300 + b"\xff\xff\xff\xff\xff",
        b"\2x\xff\xffa\r\nb: c\xff\r\n\r\nX: y\xff\xff250-a\r\n250 b\xff\xff",
    ),
    words=(
        b"\xff", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\0", b"\xc3\xa4", b"\xe2\x80\xa8", b"\xc2\x85",
        b"--4DEF.1/mx.example", b".1", b": ", b" ", b"\t", b"<", b">", b"\xed\xa0\x80", b"\x1b",
    ),
    separator=b"\xff",
    max_octets=6000,
)  # fmt: skip
