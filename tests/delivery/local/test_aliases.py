"""What may stand on the right of an alias and in a .forward file."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.aliases import BadAlias, Kind, Target, parse


def address(text: str, *, is_final: bool = False) -> Target:
    return Target(Kind.ADDRESS, text, is_final)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user", [address("user")]),
        ("a@example.org, b@example.org", [address("a@example.org"), address("b@example.org")]),
        ("a,b,\n c\n", [address("a"), address("b"), address("c")]),
        ("# comment\na\n  # another, b\n", [address("a")]),
        ("a (the boss), b", [address("a"), address("b")]),
        ("The Boss <a@example.org>", [address("a@example.org")]),
        ('"Boss, The" <a@example.org>', [address("a@example.org")]),
        ('"John Doe"@example.org', [address("John Doe@example.org")]),
        ('"a b"', [address("a b")]),
        ("\\user", [address("user", is_final=True)]),
        ("\\user, |/bin/true", [address("user", is_final=True), Target(Kind.COMMAND, "/bin/true")]),
        ('"|vacation -a x, user"', [Target(Kind.COMMAND, "vacation -a x, user")]),
        ("|/usr/bin/procmail -f- (x)", [Target(Kind.COMMAND, "/usr/bin/procmail -f- (x)")]),
        ('"|IFS=\' \' && x || exit 75"', [Target(Kind.COMMAND, "IFS=' ' && x || exit 75")]),
        ('"|echo \\"x\\""', [Target(Kind.COMMAND, 'echo "x"')]),
        ("/var/mail/x, /home/u/M/", [Target(Kind.FILE, "/var/mail/x"), Target(Kind.FILE, "/home/u/M/")]),
        (":include:/etc/list", [Target(Kind.INCLUDE, "/etc/list")]),
        (':Include: "/etc/my list"', [Target(Kind.INCLUDE, "/etc/my list")]),
        ("a, a, a", [address("a")]),
        ("用户@例子.中国", [address("用户@例子.中国")]),
        ("", []),
        (" ,\n,, \n", []),
    ],
)  # fmt: skip
def test_lists_are_understood(text: str, expected: list[Target]) -> None:
    assert list(parse(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        '"a',
        "a (b",
        "<a",
        "a>",
        "|",
        '"|"',
        ":include:list",
        ":fail: no",
        "a b c",
        "@x",
        "a@",
        "a\0b",
        "<a><b>",
        "a@b c",
    ],
)
def test_nonsense_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadAlias):
        parse(text)


@given(st.text(alphabet=st.sampled_from('ab@."\\(),<>|/:#\n include;\0é'), max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_gives_targets_or_is_refused(text: str) -> None:
    try:
        for target in parse(text):
            assert target.text
    except BadAlias:
        pass
