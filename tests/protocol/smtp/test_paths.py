"""Addresses of strangers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.address import Address
from posthouse.protocol.smtp.paths import BadPath, parse_path

GOOD = {
    "<user@example.org>": Address("user", "example.org"),
    "<USER+tag@Example.ORG>": Address("USER+tag", "Example.ORG"),
    '<"john doe"@example.org>': Address("john doe", "example.org"),
    r'<"a\"b\\c"@example.org>': Address('a"b\\c', "example.org"),
    '<"a@b"@example.org>': Address("a@b", "example.org"),
    '<""@example.org>': Address("", "example.org"),
    "<user@[192.0.2.1]>": Address("user", "[192.0.2.1]"),
    "<user@[IPv6:2001:db8::1]>": Address("user", "[IPv6:2001:db8::1]"),
    "<@one.example,@two.example:user@example.org>": Address("user", "example.org"),
    "<postmaster>": Address("postmaster"),
    "<user>": Address("user"),
    "<a..b@example.org>": Address("a..b", "example.org"),
    "<a.@example.org>": Address("a.", "example.org"),
    "<user@example.org.>": Address("user", "example.org"),
    "<user@x_y.example>": Address("user", "x_y.example"),
    "<user%other.example@example.org>": Address("user%other.example", "example.org"),
    "<host!user@example.org>": Address("host!user", "example.org"),
    "<grüße@bücher.example>": Address("grüße", "bücher.example"),
    "user@example.org": Address("user", "example.org"),
}
BAD = [
    "", "<", ">", "<@>", "<user@>", "<@example.org>", "<user@example.org", "<user@@example.org>", "<us er@example.org>",
    "<user@exam ple.org>", "<user@-example.org>", "<user@example-.org>", "<user@.example.org>", "<user@exa..mple.org>",
    '<"user@example.org>', '<"us"er@example.org>', "<user@[192.0.2.1>", "<user@[]>", "<user\x00@example.org>",
    "<user@example.org\x7f>", '<"a\rb"@example.org>', "<a\x85b@example.org>", "<user@" + "a" * 250 + ".example>",
    "<@one.example:@two.example:user@example.org>", "<user@[1.2.3.4]x>",
    "<user@[1.2.3.444]>", "<user@[IPv6:x]>", "<user@[2001:db8::1]>",
    "<\ud800@example.org>",
]  # fmt: skip
STRICT_REFUSES = ["user@example.org", "<user>", "<a..b@example.org>", "<a.@example.org>", "<user@example.org.>"]


@pytest.mark.parametrize("text", GOOD)
def test_good_paths_are_parsed(text: str) -> None:
    assert parse_path(text) == (GOOD[text], "")


@pytest.mark.parametrize("text", BAD)
def test_bad_paths_are_refused(text: str) -> None:
    try:
        address, rest = parse_path(text)
    except BadPath:
        return
    # What is left over is refused by whoever called.
    assert rest
    assert rest[0] not in " \t", (address, rest)


@pytest.mark.parametrize("text", STRICT_REFUSES)
def test_strict_paths_follow_the_grammar(text: str) -> None:
    try:
        _, rest = parse_path(text, strict=True)
    except BadPath:
        return
    assert rest


def test_the_null_path_is_no_address() -> None:
    assert parse_path("<> SIZE=1") == (None, " SIZE=1")


def test_what_stands_behind_the_path_is_given_back() -> None:
    assert parse_path("<a@example.org> SIZE=1 BODY=7BIT") == (Address("a", "example.org"), " SIZE=1 BODY=7BIT")


_ATEXT = st.text("abcXYZ019!#$%&'*+-/=?^_`{|}~äß驿", min_size=1, max_size=20)
_LOCAL = st.one_of(_ATEXT, st.text(" !#$%&'()*+,-./:;<=>?@[]abc\"\\ü", max_size=20))
_DOMAIN = st.lists(st.text("abc019xyzé", min_size=1, max_size=10), min_size=1, max_size=4).map(".".join)


@given(_LOCAL, _DOMAIN)
@settings(max_examples=300, deadline=None)
def test_an_address_written_out_reads_back_as_itself(local_part: str, domain: str) -> None:
    address = Address(local_part, domain)
    assert parse_path(f"<{address}>") == (address, "")


@given(st.text(max_size=80), st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_the_parser(text: str, strict: bool) -> None:
    for candidate in (text, f"<{text}>", f'<"{text}"@x.example>', f"<@{text}:a@b.example>"):
        try:
            address, _ = parse_path(candidate, strict=strict)
        except BadPath:
            continue
        if address is not None:
            assert address.local_part.isprintable() or not address.local_part.isascii()
            assert not any(ord(one) < 32 for one in address.local_part + address.domain)
