"""Notifications octet for octet, and as a foreign parser sees them."""

import email
import email.policy
from dataclasses import replace
from typing import Final

import pytest

from posthouse.core.address import Address
from posthouse.protocol.dsn import Kind, Notification, ReportedRecipient, build, header_of, wants

ORIGINAL: Final = b"Subject: hello\r\nFrom: joe@example.org\r\n\r\nbody\r\n"
BOUNCE: Final = Notification(
    kind=Kind.FAILED,
    host="mx.example.test",
    origin="example.test",
    mail_name="Posthouse",
    queue_id="4bXyZ1",
    notice_id="4bXyZ2",
    sender=Address("joe", "example.org"),
    to=Address("joe", "example.org"),
    is_postmaster_copy=False,
    envid="ENV-1",
    arrival_date="Mon, 23 Nov 2026 12:00:00 +0000 (UTC)",
    date="Mon, 23 Nov 2026 12:00:05 +0000 (UTC)",
    message_id="<4bXyZ2@mx.example.test>",
    boundary="4bXyZ2.1795435205/mx.example.test",
    recipients=(
        ReportedRecipient(
            Address("nobody", "remote.test"),
            "list@example.test",
            "failed",
            "5.1.1",
            "host mx.remote.test[192.0.2.1] said: 550 5.1.1 <nobody@remote.test>: Recipient address rejected",
            "mx.remote.test",
            "550 5.1.1 <nobody@remote.test>: Recipient address rejected",
        ),
    ),
    original=ORIGINAL,
    is_full=True,
)

GOLDEN: Final = """\
Received: by mx.example.test (Posthouse)
\tid 4bXyZ2; Mon, 23 Nov 2026 12:00:05 +0000 (UTC)
Date: Mon, 23 Nov 2026 12:00:05 +0000 (UTC)
From: MAILER-DAEMON@example.test (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: joe@example.org
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4bXyZ2.1795435205/mx.example.test"
Message-ID: <4bXyZ2@mx.example.test>

This is a MIME-encapsulated message.

--4bXyZ2.1795435205/mx.example.test
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host mx.example.test.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

If you need help, write to postmaster and include this
report; the attached message itself may be left out.

                   The mail system

<nobody@remote.test> (expanded from <list@example.test>): host
    mx.remote.test[192.0.2.1] said: 550 5.1.1 <nobody@remote.test>:
    Recipient address rejected

--4bXyZ2.1795435205/mx.example.test
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.test
Original-Envelope-Id: ENV-1
X-Posthouse-Queue-ID: 4bXyZ1
X-Posthouse-Sender: rfc822; joe@example.org
Arrival-Date: Mon, 23 Nov 2026 12:00:00 +0000 (UTC)

Final-Recipient: rfc822; nobody@remote.test
Original-Recipient: rfc822;list@example.test
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.remote.test
Diagnostic-Code: smtp; 550 5.1.1 <nobody@remote.test>: Recipient address
    rejected

--4bXyZ2.1795435205/mx.example.test
Content-Description: Undelivered Message
Content-Type: message/rfc822

Return-Path: <joe@example.org>
Subject: hello
From: joe@example.org

body

--4bXyZ2.1795435205/mx.example.test--
"""


def test_a_bounce_looks_like_this() -> None:
    assert build(BOUNCE).decode() == GOLDEN.replace("\n", "\r\n")


def test_a_foreign_parser_finds_status_and_original() -> None:
    parsed = email.message_from_bytes(build(BOUNCE), policy=email.policy.default)
    assert parsed.get_content_type() == "multipart/report"
    text, status, original = parsed.get_payload()  # type: ignore[misc]
    assert text.get_content_type() == "text/plain"
    about, recipient = status.get_payload()
    assert about["Reporting-MTA"] == "dns; mx.example.test"
    assert recipient["Final-Recipient"] == "rfc822; nobody@remote.test"
    assert recipient["Action"] == "failed"
    assert recipient["Status"] == "5.1.1"
    assert original.get_payload(0)["Subject"] == "hello"


def test_only_the_header_goes_back_as_text_rfc822_headers() -> None:
    notice = replace(BOUNCE, original=header_of(ORIGINAL), is_full=False)
    parsed = email.message_from_bytes(build(notice), policy=email.policy.default)
    part = parsed.get_payload()[2]  # type: ignore[index]
    assert part.get_content_type() == "text/rfc822-headers"  # type: ignore[union-attr]
    assert "body" not in part.get_content()  # type: ignore[union-attr]


def test_a_delay_warning_says_until_when() -> None:
    until = "Sat, 28 Nov 2026 12:00:00 +0000 (UTC)"
    text = build(replace(BOUNCE, kind=Kind.DELAYED, retry_until=until)).decode()
    assert "Subject: Delayed Mail (still being retried)" in text
    assert f"tried again until {until}" in text
    assert f"Will-Retry-Until: {until}" in text


def test_a_success_report_and_a_postmaster_copy_have_their_subjects() -> None:
    assert b"Subject: Successful Mail Delivery Report" in build(replace(BOUNCE, kind=Kind.SUCCESS))
    assert b"Subject: Postmaster Copy: Undelivered Mail" in build(replace(BOUNCE, is_postmaster_copy=True))


def test_the_boundary_is_not_in_the_original() -> None:
    hostile = ORIGINAL + f"--{BOUNCE.boundary}\r\n--{BOUNCE.boundary}.1\r\n".encode()
    parsed = email.message_from_bytes(build(replace(BOUNCE, original=hostile)), policy=email.policy.default)
    assert len(parsed.get_payload()) == 3
    assert parsed.get_boundary() == f"{BOUNCE.boundary}.2"


def test_8_bit_originals_are_announced_and_pass_unchanged() -> None:
    original = "Subject: 邮件\r\n\r\n正文\r\n".encode("gb18030")
    built = build(replace(BOUNCE, original=original))
    assert original in built
    assert b"Content-Transfer-Encoding: 8bit" in built


def test_utf8_addresses_use_the_international_forms_only_for_smtputf8() -> None:
    recipient = replace(BOUNCE.recipients[0], address=Address("用户", "例子.test"))
    built = build(replace(BOUNCE, recipients=(recipient,), smtputf8=True)).decode()
    assert "Content-Type: message/global-delivery-status" in built  # RFC 6533 s4.1
    assert "Final-Recipient: utf-8; 用户@例子.test" in built
    assert "Content-Type: message/global\r\n" in built
    plain = build(replace(BOUNCE, recipients=(recipient,))).decode()
    assert "message/global" not in plain
    assert "Final-Recipient: rfc822; \\u7528" in plain


def test_remote_words_cannot_forge_lines() -> None:
    recipient = replace(
        BOUNCE.recipients[0], reason="a\r\nSubject: forged\r\n\r\n--x", remote_reply="550 b\nAction: delivered\x00"
    )
    lines = build(replace(BOUNCE, recipients=(recipient,))).decode().split("\r\n")
    assert not any(line.startswith(("Subject: forged", "Action: delivered", "--x")) for line in lines)


@pytest.mark.parametrize(
    ("notify", "failed", "delayed", "success"),
    [
        ((), True, True, False),
        (("NEVER",), False, False, False),
        (("FAILURE",), True, False, False),
        (("SUCCESS", "DELAY"), False, True, True),
    ],
)
def test_who_wants_what(notify: tuple[str, ...], failed: bool, delayed: bool, success: bool) -> None:
    assert wants(notify, Kind.FAILED) is failed
    assert wants(notify, Kind.DELAYED) is delayed
    assert wants(notify, Kind.SUCCESS) is success
