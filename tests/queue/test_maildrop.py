import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.address import Address
from posthouse.queue.maildrop import MAGIC, BadDrop, Drop, format_drop, leave, parse_drop
from posthouse.queue.submission import Submitted, complete

FACTS = Submitted("QID", 1000, Address("joe", "example.test"), "", "mx.example.test", "Posthouse", 0.0)

_words = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", exclude_categories=("Cc", "Cs")), max_size=40)


@settings(max_examples=300, deadline=None)
@given(
    sender=_words,
    recipients=st.lists(_words.filter(bool), min_size=1, max_size=5),
    content=st.binary(max_size=200),
    ret=st.sampled_from(("", "FULL", "HDRS")),
    notify=st.sampled_from(((), ("NEVER",), ("SUCCESS", "DELAY"))),
)
def test_what_sendmail_writes_is_what_pickup_reads(
    sender: str, recipients: list[str], content: bytes, ret: str, notify: tuple[str, ...]
) -> None:
    drop = Drop(sender, recipients, notify, ret, "", False, content)
    assert parse_drop(format_drop(drop)) == drop


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_no_file_breaks_the_parser(octets: bytes) -> None:
    for data in (octets, MAGIC + octets, MAGIC + b"from a\nto b\n" + octets, MAGIC + b"from a\nto b\n\n" + octets):
        try:
            drop = parse_drop(data, recipient_limit=3)
        except BadDrop:
            continue
        assert 1 <= len(drop.recipients) <= 3
        assert all(character.isprintable() or ord(character) > 126 for character in drop.sender)


@pytest.mark.parametrize("address", ["a\nto victim@x", "a\rb", "a\x00b"])
def test_an_address_cannot_add_lines_to_the_envelope(address: str) -> None:
    with pytest.raises(BadDrop):
        format_drop(Drop(address, ["b"]))
    with pytest.raises(BadDrop):
        format_drop(Drop("a", [address]))


def test_a_left_file_is_complete_readable_for_the_group_and_never_seen_half_written(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        name = leave(str(tmp_path), format_drop(Drop("a", ["b"], content=b"hello")))
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert not name.startswith(".")
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


def test_missing_fields_are_added_and_present_ones_are_kept() -> None:
    content, message_id = complete(b"To: x\n\nhi\n", FACTS)
    header = content.partition(b"\r\n\r\n")[0].decode()
    assert header.startswith("Received: by mx.example.test (Posthouse, from userid 1000)\r\n\tid QID; ")
    assert message_id == "<QID@mx.example.test>"
    assert f"Message-Id: {message_id}" in header
    assert "From: joe@example.test" in header
    assert "\r\nDate: " in header
    assert content.endswith(b"\r\n\r\nhi\r\n")
    content, message_id = complete(
        b"Message-ID:\n <own@id>\nDate: then\nFROM: me\nBcc: secret,\n more\nTo: x\n\nBcc: body\n", FACTS
    )
    assert message_id == "<own@id>"
    assert content.count(b"Date:") == 1
    assert b"secret" not in content
    assert b"more" not in content
    assert content.endswith(b"\r\n\r\nBcc: body\r\n")


def test_a_body_without_a_header_gets_one() -> None:
    for raw, body in ((b"just text\nmore\n", b"just text\r\nmore\r\n"), (b"\nbody\n", b"body\r\n"), (b"", b"")):
        content, _ = complete(raw, FACTS)
        assert content.partition(b"\r\n\r\n")[2] == body
        assert content.startswith(b"Received:")


def test_an_mbox_from_line_is_dropped_and_all_line_ends_become_crlf() -> None:
    content, _ = complete(b"From joe Mon Jan 1\nSubject: x\r\n\na\rb\r\nc\n", FACTS)
    assert b"From joe" not in content
    assert content.endswith(b"Subject: x\r\nMessage-Id: ".partition(b"\r\n")[0] + b"\r\n\r\na\r\nb\r\nc\r\n")
    assert b"\r\r" not in content


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_whatever_is_submitted_becomes_a_message_with_crlf_only(content: bytes) -> None:
    result, _ = complete(content, FACTS)
    assert result.replace(b"\r\n", b"").count(b"\r") == 0
    assert result.replace(b"\r\n", b"").count(b"\n") == 0
    assert b"\r\n\r\n" in result
