"""Facts from Postfix's own regression tests (tests/data/postfix)."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from posthouse.core.address import Address
from posthouse.routing.addressing import DEFAULT, Extensions, Find, Form, find_address
from posthouse.routing.parsing import parse_address
from posthouse.routing.transport import Route, TransportMaps
from posthouse.tables.maps import Maps
from posthouse.tables.opening import Tables, names_in

VECTORS: dict[str, list[Any]] = json.loads(
    (Path(__file__).parents[1] / "data/postfix/address-vectors.json").read_text()
)
EXTENSIONS = Extensions("+-", True)


async def is_local(domain: str) -> bool:
    return domain == "localhost.localdomain"


def maps(text: str) -> Maps:
    tables = Tables(lambda: 0.0, lambda _: None)
    return Maps("test", [tables.open(name) for name in names_in(text)])


@pytest.mark.parametrize("vector", VECTORS["transport"], ids=lambda one: f"{one['map']} {one['address']}")
def test_transport_entries(vector: dict[str, Any]) -> None:
    table = TransportMaps(maps(vector["map"]), EXTENSIONS, is_local, parents_match=True)
    address = Address.split(vector["address"])
    entry = asyncio.run(table.entry(address))
    route = Route("DEFAULT", address.domain)
    if entry is not None:
        route = route.overridden_by(entry, address.domain)
    assert [route.transport, route.nexthop] == vector["expect"]


WORDS = {
    "default": DEFAULT,
    "full": Find.FULL,
    "noext": Find.NO_EXTENSION,
    "domain": Find.DOMAIN,
    "pdms": Find.PARENT_DOMAINS,
    "pddms": Find.DOT_PARENT_DOMAINS,
    "localpart_at_if_local": Find.LOCAL_PART_AT_IF_LOCAL,
    "localpart_at": Find.LOCAL_PART_AT,
}


@pytest.mark.parametrize("vector", VECTORS["mail_addr_find"], ids=lambda one: str(one["test"]))
def test_look_up_strategies(vector: dict[str, str]) -> None:
    given, query, out, words, address_text, *rest = vector["test"].split(":")
    expected = rest[0] if rest and rest[0] else None
    strategy = Find(0)
    for word in words.split("|"):
        strategy |= WORDS[word]
    address = parse_address(address_text) if given == "external" else Address.split(address_text)
    found = asyncio.run(
        find_address(
            maps(vector["maps"]),
            address,
            extensions=EXTENSIONS,
            is_local=is_local,
            strategy=strategy,
            form=Form(query),
        )
    )
    if found is None:
        assert expected is None
        return
    value = found.value
    if query != "internal" and out == "internal":
        parsed = parse_address(value)
        value = f"{parsed.local_part}@{parsed.domain}"
    assert value == expected
    assert found.extension == (rest[1] if len(rest) > 1 else "")
