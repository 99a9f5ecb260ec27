"""Lists that mix names, networks, files and tables."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.tables.literal import split_list
from posthouse.tables.matching import MatchList, Style
from posthouse.tables.table import TableError
from tests.tables.conftest import Shelf


def match(shelf: Shelf, text: str, style: Style, subject: str) -> bool:
    tables = shelf.tables()
    return asyncio.run(MatchList("p", split_list(text), style, tables.open).matches(subject))


@pytest.mark.parametrize(
    ("text", "style", "subject", "expected"),
    [
        ("example.com, Example.NET", Style.TEXT, "EXAMPLE.com", True),
        ("example.com", Style.TEXT, "sub.example.com", False),
        ("example.com", Style.PARENT, "sub.example.com", True),
        ("example.com", Style.PARENT, "notexample.com", False),
        ("example.com", Style.DOT, "sub.example.com", False),
        (".example.com", Style.DOT, "sub.example.com", True),
        (".example.com", Style.DOT, "example.com", False),
        ("!bad.example.com .example.com", Style.DOT, "bad.example.com", False),
        ("inline:{example.com=x}", Style.PARENT, "a.b.example.com", True),
        ("inline:{.example.com=x}", Style.DOT, "a.b.example.com", True),
        ("inline:{example.com=x}", Style.TEXT, "a.example.com", False),
        ("bücher.example", Style.TEXT, "xn--bcher-kva.example", True),
        ("xn--bcher-kva.example", Style.TEXT, "BÜCHER.example", True),
        ("127.0.0.0/8 [::1]/128", Style.NETWORK, "127.1.2.3", True),
        ("127.0.0.0/8 [::1]/128", Style.NETWORK, "::1", True),
        ("127.0.0.0/8", Style.NETWORK, "::ffff:127.0.0.1", True),
        ("!10.0.0.1 10.0.0.0/8", Style.NETWORK, "10.0.0.1", False),
        ("inline:{10.0.0.1=x}", Style.NETWORK, "10.0.0.1", True),
        ("cidr:{{10.0.0.0/8 x}}", Style.NETWORK, "10.9.9.9", True),
        ("10.0.0.0/8", Style.NETWORK, "unknown", False),
    ],
)
def test_entries_match_as_in_postfix(shelf: Shelf, text: str, style: Style, subject: str, expected: bool) -> None:
    assert match(shelf, text, style, subject) is expected


def test_files_hold_more_entries(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "inner").write_text("c.example\n")
    (tmp_path / "list").write_text(f"# ours\na.example b.example\n {tmp_path}/inner\n")
    for domain, expected in (("a.example", True), ("c.example", True), ("d.example", False)):
        assert match(shelf, f"{tmp_path}/list", Style.TEXT, domain) is expected
    assert match(shelf, f"!{tmp_path}/list static:x", Style.TEXT, "a.example") is False


@pytest.mark.parametrize("entry", ["/no/such/file", "10.0.0.1/8", "!", "fail:x"])
def test_what_cannot_be_read_is_a_temporary_failure_not_a_no(shelf: Shelf, entry: str) -> None:
    with pytest.raises(TableError):
        match(shelf, f"{entry} 10.0.0.9", Style.NETWORK, "10.0.0.9")


def test_what_matched_before_the_broken_entry_counts(shelf: Shelf) -> None:
    assert match(shelf, "10.0.0.9 /no/such/file", Style.NETWORK, "10.0.0.9")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("!/a1.:[]{}, \n")), st.sampled_from(Style))
def test_no_list_breaks_the_parser(text: str, style: Style) -> None:
    try:
        words = split_list(text)
    except ValueError:
        return
    listed = MatchList("p", words, style, Shelf().tables().open)
    try:
        asyncio.run(listed.matches("a.1"))
    except TableError:
        assert listed.entries
