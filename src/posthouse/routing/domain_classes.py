"""Which class a domain belongs to: ours, virtual, relayed, or somebody else's (ADDRESS_CLASS_README).

The classes are asked in Postfix's order; a domain that stands in two lists belongs to the first.
"""

import enum
from collections.abc import Callable

from posthouse.config.parameter import Settings
from posthouse.config.parameters.general import (
    MYDESTINATION,
    PARENT_DOMAIN_MATCHES_SUBDOMAINS,
    RELAY_DOMAINS,
    VIRTUAL_ALIAS_DOMAINS,
    VIRTUAL_MAILBOX_DOMAINS,
)
from posthouse.routing.hostnames import literal_address
from posthouse.tables.domains import domain_key
from posthouse.tables.matching import MatchList, Style
from posthouse.tables.table import Table


class AddressClass(enum.Enum):
    """The values are those of `Resolution.address_class`."""

    LOCAL = "local"
    VIRTUAL_ALIAS = "virtual_alias"
    VIRTUAL_MAILBOX = "virtual_mailbox"
    RELAY = "relay"
    DEFAULT = "default"


class DomainClasses:
    def __init__(
        self, settings: Settings, open_table: Callable[[str], Table], own_addresses: frozenset[str], origin: str
    ) -> None:
        self._own_addresses = own_addresses
        self._origin = domain_key(origin)
        parents = "relay_domains" in settings[PARENT_DOMAIN_MATCHES_SUBDOMAINS]
        relay_style = Style.PARENT if parents else Style.DOT
        # Taken out of the settings first: as an argument for an Iterable mypy infers another kind of parameter.
        own, aliases = settings[MYDESTINATION], settings[VIRTUAL_ALIAS_DOMAINS]
        mailboxes, relayed = settings[VIRTUAL_MAILBOX_DOMAINS], settings[RELAY_DOMAINS]
        self.mydestination = MatchList("mydestination", own, Style.TEXT, open_table)
        self.virtual_alias = MatchList("virtual_alias_domains", aliases, Style.TEXT, open_table)
        self.virtual_mailbox = MatchList("virtual_mailbox_domains", mailboxes, Style.TEXT, open_table)
        self.relay = MatchList("relay_domains", relayed, relay_style, open_table)

    async def is_own(self, domain: str) -> bool:
        """mydestination, or the literal of an address that is ours (inet_interfaces, proxy_interfaces)."""
        if await self.mydestination.matches(domain):
            return True
        if domain.startswith("["):
            return literal_address(domain) in self._own_addresses
        return False

    async def is_local(self, domain: str) -> bool:
        """For look-ups by local part: $myorigin counts too."""
        return domain_key(domain) == self._origin or await self.is_own(domain)

    async def of(self, domain: str) -> AddressClass:
        if await self.is_own(domain):
            return AddressClass.LOCAL
        if await self.virtual_alias.matches(domain):
            return AddressClass.VIRTUAL_ALIAS
        if await self.virtual_mailbox.matches(domain):
            return AddressClass.VIRTUAL_MAILBOX
        if await self.relay.matches(domain):
            return AddressClass.RELAY
        return AddressClass.DEFAULT
