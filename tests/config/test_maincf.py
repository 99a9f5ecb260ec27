"""Lines of main.cf."""

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.config import maincf
from posthouse.config.configuration import Problem


def parsed(text: str) -> tuple[dict[str, str], list[str]]:
    problems: list[Problem] = []
    chosen = maincf.latest(maincf.parse(text, "main.cf", problems), problems)
    return {name: one.value for name, one in chosen.items()}, [str(one) for one in problems]


def test_white_space_continues_a_line_across_comments_and_empty_lines() -> None:
    values, problems = parsed("a = 1,\n\n   2,\n# comment\n  # another\n\t3\nb=4\n")
    assert "".join(values["a"].split()) == "1,2,3"
    assert values["b"] == "4"
    assert not problems


def test_an_empty_value_is_a_value() -> None:
    assert parsed("relayhost =\nmynetworks=\n")[0] == {"relayhost": "", "mynetworks": ""}


def test_the_last_of_two_settings_counts_and_the_first_is_named() -> None:
    values, problems = parsed("a = 1\nb = 2\na = 3\n")
    assert values == {"b": "2", "a": "3"}
    assert problems == ["main.cf:3: warning: overriding the earlier entry a=1 of main.cf:1; remove one of the two"]


def test_every_broken_line_is_named_with_its_number() -> None:
    values, problems = parsed("  indented = 1\nnonsense\n= value\ntwo words = 1\nok = 1\n")
    assert values == {"ok": "1"}
    assert [one.split(":")[1] for one in problems] == ["1", "2", "3", "4"]
    assert all("error" in one for one in problems)


def test_octets_that_are_no_utf8_survive() -> None:
    text = maincf.decode(b"\xef\xbb\xbfname = caf\xe9\n")
    assert parsed(text)[0]["name"].encode("utf-8", "surrogateescape") == b"caf\xe9"


@given(st.text(alphabet=st.sampled_from("abc= \t\n#\\,$\r\x0b\x00é"), max_size=120))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_settings_and_problems(text: str) -> None:
    values, _ = parsed(text)
    assert all(name and "=" not in name and "\n" not in value for name, value in values.items())
