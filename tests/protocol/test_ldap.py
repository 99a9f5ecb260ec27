"""Filters, names and messages of LDAP."""

import pytest

from posthouse.protocol import ldap

MESSAGE = bytes.fromhex("300c02010161070a010004000400")


def encoded(text: str, **values: str) -> bytes:
    def fill(template: str) -> str:
        for name, value in values.items():
            template = template.replace(f"%{name}", value)
        return template

    return ldap.parse_filter(text).encoded(fill)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("(uid=bob)", b"\xa3\x0a\x04\x03uid\x04\x03bob"),
        ("uid=bob", b"\xa3\x0a\x04\x03uid\x04\x03bob"),
        ("(uid=*)", b"\x87\x03uid"),
        ("(n>=1)", b"\xa5\x06\x04\x01n\x04\x011"),
        ("(n<=1)", b"\xa6\x06\x04\x01n\x04\x011"),
        ("(n~=1)", b"\xa8\x06\x04\x01n\x04\x011"),
        ("(!(a=b))", b"\xa2\x08\xa3\x06\x04\x01a\x04\x01b"),
        ("(& (a=b) (|(c=d)) )", b"\xa0\x12\xa3\x06\x04\x01a\x04\x01b\xa1\x08\xa3\x06\x04\x01c\x04\x01d"),
        ("(a=x*y*z)", b"\xa4\x0e\x04\x01a\x30\x09\x80\x01x\x81\x01y\x82\x01z"),
        ("(a=*y*)", b"\xa4\x08\x04\x01a\x30\x03\x81\x01y"),
        ("(a=\\2a\\28)", b"\xa3\x07\x04\x01a\x04\x02*("),
        ("(a=\\c3\\a4)", b"\xa3\x07\x04\x01a\x04\x02\xc3\xa4"),
        ("(cn:dn:2.4.6:=x)", b"\xa9\x11\x81\x052.4.6\x82\x02cn\x83\x01x\x84\x01\xff"),
        ("(cn:caseExactMatch:=x)", b"\xa9\x17\x81\x0ecaseExactMatch\x82\x02cn\x83\x01x"),
        ("(:dn:2.4.6:=x)", b"\xa9\x0d\x81\x052.4.6\x83\x01x\x84\x01\xff"),
    ],
)
def test_filters_become_what_the_rfc_says(text: str, octets: bytes) -> None:
    assert encoded(text) == octets


@pytest.mark.parametrize("value", ["*", ")(uid=*", "\\", "\\2a", "\0", "a" * 300, "%u", "(", "&", "ä"])
def test_a_value_stays_a_value(value: str) -> None:
    octets = value.encode()
    head = b"\x04" + (bytes((len(octets),)) if len(octets) < 128 else b"\x82" + len(octets).to_bytes(2, "big"))
    assert encoded("(&(a=b)(uid=%u))", u=value).endswith(b"\x04\x03uid" + head + octets)


@pytest.mark.parametrize(
    "text",
    ["", "(", "()", "(a)", "(a=b", "(a=b))", "(&)", "(!(a=b)(c=d))", "(a=b)(c=d)", "(=x)", "(a=\\)", "(a=\\zz)",
     "(a=(b)", "(a b=c)", "(a=**)", "(a:=x", "(:=x)", "(a:b:c:=x)", "(a:b=x)", "(" * 99,
     "(!" * 100 + "(a=b)" + ")" * 100],
)  # fmt: skip
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(ldap.BadFilter):
        ldap.parse_filter(text)


def test_names_are_escaped() -> None:
    assert ldap.escaped_in_dn('a,b+c="d";<e>\\#\0 f') == "a\\2cb\\2bc\\3d\\22d\\22\\3b\\3ce\\3e\\5c\\23\\00\\20f"
    assert ldap.escaped_in_dn("bob.müller-1_2") == "bob.müller-1_2"


def test_answers_one_octet_at_a_time() -> None:
    answers = ldap.Answers()
    for octet in MESSAGE[:-1]:
        answers.feed(bytes((octet,)))
        assert answers.next() is None
    answers.feed(MESSAGE[-1:])
    assert answers.next() == ldap.Result(1, 0, "")
    assert answers.is_empty


def test_a_message_that_is_too_large_is_refused_before_it_came() -> None:
    answers = ldap.Answers(limit_octets=1000)
    answers.feed(b"\x30\x82\x10\x00")
    with pytest.raises(ldap.BadMessage):
        answers.next()


def test_addresses() -> None:
    found = ldap.parse_addresses(["ldaps://a.example", "ldapi://%2frun%2fldapi", "ldap://b:1389"], ["c", "d:390"])
    assert [str(one) for one in found] == [
        "ldaps://a.example:636", "ldapi:///run/ldapi", "ldap://b:1389", "ldap://c:389", "ldap://d:390",
    ]  # fmt: skip
    for bad in (["http://a"], ["ldapi://relative"], ["ldap://a/dc=x"], ["ldap://a:x"]):
        with pytest.raises(ValueError, match=r"expected|Port"):
            ldap.parse_addresses(bad, [])
