"""Changes to configuration files."""

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.config import editing, maincf
from posthouse.config.configuration import Problem

TEXT = "# head\na = 1\n\nb = 2,\n   3\n# about c\nc = 4\na = 5\n"


def test_a_parameter_is_set_where_it_last_stood() -> None:
    assert editing.set_main(TEXT, {"b": "x"}) == "# head\na = 1\n\nb = x\n# about c\nc = 4\na = 5\n"
    assert editing.set_main(TEXT, {"a": "x"}) == "# head\n\nb = 2,\n   3\n# about c\nc = 4\na = x\n"
    assert editing.set_main("a = 1", {"new": ""}) == "a = 1\nnew =\n"


def test_a_parameter_is_removed_or_made_a_comment_with_its_continuation() -> None:
    assert editing.remove_main(TEXT, {"b"}) == "# head\na = 1\n\n# about c\nc = 4\na = 5\n"
    assert editing.comment_out_main(TEXT, {"b"}) == "# head\na = 1\n\n#b = 2,\n#   3\n# about c\nc = 4\na = 5\n"


def test_a_value_of_two_lines_is_refused() -> None:
    with pytest.raises(editing.EditError):
        editing.set_main(TEXT, {"a": "1\nb = 2"})


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "main.cf"
    path.write_text("a = 1\n")
    path.chmod(0o640)
    editing.write(str(path), "a = 2\n")
    assert path.read_text() == "a = 2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["main.cf"]


def _values(text: str) -> dict[str, str]:
    problems: list[Problem] = []
    return {name: one.value for name, one in maincf.latest(maincf.parse(text, "", problems), problems).items()}


@given(st.text(alphabet=st.sampled_from("ab= \t\n#,"), max_size=80), st.sampled_from(["a", "b", "new"]))
@settings(max_examples=300, deadline=None)
def test_setting_a_parameter_changes_that_parameter_only(text: str, name: str) -> None:
    changed = _values(editing.set_main(text, {name: "value"}))
    assert changed == _values(text) | {name: "value"}
    removed = _values(editing.remove_main(text, {name}))
    assert removed == {key: value for key, value in _values(text).items() if key != name}


@pytest.mark.parametrize("odd", ["\x0c", "\x1c", "\x85", "\u2028", "\xa0"])
def test_only_a_line_feed_ends_a_line_and_only_ascii_space_continues_one(odd: str) -> None:
    text = f"a = x{odd}mydomain = y\n{odd}b = 2\nmydomain = z\n"
    before = {one.name: one.value for one in maincf.parse(text, "main.cf", [])}
    after = {one.name: one.value for one in maincf.parse(editing.set_main(text, {"mydomain": "new"}), "main.cf", [])}
    assert after == {**before, "mydomain": "new"}
    assert not maincf.parse(editing.comment_out_main(text, set(before)), "main.cf", [])


def test_a_name_is_found_even_if_its_equals_sign_stands_on_the_next_line() -> None:
    text = "a\n# why\n = 1\n  2\nb = 3\n"
    assert editing.set_main(text, {"a": "x"}) == "a = x\n# why\nb = 3\n"
    assert not maincf.parse(editing.comment_out_main(text, {"a", "b"}), "main.cf", [])
