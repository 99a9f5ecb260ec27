import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.queue.maildrop import MAGIC, BadDrop, Drop, format_drop, leave, parse_drop
from posthouse.queue.submission import normalize

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


def test_an_mbox_from_line_is_dropped_and_all_line_ends_become_crlf() -> None:
    content = normalize(b"From joe Mon Jan 1\n>From again\r\nSubject: x\r\n\na\rb\r\nc")
    assert content == b"Subject: x\r\n\r\na\r\nb\r\nc\r\n"
    assert normalize(b"") == b""


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_whatever_is_submitted_has_crlf_only(content: bytes) -> None:
    result = normalize(content)
    assert not {b"\r", b"\n"} & {bytes([octet]) for octet in result.replace(b"\r\n", b"")}
    assert result == b"" or result.endswith(b"\r\n")
