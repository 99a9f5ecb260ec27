"""Any message on its way in: what is added, what is dropped, and what stays.

What holds: the body stays as it is; one Received: in front; afterwards From:, Date: and Message-Id: are there; lines
stay clean; what is prepared once needs nothing a second time.
"""

from typing import Final

import posthouse.config.parameters  # noqa: F401 - fills the registry
from fuzz.target import Target
from posthouse.config.parameter import MAIN, Settings
from posthouse.core.address import Address
from posthouse.core.identifiers import QueueId
from posthouse.core.reply import PermFail
from posthouse.intake import Prepared, Rules, check_octets, prepare
from posthouse.intake.received import received_from_client
from posthouse.protocol.message.header import fields, header_end
from posthouse.protocol.smtp.line_ends import crlf, is_clean

RULES: Final = Rules.of(
    Settings(MAIN, {"header_size_limit": "600", "header_section_size_limit": "3000"}, {"myhostname": "mx.example"})
)
_RECEIVED: Final = b"Received: by mx.example; now\r\n"


def prepared(content: bytes, name: str) -> Prepared:
    return prepare(
        RULES, content, received=_RECEIVED, queue_id=QueueId("4ABC"), at_s=0.0, sender=Address("s", "example.org"),
        sender_name=name, add_missing=True,
    )  # fmt: skip


def check(data: bytes) -> None:
    words, _, octets = data.partition(b"\xff")
    text = words.decode("utf-8", "surrogateescape")[:100]
    content = crlf(octets)
    assert is_clean(content)
    try:
        check_octets(RULES, content)
        made = prepared(content, text).content
    except PermFail:
        return
    assert is_clean(made)
    assert made.startswith(_RECEIVED)
    end = header_end(content)
    assert made.endswith(content[end:])
    names = [name for name, _ in fields(made)]
    prefix = b"resent-" if any(name.startswith(b"resent-") for name in names) else b""
    for wanted in (b"from", b"date", b"message-id"):
        assert prefix + wanted in names
    # What was added counts against the limits the second time.
    if header_end(made) < 2500 and names.count(b"received") < 40:
        assert prepared(made, text).content == _RECEIVED + made
    received = received_from_client(
        RULES, helo="".join(one for one in text if one.isprintable()), client_name="unknown", client_address="::1",
        protocol="ESMTPS", queue_id=QueueId("4ABC"), at_s=0.0, authenticated=text,
    )  # fmt: skip
    assert is_clean(received)
    assert [name for name, _ in fields(received)] == [b"received"]


TARGET = Target(
    check,
    seeds=(
        b"Full Name\xffFrom: a@b\r\nDate: d\r\nMessage-ID: <1@b>\r\n\r\nbody\r\n",
        b"\"q\" (c)\xffSubject: x\r\n folded\r\nBcc: secret\r\nReturn-Path: <x>\r\nContent-Length: 5\r\n\r\n",
        b"\xff>From x\nReceived: a\nReceived: b\nResent-From: c\nno field\n\nx",
        b"\xffbody without header\r\n",
        b"\xff" + b"X: " + b"y" * 590 + b"\r\n\r\n",
    ),
    words=(
        b"From: x\r\n", b"From ", b">From ", b"Date: x\r\n", b"Message-Id:", b"Resent-Date: x\r\n",
        b"Received: x\r\n", b"Bcc: x\r\n", b"Return-Path: x\r\n", b" ", b"\t", b"\r\n", b"\n", b"\r", b":", b" :",
        b"\xff", b"\0", b"\xc3\xa4", b"\r\n\r\n", b"\r\n \r\n", b"\"", b"\\", b"(", b"\x7f", b"\xc2\x85",
    ),
    separator=b"\r\n",
)  # fmt: skip
