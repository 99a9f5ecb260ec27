import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.delivery.alias_text import AliasItem, ItemKind, parse_alias_text


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("root", [("address", "root")]),
        ("a, b@example.org,c", [("address", "a"), ("address", "b@example.org"), ("address", "c")]),
        ("/var/mail/archive, |/usr/bin/vacation joe", [("file", "/var/mail/archive"), ("command", "/usr/bin/vacation joe")]),
        ('"|/usr/bin/filter -x \\"a, b\\" $1", joe', [("command", '/usr/bin/filter -x "a, b" $1'), ("address", "joe")]),
        ('"/home/with space/box"', [("file", "/home/with space/box")]),
        (":include:/etc/list", [("include", "/etc/list")]),
        ("joe (the boss, really), ann", [("address", "joe"), ("address", "ann")]),
        ("Joe Doe <joe@example.org>", [("address", "joe@example.org")]),
        ("\\joe", [("address", "joe")]),
        ("", []),
        (" , ,", []),
        ("a\nb", [("address", "a"), ("address", "b")]),
    ],
)
def test_right_hand_sides(text: str, items: list[tuple[str, str]]) -> None:
    assert parse_alias_text(text) == [AliasItem(ItemKind(kind), value) for kind, value in items]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=100))
def test_no_text_breaks_the_parser(text: str) -> None:
    assert all(item.text for item in parse_alias_text(text))
