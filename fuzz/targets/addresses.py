"""Addresses in all the places where somebody writes them: SMTP paths, header fields, tables, aliases and .forward.

What holds: an address that was read and is written again is read again as the same; parsers of lists never fail, or
say why with their own exception; what they give has no line ends in it.
"""

from fuzz.target import Target
from posthouse.core import aliases
from posthouse.core.address import Address
from posthouse.delivery.forward import is_loop
from posthouse.protocol.message.address import MAX_ADDRESSES, parse_addresses
from posthouse.protocol.smtp.client_transaction import original_recipient, xtext
from posthouse.protocol.smtp.parameters import decode_xtext, parse_rcpt_parameters
from posthouse.protocol.smtp.paths import BadPath, parse_path
from posthouse.protocol.smtp.replies import BAD_SYNTAX
from posthouse.routing import parsing


def check(data: bytes) -> None:
    found = parse_addresses(data)
    assert len(found) <= MAX_ADDRESSES + 1
    assert sum(len(part) for address in found for part in address if part) <= 2 * len(data) + 40 * len(found) + 40
    text = data.decode("utf-8", "surrogateescape")
    for strict in (True, False):
        _check_path(text, strict)
    for address in parsing.parse_addresses(text):
        # What came out of a list is one address of a list.
        assert parsing.parse_addresses(str(address)) in ([address], []) or _is_odd(address)
    try:
        targets = aliases.parse(text)
    except aliases.BadAlias:
        targets = ()
    for target in targets:
        assert target.text
        assert "\0" not in target.text
        if target.kind in (aliases.Kind.FILE, aliases.Kind.INCLUDE):
            assert target.text.startswith("/")
    is_loop(b"Delivered-To: " + data, "a@b")


def _check_path(text: str, strict: bool) -> None:
    try:
        address, rest = parse_path(text, strict=strict)
    except BadPath:
        return
    assert text.endswith(rest)
    if address is None:
        assert text.startswith("<>")
        return
    assert address.local_part or address.domain
    assert not any(ord(one) < 32 or ord(one) == 127 for one in str(address))
    assert parse_path(f"<{address}>") == (address, "")
    assert parsing.parse_address(str(address)) == address
    assert Address.split(f"{address.local_part}@{address.domain}") == address or not address.domain
    assert address.key == Address(address.local_part.lower(), address.domain.lower()).key
    written = original_recipient(str(address))
    if len(written) <= 500 and str(address).isprintable():
        parameters = parse_rcpt_parameters(f"ORCPT={written}", frozenset({"ORCPT"}), BAD_SYNTAX)
        assert parameters.original == str(address)
    if str(address).isascii():
        assert decode_xtext(xtext(str(address))) == str(address)


def _is_odd(address: Address) -> bool:
    """Tables may hold what is no address (a domain with brackets, commas in quotes that were lost)."""
    return any(one in address.domain for one in '"\\(),<>@ \t') or address.domain != address.domain.strip()


TARGET = Target(
    check,
    seeds=(
        b"<@a,@b:user+ext@example.org> NOTIFY=NEVER",
        b'"quoted \\" local"@[IPv6:2001:db8::1]',
        b"user@example.org, \"John Doe\" <j@example.org>, \\root, |/bin/cat, \"|/bin/sh -c 'x y'\", /var/mail/x, :include:/etc/list",
        b"# comment\n(a (nested) comment) x@y\n<z@w>\n",
        b"group: a@b, c@d;, =?x?q?y?= <e@f>, undisclosed:;",
        b"<\xc3\xa4\xc3\xb6@\xc3\xbc.example>",
        b"<Postmaster>", b"a.@b-c.example.", b"..@x",
    ),
    words=(
        b"<", b">", b"@", b"\"", b"\\", b",", b";", b":", b"(", b")", b"[", b"]", b"[IPv6:::1]", b"[127.0.0.1]",
        b".", b"..", b"|", b"/", b":include:", b"#", b" ", b"\t", b"\n", b"\r", b"\0", b"\xc3\xa4", b"\xe2\x80\xa8",
        b"\xc2\x85", b"\xff", b"postmaster", b"xn--", b"+", b"=", b"%", b"!",
    ),
    separator=b",",
    max_octets=20_000,
)  # fmt: skip
