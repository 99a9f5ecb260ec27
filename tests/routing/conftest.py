"""Routers made from main.cf text, without files or processes."""

import asyncio
from collections.abc import Callable

import pytest

import posthouse.config.parameters  # noqa: F401 - fills the registry
from posthouse.config.parameter import MAIN, Settings
from posthouse.core.address import Address
from posthouse.routing.expansion import Expander
from posthouse.routing.resolution import Router
from posthouse.runtime.schema import Resolution
from posthouse.tables.opening import Tables

BASE = {
    "compatibility_level": "3.6",
    "append_dot_mydomain": "no",
    "mydestination": "ours.example, localhost",
    "relay_domains": "relayed.example",
    "virtual_alias_domains": "aliased.example",
    "virtual_alias_maps": "",
    "virtual_mailbox_domains": "boxes.example",
    "virtual_mailbox_maps": "inline:{u@boxes.example=boxes/u/}",
    "local_recipient_maps": "inline:{root=x, bob=x}",
    "alias_maps": "",
}


class World:
    def __init__(self, **values: str) -> None:
        self.settings = Settings(MAIN, {**BASE, **values}, {"myhostname": "h.ours.example", "mydomain": "ours.example"})
        self.warnings: list[str] = []
        self.tables = Tables(lambda: 0.0, self.warnings.append)
        self.router = Router(self.settings, self.tables, frozenset({"127.0.0.1", "::1"}))

    def resolve(self, text: str, sender: str | None = None) -> Resolution:
        return asyncio.run(self.router.resolve(Address.split(text), None if sender is None else Address.split(sender)))

    def route(self, text: str, sender: str | None = None) -> str:
        found = self.resolve(text, sender)
        recipient = f"{found.recipient.local_part}@{found.recipient.domain}"
        return f"{found.address_class} {found.transport}:{found.nexthop} {recipient}"

    def expand(self, text: str) -> list[str]:
        expander = Expander(self.settings, self.router)
        return [one.key for one in asyncio.run(expander.expand(Address.split(text)))]


@pytest.fixture
def world() -> Callable[..., World]:
    return World
