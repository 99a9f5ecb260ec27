"""From an address to transport, nexthop and recipient, and whether the recipient exists (Postfix's trivial-rewrite).

The order of precedence: transport_maps; then for domains that are not ours the relayhost (by sender, then for all);
then the transport of the address class. Everything that a table cannot say is a TableError, never "unknown".
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final

from posthouse.config.parameter import Settings
from posthouse.config.parameters import general
from posthouse.config.parameters import tables as own
from posthouse.config.parameters.queue import EMPTY_ADDRESS_RECIPIENT
from posthouse.core.address import Address
from posthouse.core.reply import Reply
from posthouse.routing.addressing import DEFAULT, Extensions, Find, Found, find_address
from posthouse.routing.domain_classes import AddressClass, DomainClasses
from posthouse.routing.hostnames import is_host_name, literal_address
from posthouse.routing.rewriting import Rules, rewrite, without_final_dot
from posthouse.routing.transport import Route, TransportMaps
from posthouse.runtime.schema import Resolution
from posthouse.tables.directory import DirectoryTable
from posthouse.tables.maps import Maps
from posthouse.tables.opening import Tables, names_in

BAD_ADDRESS: Final = Reply.of(501, "5.1.3", "Bad recipient address syntax")
UNKNOWN_ALIAS: Final = Reply.of(550, "5.1.1", "User unknown in virtual alias table")
_STATUS: Final = re.compile(r"([45]\.[0-9]{1,3}\.[0-9]{1,3})\s+")
_ROUTING: Final = re.compile(r"[@!%]")


def reason_reply(route: Route) -> Reply:
    """What the error and retry transports answer: their nexthop, with a status in front or without."""
    code, status = (550, "5.0.0") if route.transport == "error" else (450, "4.0.0")
    text = route.nexthop
    match = _STATUS.match(text)
    if match:
        text = text[match.end() :]
        if match[1][0] == status[0]:
            status = match[1]
    return Reply.of(code, status, text.strip() or "Address is undeliverable")


class Router:
    """Built once from the settings; holds no state between questions but what the tables cache."""

    def __init__(self, settings: Settings, tables: Tables, own_addresses: frozenset[str], origin: str = "") -> None:
        origin = origin or settings[general.MYORIGIN]
        self._myhostname = settings[general.MYHOSTNAME]
        self.rules = Rules(
            origin,
            settings[general.MYDOMAIN],
            settings[own.APPEND_AT_MYORIGIN],
            settings[own.APPEND_DOT_MYDOMAIN],
            settings[own.SWAP_BANGPATH],
            settings[own.ALLOW_PERCENT_HACK],
        )
        self.extensions = Extensions(
            settings[general.RECIPIENT_DELIMITER],
            settings[general.OWNER_REQUEST_SPECIAL],
            frozenset({"postmaster", "mailer-daemon", settings[general.DOUBLE_BOUNCE_SENDER].lower()}),
        )
        self.classes = DomainClasses(settings, tables.open, own_addresses, origin)
        self._numeric_domains = settings[own.RESOLVE_NUMERIC_DOMAIN]
        self._allow_hyphen = settings[own.ALLOW_MIN_USER]
        self._nobody = settings[EMPTY_ADDRESS_RECIPIENT]
        self._relayhost = settings.text("relayhost").strip()
        self._routes = {
            AddressClass.LOCAL: Route.parse(settings[own.LOCAL_TRANSPORT]),
            AddressClass.VIRTUAL_ALIAS: Route("error", "5.1.1 User unknown in virtual alias table"),
            AddressClass.VIRTUAL_MAILBOX: Route.parse(settings[own.VIRTUAL_TRANSPORT]),
            AddressClass.RELAY: Route.parse(settings[own.RELAY_TRANSPORT]),
            AddressClass.DEFAULT: Route.parse(settings[own.DEFAULT_TRANSPORT]),
        }

        def maps(name: str) -> Maps:
            return Maps(name, [tables.open(one) for one in names_in(settings.text(name))])

        self.virtual_alias_maps = maps("virtual_alias_maps")
        self._recipient_maps = {
            AddressClass.LOCAL: maps("local_recipient_maps"),
            AddressClass.VIRTUAL_MAILBOX: maps("virtual_mailbox_maps"),
            AddressClass.RELAY: maps("relay_recipient_maps"),
        }
        mailboxes = self._recipient_maps[AddressClass.VIRTUAL_MAILBOX].tables
        self._has_directory = any(isinstance(table, DirectoryTable) for table in mailboxes)
        self._has_paths = any(not isinstance(table, DirectoryTable) for table in mailboxes)
        self._relocated_maps = maps("relocated_maps")
        self._sender_relayhosts = maps("sender_dependent_relayhost_maps")
        self._sender_transports = maps("sender_dependent_default_transport_maps")
        self._null_relayhost_key = settings[own.EMPTY_ADDRESS_RELAYHOST_MAPS_LOOKUP_KEY]
        self._null_transport_key = settings[own.EMPTY_ADDRESS_DEFAULT_TRANSPORT_MAPS_LOOKUP_KEY]
        self._transport_maps = TransportMaps(
            maps("transport_maps"),
            self.extensions,
            self.classes.is_local,
            parents_match="transport_maps" in settings[general.PARENT_DOMAIN_MATCHES_SUBDOMAINS],
        )

    @property
    def depends_on_sender(self) -> bool:
        return bool(self._sender_relayhosts or self._sender_transports)

    def find(self, maps: Maps, address: Address, strategy: Find = DEFAULT) -> Awaitable[Found | None]:
        return find_address(
            maps, address, extensions=self.extensions, is_local=self.classes.is_local, strategy=strategy
        )

    async def resolve(self, recipient: Address, sender: Address | None = None) -> Resolution:
        recipient = await self._reduced(recipient)
        domain = recipient.domain
        if not self._is_valid(domain) or (not self._allow_hyphen and recipient.local_part.startswith("-")):
            return Resolution("default", "error", "5.1.3 bad address syntax", recipient, error_reply=BAD_ADDRESS)
        address_class = await self.classes.of(domain)
        route = await self._route_of(address_class, domain, sender)
        if self._transport_maps and address_class is not AddressClass.VIRTUAL_ALIAS:
            entry = await self._transport_maps.entry(recipient)
            if entry is not None:
                route = route.overridden_by(entry, domain)
        if self._relocated_maps:
            moved = await self.find(self._relocated_maps, recipient)
            if moved is not None:
                route = Route("error", f"5.1.6 User has moved to {moved.value}")
        known, mailbox = await self._existence(address_class, recipient)
        error: Reply | None = None
        if address_class is AddressClass.VIRTUAL_ALIAS:
            error = None if known else UNKNOWN_ALIAS
        elif route.transport in ("error", "retry"):
            error = reason_reply(route)
        # The next host may see a route where we see a local part (user%elsewhere@ours): whoever is not allowed to relay
        # must not be, by such an address either. Postfix's allow_untrusted_routing = no.
        uncertain = address_class is not AddressClass.LOCAL and _ROUTING.search(recipient.local_part)
        return Resolution(
            "default" if uncertain else address_class.value,
            route.transport,
            route.nexthop,
            recipient,
            known,
            error,
            mailbox,
            await self._is_whole_domain(address_class, recipient),
        )

    async def _is_whole_domain(self, address_class: AddressClass, recipient: Address) -> bool:
        """Would every other ordinary address in this domain get the same answer?"""
        return (
            address_class in (AddressClass.DEFAULT, AddressClass.RELAY)
            and recipient.is_ordinary
            and not self._recipient_maps.get(address_class)
            and not self.depends_on_sender
            and not self._transport_maps.knows_addresses_in(recipient.domain)
            and not self._relocated_maps.knows_addresses_in(recipient.domain)
            and not await self.classes.is_local(recipient.domain)
        )

    async def _reduced(self, address: Address) -> Address:
        """The standard form, with every domain of our own taken off as long as a route stands before it."""
        address = rewrite(address, self.rules)
        saved = ""
        for _ in range(len(address.local_part) + 100):
            if not address.domain and not address.local_part:
                break
            domain = without_final_dot(address.domain)
            address = address.with_domain(domain)
            if domain and not await self.classes.is_own(domain):
                return address
            saved = domain
            local_part = address.local_part
            if not (
                "@" in local_part
                or (self.rules.swap_bangpath and "!" in local_part)
                or (self.rules.allow_percent_hack and "%" in local_part)
            ):
                break
            address = rewrite(Address.split(local_part), self.rules)
        return Address(address.local_part or self._nobody, saved or self._myhostname)

    def _is_valid(self, domain: str) -> bool:
        if domain.startswith("["):
            return literal_address(domain) is not None
        return is_host_name(domain, numeric=self._numeric_domains)

    async def _route_of(self, address_class: AddressClass, domain: str, sender: Address | None) -> Route:
        route = self._routes[address_class]
        if address_class is AddressClass.DEFAULT and self._sender_transports:
            entry = await self._by_sender(self._sender_transports, sender, self._null_transport_key)
            if entry is not None:
                route = Route.parse(entry)
        if route.nexthop:
            return route
        nexthop = domain
        if address_class in (AddressClass.DEFAULT, AddressClass.RELAY):
            nexthop = self._relayhost or domain
            if self._sender_relayhosts:
                entry = await self._by_sender(self._sender_relayhosts, sender, self._null_relayhost_key)
                if entry is not None:
                    nexthop = entry
        return Route(route.transport, nexthop)

    async def _by_sender(self, maps: Maps, sender: Address | None, null_key: str) -> str | None:
        found = await self.find(maps, sender if sender is not None else Address(null_key))
        if found is None or found.value.upper() == "DUNNO":
            return None
        return found.value

    async def _existence(self, address_class: AddressClass, recipient: Address) -> tuple[bool, str]:
        """Does the recipient exist, and the path of its mailbox if a table (not the directory) names one."""
        if address_class is AddressClass.DEFAULT:
            return True, ""
        maps = self._recipient_maps.get(address_class)
        if maps is not None:
            if not maps:
                return True, ""
            found = await self.find(maps, recipient)
            if found is not None:
                if address_class is not AddressClass.VIRTUAL_MAILBOX or not self._has_paths:
                    return True, ""
                return True, await self._first_path(maps, recipient) if self._has_directory else found.value
        return await self.find(self.virtual_alias_maps, recipient) is not None, ""

    async def _first_path(self, maps: Maps, recipient: Address) -> str:
        """Where tables of paths and the directory stand side by side: the first that knows the recipient owns it."""
        for table in maps.tables:
            found = await self.find(Maps(maps.parameter, [table]), recipient)
            if found is not None:
                return "" if isinstance(table, DirectoryTable) else found.value
        return ""


def origin_of(value: str, read: Callable[[str], str]) -> str:
    """myorigin may name a file whose first line is the origin (Debian's /etc/mailname)."""
    if not value.startswith("/"):
        return value
    for line in read(value).splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            return line.strip()
    return ""
