"""Rewriting an address to its standard form: source routes, bang paths, %, missing domains (Postfix's trivial-rewrite).

Addresses are in internal form, so "@", "%" and "!" count as routing operators even where they were quoted: reading them
more narrowly than the next host does is how a backup server becomes an open relay.
"""

from dataclasses import dataclass

from posthouse.core.address import Address


@dataclass(frozen=True, slots=True)
class Rules:
    origin: str
    """$myorigin"""
    domain: str
    """$mydomain"""
    append_at_myorigin: bool = True
    append_dot_mydomain: bool = True
    swap_bangpath: bool = True
    allow_percent_hack: bool = True


def without_final_dot(domain: str) -> str:
    """ "example.com." becomes "example.com"; broken forms stay as they are, so that the log shows them."""
    return domain[:-1] if len(domain) > 1 and domain.endswith(".") and not domain.endswith("..") else domain


def rewrite(address: Address, rules: Rules) -> Address:
    local_part, domain = address.local_part, address.domain
    if not domain:
        local_part, at, domain = local_part.rpartition("@")
        if not at:
            local_part, domain = domain, ""
    if not local_part and not domain:
        return Address("", "")
    if local_part.startswith("@") and ":" in local_part:
        # RFC 5321 s4.1.1.3, appendix C: source routes are ignored.
        local_part = local_part.partition(":")[2]
    if not domain:
        if rules.swap_bangpath and "!" in local_part:
            domain, _, local_part = local_part.partition("!")
        elif rules.allow_percent_hack and "%" in local_part:
            local_part, _, domain = local_part.rpartition("%")
        elif rules.append_at_myorigin:
            domain = rules.origin
    if rules.append_dot_mydomain and rules.domain and domain and "." not in domain and not domain.startswith("["):
        domain = f"{domain}.{rules.domain}"
    return Address(local_part, without_final_dot(domain))
