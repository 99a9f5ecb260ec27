"""An answer that is said to be good for a whole domain is the answer for every ordinary address there."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.address import Address
from posthouse.routing.expansion import Expander
from posthouse.runtime.schema import Resolution
from tests.routing.conftest import World

MakeWorld = Callable[..., World]
DOMAINS = (
    "relayed.example",
    "sub.relayed.example",
    "elsewhere.example",
    "boxes.example",
    "h.ours.example",
    "ours.example",
)
_local_parts = st.from_regex(r"[a-z0-9+._-]{1,6}", fullmatch=True)
_addresses = st.builds("{}@{}".format, _local_parts, st.sampled_from(DOMAINS))
_keys = st.one_of(
    _addresses,
    st.sampled_from(DOMAINS),
    st.sampled_from(["@" + one for one in DOMAINS] + ["." + one for one in DOMAINS] + ["*"]),
    _local_parts,
)


def inline(entries: dict[str, str]) -> str:
    return "inline:{" + ", ".join(f"{{{key} = {value}}}" for key, value in entries.items()) + "}" if entries else ""


@settings(max_examples=150, deadline=None)
@given(
    transports=st.dictionaries(_keys, st.sampled_from(["relay:[a]", "error:no", ":", "smtp:"]), max_size=4),
    aliases=st.dictionaries(_keys, st.sampled_from(["x@elsewhere.example", "@boxes.example"]), max_size=3),
    relocated=st.dictionaries(_keys, st.just("elsewhere"), max_size=2),
    relayed=st.dictionaries(_addresses, st.just("x"), max_size=2),
    delimiter=st.sampled_from(["", "+", "-"]),
    domain=st.sampled_from(DOMAINS),
    local_parts=st.lists(_local_parts, min_size=2, max_size=6),
)
def test_what_is_said_of_a_whole_domain_is_true_of_each_address(
    transports: dict[str, str],
    aliases: dict[str, str],
    relocated: dict[str, str],
    relayed: dict[str, str],
    delimiter: str,
    domain: str,
    local_parts: list[str],
) -> None:
    world = World(
        transport_maps=inline(transports),
        virtual_alias_maps=inline(aliases),
        relocated_maps=inline(relocated),
        relay_recipient_maps=inline(relayed),
        recipient_delimiter=delimiter,
    )
    addresses = [Address(one, domain) for one in local_parts if Address(one, domain).is_ordinary]

    async def ask() -> tuple[dict[Address, Resolution], dict[Address, tuple[Address, ...]], list[Address]]:
        expander = Expander(world.settings, world.router)
        resolved = {one: await world.router.resolve(one) for one in addresses}
        expanded = {one: await expander.expand(one) for one in addresses}
        stand = [one for one in addresses if expanded[one] == (one,) and await expander.is_whole_domain(one)]
        return resolved, expanded, stand

    found, expanded, standing = asyncio.run(ask())
    for general in found.values():
        if general.whole_domain:
            for one, answer in found.items():
                expected = one.with_domain(general.recipient.domain)
                assert answer == msgspec.structs.replace(general, recipient=expected)
    if standing:
        assert expanded == {one: (one,) for one in addresses}


@pytest.mark.parametrize(
    ("values", "address", "expected"),
    [
        ({}, "u@elsewhere.example", True),
        ({}, "u@relayed.example", True),
        ({"transport_maps": "inline:{elsewhere.example=relay:[a]}"}, "u@elsewhere.example", True),
        ({"transport_maps": "inline:{v@elsewhere.example=relay:[a]}"}, "u@elsewhere.example", False),
        ({"transport_maps": "pcre:{{/^v@/ relay:[a]}}"}, "u@elsewhere.example", False),
        ({"relocated_maps": "inline:{v@elsewhere.example=x}"}, "u@elsewhere.example", False),
        ({"relay_recipient_maps": "inline:{u@relayed.example=x}"}, "u@relayed.example", False),
        ({"sender_dependent_relayhost_maps": "inline:{a@b=[c]}"}, "u@elsewhere.example", False),
        ({}, "u%x@elsewhere.example", False),
        ({}, "-u@elsewhere.example", False),
        ({}, "u@boxes.example", False),
        ({}, "bob@ours.example", False),
        ({"myorigin": "elsewhere.example"}, "u@elsewhere.example", False),
    ],
)
def test_it_is_said_only_where_no_table_knows_addresses(
    world: MakeWorld, values: dict[str, str], address: str, expected: bool
) -> None:
    assert world(**values).resolve(address).whole_domain is expected
