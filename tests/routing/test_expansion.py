"""Virtual aliases, all the way down."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.reply import TempFail
from posthouse.routing.parsing import parse_addresses, split_addresses
from tests.routing.conftest import World

MakeWorld = Callable[..., World]


@pytest.mark.parametrize(
    ("maps", "address", "expected"),
    [
        ("", "a@b.example", ["a@b.example"]),
        ("inline:{x@b.example=y@c.example}", "a@b.example", ["a@b.example"]),
        ("inline:{{a@b.example=x@c.example, y@d.example}}", "a@b.example", ["x@c.example", "y@d.example"]),
        ("inline:{a@b.example=m@b.example, m@b.example=z@e.example}", "a@b.example", ["z@e.example"]),
        ("inline:{{a@b.example=a@b.example, copy@c.example}}", "a@b.example", ["a@b.example", "copy@c.example"]),
        ("inline:{@b.example=all@c.example}", "a@b.example", ["all@c.example"]),
        ("inline:{@b.example=@c.example}", "a+x@b.example", ["a+x@c.example"]),
        ("inline:{a@b.example=z@c.example}", "a+x@b.example", ["z+x@c.example"]),
        ("inline:{bob=z}", "bob@ours.example", ["z@h.ours.example"]),
        ("inline:{{a@b.example=x@c.example, X@C.example}}", "a@b.example", ["x@c.example"]),
        ("inline:{A@B.example=x@c.example}", "a@b.EXAMPLE", ["x@c.example"]),
        ('inline:{{a@b.example="p q"@c.example}}', "a@b.example", ["p q@c.example"]),
    ],
)
def test_addresses_expand_as_in_postfix(world: MakeWorld, maps: str, address: str, expected: list[str]) -> None:
    assert world(virtual_alias_maps=maps, recipient_delimiter="+").expand(address) == expected


def test_a_circle_ends(world: MakeWorld) -> None:
    maps = "inline:{{a@b.example=b@b.example, x@c.example}, b@b.example=a@b.example}"
    with pytest.raises(TempFail):
        world(virtual_alias_maps=maps).expand("a@b.example")


def test_an_alias_that_grows_for_ever_is_stopped(world: MakeWorld) -> None:
    maps = "pcre:{{/^(.*)@b.example$/ x$$1@b.example}}"
    with pytest.raises(TempFail):
        world(virtual_alias_maps=maps).expand("a@b.example")


def test_too_many_recipients_are_a_temporary_failure(world: MakeWorld) -> None:
    targets = ", ".join(f"u{number}@c.example" for number in range(6))
    maps = f"inline:{{{{a@b.example={targets}}}}}"
    assert len(world(virtual_alias_maps=maps).expand("a@b.example")) == 6
    with pytest.raises(TempFail):
        world(virtual_alias_maps=maps, virtual_alias_expansion_limit="5").expand("a@b.example")


def test_the_right_hand_side_is_a_list_of_addresses() -> None:
    text = 'a@b, "x, y"@c (a comment, here), Name <d@e>, "q" <"f g"@h>,, plain'
    assert split_addresses(text) == ["a@b", '"x, y"@c', "d@e", '"f g"@h', "plain"]
    assert [str(one) for one in parse_addresses(text)] == ["a@b", '"x, y"@c', "d@e", '"f g"@h', "plain"]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from('ab@,"\\<>()\n .')))
def test_no_right_hand_side_breaks_the_parser(text: str) -> None:
    for address in parse_addresses(text):
        assert address.local_part or address.domain or text
