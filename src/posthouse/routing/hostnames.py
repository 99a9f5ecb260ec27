"""Is this text a host name, or an address literal? (RFC 1123 s2.1, RFC 5321 s4.1.3.)"""

import ipaddress
import re
from typing import Final

from posthouse.tables.domains import domain_key

# Underscores are no host names, but people use them (and Postfix takes them).
_HOST_NAME: Final = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\Z"
)
_NUMERIC: Final = re.compile(r"[0-9.]+\Z")


def is_host_name(domain: str, *, numeric: bool = False) -> bool:
    """`numeric`: also take 192.0.2.1 without brackets (resolve_numeric_domain)."""
    key = domain_key(domain)
    if len(key) > 255 or not _HOST_NAME.match(key):
        return False
    return numeric or not _NUMERIC.match(key)


def literal_address(domain: str) -> str | None:
    """The IP address of "[192.0.2.1]" or "[IPv6:2001:db8::1]" in its standard form, None for anything else."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    inside = domain[1:-1]
    if inside[:5].lower() == "ipv6:":
        inside = inside[5:]
    try:
        return str(ipaddress.ip_address(inside))
    except ValueError:
        return None
