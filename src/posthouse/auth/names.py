"""The one spelling under which domains and addresses are kept and looked up.

Lower case, domains as A-labels (RFC 5891), local parts in Unicode normal form C (RFC 6532 s3.1), unquoted. A name
becomes part of paths (%d, %n), so what could climb out of a directory is refused here, before it can be stored.
"""

import re
import unicodedata
from typing import Final

import idna

MAXIMAL_LOCAL_PART: Final = 64
"""RFC 5321 s4.5.3.1.1, in octets."""
MAXIMAL_DOMAIN: Final = 255
"""RFC 5321 s4.5.3.1.2, in octets."""

_LABELS: Final = re.compile(
    r"(?=.{1,255}\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\Z"
)
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff/\\@\"<>(),:;\[\]]")


class BadName(ValueError):
    """Not a domain or address that can be hosted; the text says why."""


def fold_domain(text: str) -> str:
    """For look-ups: the key of a domain, whether or not it could be hosted. Never raises."""
    text = text.lower().rstrip(".")
    if text.isascii():
        return text
    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return text


def fold_address(text: str) -> str:
    """For look-ups: the key of an address or "@domain". Never raises."""
    if text.isascii():
        return text.lower()
    local_part, at, domain = text.rpartition("@")
    if not at:
        return unicodedata.normalize("NFC", text.lower())
    return f"{unicodedata.normalize('NFC', local_part.lower())}@{fold_domain(domain)}"


def parse_domain(text: str) -> str:
    """The key of a domain that is to be hosted."""
    domain = fold_domain(text.strip())
    if not _LABELS.match(domain) or any(len(label) > 63 for label in domain.split(".")):
        raise BadName(f"{text!r} is not a domain name")
    return domain


def parse_address(text: str) -> str:
    """The key of an address that is to be hosted."""
    local_part, at, domain = text.strip().rpartition("@")
    if not at or not local_part:
        raise BadName(f"{text!r} is not an address of the form user@domain")
    local_part = unicodedata.normalize("NFC", local_part.lower())
    if len(local_part.encode("utf-8", "surrogatepass")) > MAXIMAL_LOCAL_PART:
        raise BadName(f"the part before the @ of {text!r} is longer than {MAXIMAL_LOCAL_PART} octets")
    if _FORBIDDEN.search(local_part):
        raise BadName(f"{text!r} has characters that a mailbox name here cannot have")
    if local_part.startswith(".") or local_part.endswith(".") or ".." in local_part:
        # RFC 5321 s4.1.2: dots stand between atoms; "." and ".." would also be directories.
        raise BadName(f"{text!r}: a dot stands between two other characters")
    return f"{local_part}@{parse_domain(domain)}"


def parse_alias(text: str) -> str:
    """The key of an alias: an address, or "@domain" for everything in that domain that is neither account nor alias."""
    text = text.strip()
    return f"@{parse_domain(text[1:])}" if text.startswith("@") else parse_address(text)


def parse_target(text: str) -> str:
    """Where an alias leads: any address, here or elsewhere; elsewhere its local part may look as it likes."""
    local_part, at, domain = text.strip().rpartition("@")
    if not at or not local_part:
        raise BadName(f"{text!r} is not an address of the form user@domain")
    if re.search(r"[\x00-\x1f\x7f,]", local_part):
        raise BadName(f"{text!r} has characters that an alias target cannot have")
    return f"{local_part}@{parse_domain(domain)}"
