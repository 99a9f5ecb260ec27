"""regexp: and pcre: tables."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posthouse.tables.pattern import parse_rules, translate_pcre, translate_posix
from tests.tables.conftest import Shelf


def answers(shelf: Shelf, tmp_path: Path, kind: str, text: str, *keys: str) -> list[str | None]:
    (tmp_path / "m").write_text(text)
    table = shelf.tables().open(f"{kind}:{tmp_path}/m")
    return [table.lookup(key) for key in keys]


@pytest.mark.parametrize("kind", ["regexp", "pcre"])
def test_case_does_not_matter_unless_the_flag_says_so(shelf: Shelf, tmp_path: Path, kind: str) -> None:
    assert answers(shelf, tmp_path, kind, "/^abc$/ x\n", "ABC", "abcd") == ["x", None]
    assert answers(shelf, tmp_path, kind, "/^abc$/i x\n", "ABC", "abc") == [None, "x"]


@pytest.mark.parametrize("kind", ["regexp", "pcre"])
def test_results_take_what_the_groups_matched(shelf: Shelf, tmp_path: Path, kind: str) -> None:
    text = "/^(.*)@(old)\\.example$/ ${1}@new$2.example $$(1)\n"
    assert answers(shelf, tmp_path, kind, text, "bob@old.example") == ["bob@newold.example $(1)"]


@pytest.mark.parametrize("kind", ["regexp", "pcre"])
def test_conditions_nest_and_negate(shelf: Shelf, tmp_path: Path, kind: str) -> None:
    text = "if /@a/\nif !/^root/\n/./ inner\nendif\n!/x/ no-x\nendif\n/./ outer\n"
    assert answers(shelf, tmp_path, kind, text, "bob@a", "root@a", "rootx@a", "bob@b") == [
        "inner",
        "no-x",
        "outer",
        "outer",
    ]


def test_other_delimiters_and_escaped_ones(shelf: Shelf, tmp_path: Path) -> None:
    assert answers(shelf, tmp_path, "pcre", "!a\\!b! x\n/a\\/b/ y\n#a#b\n", "a/b") == ["y"]
    assert answers(shelf, tmp_path, "pcre", "/^a\\/b$/ y\n", "a/b") == ["y"]


def test_posix_brackets_and_anchors(shelf: Shelf, tmp_path: Path) -> None:
    text = "/^[[:digit:]]+$/ number\n/^[]a-]+$/ odd\n/^[\\.]$/ backslash-or-dot\n/\\<word\\>/ word\n"
    assert answers(shelf, tmp_path, "regexp", text, "12", "]a-", "\\", ".", "a word b", "12\n") == [
        "number",
        "odd",
        "backslash-or-dot",
        "backslash-or-dot",
        "word",
        None,
    ]


def test_basic_expressions_when_extended_is_switched_off(shelf: Shelf, tmp_path: Path) -> None:
    assert answers(shelf, tmp_path, "regexp", "/^\\(a+\\)(b)$/x <$1>\n", "a+(b)") == ["<a+>"]


def test_what_pcre_has_and_python_writes_differently(shelf: Shelf, tmp_path: Path) -> None:
    text = "/^(?<who>[[:alpha:]]+)\\h\\Q.*\\E\\z/ $1\n/\\x{41}{3}/ A\n"
    assert answers(shelf, tmp_path, "pcre", text, "bob .*", "aaa") == ["bob", "A"]


def test_a_bad_rule_is_skipped_and_named_and_its_neighbours_live(shelf: Shelf, tmp_path: Path) -> None:
    text = "/(/ broken\n/a$/ $3\n/\\K/ no\n/\\x{41a/ endless\nno pattern\n/b/ good\n"
    assert answers(shelf, tmp_path, "pcre", text, "b") == ["good"]
    assert len(shelf.warnings) == 5


def test_a_block_whose_condition_is_broken_is_never_entered(shelf: Shelf, tmp_path: Path) -> None:
    assert answers(shelf, tmp_path, "pcre", "if /(/\n/./ inside\nendif\n/./ after\n", "x") == ["after"]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text(alphabet=st.sampled_from("/!ab[]:^$-\\(){}?+*|.x1 \tif"), max_size=30), max_size=4),
    st.sampled_from([translate_pcre, translate_posix]),
)
@example(["if /(", "/[[:x:]]/ y", "/[a", "/\\"], translate_pcre)
@example(["/[[.a.]]/ y", "/a{99999999999}/ b"], translate_posix)
def test_no_text_breaks_the_parser(lines: list[str], translate: object) -> None:
    parse_rules(list(enumerate(lines)), translate, "x", lambda _: None)  # type: ignore[arg-type]
