"""The text format of maps and aliases."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthouse.tables.source import logical_lines, parse_aliases, parse_map, split_key, unquote

KEEP: list[str] = []


def quiet(_: str) -> None:
    """Warnings are counted elsewhere."""


def test_a_line_that_begins_with_white_space_continues_the_one_before() -> None:
    text = "a b\n  c\n# comment inside\n\n\td\ne f\n"
    assert list(logical_lines(text)) == [(1, "a b  c\td"), (6, "e f")]


def test_a_comment_may_be_indented() -> None:
    assert list(logical_lines("a b\n   # not a continuation\nc d")) == [(1, "a b"), (3, "c d")]


def test_keys_are_folded_and_the_first_of_two_wins() -> None:
    warnings: list[str] = []
    assert parse_map("Bob@Example.COM  x\nbob@example.com y\n", "/m", warnings.append) == {"bob@example.com": "x"}
    assert warnings == ['/m, line 2: duplicate entry: "bob@example.com"']


def test_a_key_in_quotes_may_hold_white_space() -> None:
    assert split_key('"a b"@example.com target') == ('"a b"@example.com', "target")


def test_a_line_without_a_value_is_skipped_and_named() -> None:
    warnings: list[str] = []
    assert parse_map("alone\ngood one\n", "/m", warnings.append) == {"good": "one"}
    assert warnings == ["/m, line 1: expected format: key whitespace value"]


def test_an_alias_line_in_a_map_is_named() -> None:
    warnings: list[str] = []
    parse_map("root: bob\n", "/m", warnings.append)
    assert "is this an alias file?" in warnings[0]


def test_aliases_have_quoted_names_and_keep_their_right_hand_side_as_it_is() -> None:
    text = 'Root: bob,\n  "|/usr/bin/prog a:b"\n"two words": c\n:include: x\nx@y: z\n'
    warnings: list[str] = []
    entries = parse_aliases(text, "/a", warnings.append)
    assert entries == {"root": 'bob,  "|/usr/bin/prog a:b"', "two words": "c"}
    assert len(warnings) == 2


def test_unquoting_takes_quotes_and_backslashes_away() -> None:
    assert unquote(r'"a\"b" c') == 'a"b c'


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from('ab:"\\ \t\n\r#@,\x00é')))
@example('"')
@example('"\\')
def test_no_text_breaks_the_parsers(text: str) -> None:
    for entries in (parse_map(text, "/x", quiet), parse_aliases(text, "/x", quiet)):
        assert all(key and value and key == key.lower() for key, value in entries.items())


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text("abc.@", min_size=1), st.text("xyz, @", min_size=1).filter(lambda s: s.strip() != "")))
def test_what_is_written_is_read(entries: dict[str, str]) -> None:
    text = "".join(f"{key} {value.strip()}\n" for key, value in entries.items())
    assert parse_map(text, "/x", quiet) == {key: value.strip() for key, value in entries.items()}
