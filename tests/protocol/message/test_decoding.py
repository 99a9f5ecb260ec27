"""Octets to text for SEARCH."""

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.message.decoding import decode_header, decode_text, decode_transfer


def test_encoded_words_in_several_character_sets() -> None:
    assert decode_header(b"=?utf-8?B?5L2g5aW9?= =?gb2312?Q?=C4=E3?= x") == "你好你 x"
    assert decode_header("你好".encode()) == "你好"
    assert decode_header(b"=?nonsense?q?a_b?=") == "a b"


def test_gb2312_is_read_as_gb18030() -> None:
    assert decode_text("镕".encode("gb18030"), "GB2312") == "镕"


def test_codecs_that_are_no_character_sets_are_not_used() -> None:
    for name in ("idna", "punycode", "rot13", "zip", "unicode_escape", "../etc", "x" * 1000):
        assert decode_text(b"abc-", name) == "abc-"


def test_transfer_encodings() -> None:
    assert decode_transfer(b"YWJj\r\n", b"BASE64") == b"abc"
    assert decode_transfer(b"a=3Db=\r\nc", b"quoted-printable") == b"a=bc"
    assert decode_transfer(b"YW!Jj*", b"base64") == b"abc"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=100), st.text(max_size=20), st.sampled_from([b"base64", b"quoted-printable", b"x"]))
def test_nothing_fails(octets: bytes, charset: str, encoding: bytes) -> None:
    decode_text(octets, charset)
    decode_header(octets)
    decode_header(b"=?" + charset.encode() + b"?q?" + octets + b"?=")
    decode_transfer(octets, encoding)
