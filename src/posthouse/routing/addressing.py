"""How an address is looked up: which keys, in which order (Postfix's mail_addr_find).

user+ext@domain, user@domain, then for our own domains user+ext and user, then @domain. Tables of patterns see the first
key only. Keys are asked in quoted (external) form first, then unquoted where that differs; a domain that has another
form (RFC 5890 U-label and A-label) is asked in both.
"""

import enum
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from posthouse.core.address import Address
from posthouse.tables.domains import other_form
from posthouse.tables.maps import Maps

IsLocal = Callable[[str], Awaitable[bool]]
"""Is this domain $myorigin or one of our own (mydestination, an own address literal)?"""


class Find(enum.Flag):
    """Kinds of keys, in the order they are tried."""

    FULL = enum.auto()
    NO_EXTENSION = enum.auto()
    LOCAL_PART_IF_LOCAL = enum.auto()
    LOCAL_PART_AT_IF_LOCAL = enum.auto()
    AT_DOMAIN = enum.auto()
    DOMAIN = enum.auto()
    PARENT_DOMAINS = enum.auto()
    """With DOMAIN: example.com stands for its subdomains."""
    DOT_PARENT_DOMAINS = enum.auto()
    """With DOMAIN: .example.com does."""
    LOCAL_PART_AT = enum.auto()


DEFAULT: Final = Find.FULL | Find.NO_EXTENSION | Find.LOCAL_PART_IF_LOCAL | Find.AT_DOMAIN


class Form(enum.Enum):
    """In which form keys are asked."""

    INTERNAL = "internal"
    EXTERNAL = "external"
    EXTERNAL_FIRST = "external-first"


@dataclass(frozen=True, slots=True)
class Extensions:
    """recipient_delimiter, and the names that are never split."""

    delimiters: str = ""
    owner_request_special: bool = True
    never_split: frozenset[str] = frozenset({"postmaster", "mailer-daemon"})

    def split(self, local_part: str) -> tuple[str, str]:
        """Name without its extension, and the extension with its delimiter ("" if there is none)."""
        if not self.delimiters:
            return local_part, ""
        found = [at for delimiter in self.delimiters if (at := local_part.find(delimiter)) >= 0]
        at = min(found, default=-1)
        if at <= 0:
            return local_part, ""
        folded = local_part.lower()
        if folded in self.never_split:
            return local_part, ""
        if (
            "-" in self.delimiters
            and self.owner_request_special
            and (folded.startswith("owner-") or (folded.endswith("-request") and len(folded) > 8))
        ):
            return local_part, ""
        return local_part[:at], local_part[at:]


@dataclass(frozen=True, slots=True)
class Found:
    """`extension` is what the key that matched did not have; it may be put behind the new address."""

    value: str
    extension: str = ""


def _forms(local_part: str, tail: str, form: Form) -> Iterator[str]:
    internal = local_part + tail
    if form is Form.INTERNAL:
        yield internal
        return
    external = Address(local_part).quoted_local_part() + tail if local_part else internal
    yield external
    if form is Form.EXTERNAL_FIRST and external != internal:
        yield internal


def parent_domains(domain: str, strategy: Find) -> Iterator[str]:
    """The domain and, as the strategy says, its parents in the form a table holds them."""
    yield domain
    if not strategy & (Find.PARENT_DOMAINS | Find.DOT_PARENT_DOMAINS):
        return
    at = domain.find(".", 1)
    while at >= 0:
        yield domain[at + 1 :] if strategy & Find.PARENT_DOMAINS else domain[at:]
        at = domain.find(".", at + 1)


async def find_address(
    maps: Maps,
    address: Address,
    *,
    extensions: Extensions,
    is_local: IsLocal,
    strategy: Find = DEFAULT,
    form: Form = Form.EXTERNAL_FIRST,
) -> Found | None:
    """Raises TableError; None means that no table knows the address."""
    if not maps:
        return None
    domains = [address.domain]
    if address.domain and (other := other_form(address.domain)) is not None:
        domains.append(other)
    for domain in domains:
        if found := await _find(maps, address.local_part, domain, extensions, is_local, strategy, form):
            return found
    return None


async def _find(
    maps: Maps, local_part: str, domain: str, extensions: Extensions, is_local: IsLocal, strategy: Find, form: Form
) -> Found | None:
    at_domain = "@" + domain if domain else ""
    bare, extension = extensions.split(local_part) if strategy & Find.NO_EXTENSION else (local_part, "")
    if strategy & Find.FULL:
        for key in _forms(local_part, at_domain, form):
            if (value := await maps.find(key)) is not None:
                return Found(value)
    if extension:
        for key in _forms(bare, at_domain, form):
            if (value := await maps.find(key, partial=True)) is not None:
                return Found(value, extension)
    if not domain:
        return None
    if strategy & (Find.LOCAL_PART_IF_LOCAL | Find.LOCAL_PART_AT_IF_LOCAL) and await is_local(domain):
        tail = "@" if strategy & Find.LOCAL_PART_AT_IF_LOCAL else ""
        if found := await _find_local(maps, local_part, bare, extension, tail, form):
            return found
    if strategy & Find.AT_DOMAIN and (value := await maps.find(at_domain, partial=True)) is not None:
        return Found(value)
    if strategy & Find.DOMAIN:
        for name in parent_domains(domain, strategy):
            if (value := await maps.find(name, partial=True)) is not None:
                return Found(value)
    if strategy & Find.LOCAL_PART_AT:
        return await _find_local(maps, local_part, bare, extension, "@", form)
    return None


async def _find_local(maps: Maps, local_part: str, bare: str, extension: str, tail: str, form: Form) -> Found | None:
    for key in _forms(local_part, tail, form):
        if (value := await maps.find(key, partial=True)) is not None:
            return Found(value)
    if extension:
        for key in _forms(bare, tail, form):
            if (value := await maps.find(key, partial=True)) is not None:
                return Found(value, extension)
    return None
