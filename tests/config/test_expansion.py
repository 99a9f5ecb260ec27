"""The expression language of main.cf, beside what postconf -x of Postfix 3.7 prints."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.config.expansion import expand, level, names_in
from posthouse.config.parameter import BadValue

VALUES = {
    "a": "one",
    "b": "$a two",
    "empty": "",
    "blank": "$empty",
    "three": "3",
    "ten": "10",
    "level": "3.10",
    "compatibility": "2",
}

CASES = [
    ("$a", "one"),
    ("$(a)", "one"),
    ("${a}", "one"),
    ("x${a}y", "xoney"),
    ("$b", "one two"),
    ("$nobody", ""),
    ("$$a", "$a"),
    ("${a?yes}", "yes"),
    ("${empty?yes}", ""),
    ("${blank?yes}", "yes"),
    ("${empty:none}", "none"),
    ("${a:none}", ""),
    ("${a?{yes}:{no}}", "yes"),
    ("${empty?{yes}:{no}}", "no"),
    ("${a?{$b}:{no}}", "one two"),
    ("${empty?{yes}:{${a?{in $a}:{x}}}}", "in one"),
    ("${{$three} < {$ten} ? {less} : {more}}", "less"),
    ("${{b} < {a} ? {less} : {more}}", "more"),
    ("${{$a} == {one} ? {same} : {other}}", "same"),
    ("${{$a} != {one} ? {same} : {other}}", "other"),
    ("${{$level} <level {3.6} ? {md5} : {sha256}}", "sha256"),
    ("${{$compatibility} <level {3.6} ? {md5} : {sha256}}", "md5"),
    ("${{$compatibility} >=level {2} ? {new}}", "new"),
    ("${{$a} == {two} ? {same}}", ""),
    ("plain", "plain"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_a_value_expands_as_written_in_the_manual(text: str, expected: str) -> None:
    assert expand(text, VALUES.get) == expected


@pytest.mark.foreign
@pytest.mark.skipif(not shutil.which("postconf", path="/usr/sbin"), reason="needs Debian's postfix")
def test_postfix_expands_the_same_values_to_the_same_text(tmp_path: Path) -> None:
    main = "".join(f"{name} = {value}\n" for name, value in VALUES.items())
    main += "".join(f"case{number} = {text}\n" for number, (text, _) in enumerate(CASES))
    main += "dummy = " + " ".join(f"$case{number}" for number in range(len(CASES))) + "\nmydestination = $dummy\n"
    (tmp_path / "main.cf").write_text(main)
    (tmp_path / "master.cf").write_text("")
    names = [f"case{number}" for number in range(len(CASES))]
    printed = subprocess.run(
        ["/usr/sbin/postconf", "-c", str(tmp_path), "-x", *names], capture_output=True, text=True, check=True
    ).stdout
    theirs = [line.partition("=")[2].strip() for line in printed.splitlines()]
    assert theirs == [expected for _, expected in CASES]


@pytest.mark.parametrize(
    "text",
    [
        "${a",
        "$(a",
        "${}",
        "${?x}",
        "${a!x}",
        "${{a} ~ {b} ? {x}}",
        "${{a} == b ? {x}}",
        "${{a} <level {x} ? {y}}",
        "${a?{x} y}",
    ],
)
def test_a_broken_expression_is_named(text: str) -> None:
    with pytest.raises(BadValue):
        expand(text, VALUES.get)


def test_names_that_name_each_other_are_an_error_and_end() -> None:
    with pytest.raises(BadValue, match="circle"):
        expand("$x", {"x": "$y", "y": "$x"}.get)


def test_names_that_double_each_other_end_too() -> None:
    values = {f"v{number}": f"$v{number + 1}$v{number + 1}" for number in range(60)} | {"v60": "0123456789"}
    with pytest.raises(BadValue, match="longer"):
        expand("$v0", values.get)


def test_levels_compare_as_versions() -> None:
    assert level("3.10") > level("3.9") > level("3") == level("3.0")


def test_names_are_found_at_any_depth() -> None:
    assert names_in("$a ${b?{$c}:{${d}}} $(e) ${{$f} == {g} ? {$h}}") >= {"a", "b", "c", "d", "e", "f", "h"}


@given(st.text(alphabet="${}()?:<>=!level ab3.", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_expands_or_is_refused(text: str) -> None:
    try:
        expand(text, VALUES.get)
    except BadValue:
        pass
