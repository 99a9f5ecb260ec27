"""Names of domains as they are compared: lower case, internationalised labels in ASCII form, no final dot."""

import functools
from collections.abc import Iterable

import idna


@functools.lru_cache(maxsize=4096)
def _ascii_form(domain: str) -> str:
    try:
        return idna.encode(domain, uts46=True, transitional=False).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        return domain.lower()


def domain_key(domain: str) -> str:
    """RFC 5890 s2.3.2.4: U-labels and A-labels that stand for each other compare equal."""
    if domain.isascii():
        domain = domain.lower()
    else:
        domain = _ascii_form(domain)
    return domain[:-1] if domain.endswith(".") and not domain.endswith("..") else domain


@functools.lru_cache(maxsize=4096)
def other_form(domain: str) -> str | None:
    """The U-label form of an A-label domain or the reverse; None if there is no other form."""
    if not domain.isascii():
        other = _ascii_form(domain)
        return other if other.isascii() else None
    if "xn--" not in domain.lower():
        return None
    try:
        return idna.decode(domain.lower())
    except (idna.IDNAError, UnicodeError):
        return None


def domains_of(keys: Iterable[str]) -> frozenset[str]:
    """Those of the keys that are addresses, or @domain."""
    return frozenset(key.rpartition("@")[2] for key in keys if "@" in key)
