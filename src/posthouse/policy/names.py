"""Are the names in HELO, MAIL and RCPT names at all, and fully qualified? (RFC 5321 s2.3.5, RFC 1123 s2.1)"""

import re
from collections.abc import Mapping
from typing import Final

from posthouse.core.address import Address
from posthouse.policy.facts import Facts, Subject
from posthouse.policy.restriction import Codes, Outcome, Restriction, rejected

_LABEL: Final = r"[A-Za-z0-9_\x80-\U0010ffff](?:[A-Za-z0-9_\-\x80-\U0010ffff]{0,61}[A-Za-z0-9_\x80-\U0010ffff])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ALL_NUMERIC: Final = re.compile(r"[0-9.]+")
_LITERAL: Final = re.compile(r"\[(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|IPv6:[0-9A-Fa-f:.]+)\]", re.IGNORECASE)


def is_name(text: str) -> bool:
    """A host name: no empty label, not only digits."""
    return len(text) <= 255 and _NAME.fullmatch(text) is not None and not _ALL_NUMERIC.fullmatch(text)


def is_fully_qualified(text: str) -> bool:
    text = text.removesuffix(".")
    return "." in text and is_name(text)


def _lacks_qualified_domain(address: Address | None) -> bool:
    if address is None or address.domain.startswith("["):
        return False
    return not is_fully_qualified(address.domain)


def reject_non_fqdn_helo_hostname(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001
    if not facts.helo or facts.helo.startswith("[") or is_fully_qualified(facts.helo):
        return None
    return rejected(facts, Subject.HELO, codes.non_fqdn, "5.2", "need fully-qualified hostname")


def reject_invalid_helo_hostname(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001
    if not facts.helo or is_name(facts.helo.removesuffix(".")) or _LITERAL.fullmatch(facts.helo):
        return None
    return rejected(facts, Subject.HELO, codes.invalid_hostname, "5.2", "Invalid name")


def reject_non_fqdn_sender(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    if not _lacks_qualified_domain(facts.sender):
        return None
    return rejected(facts, Subject.SENDER, codes.non_fqdn, "5.2", "need fully-qualified address")


def reject_non_fqdn_recipient(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    if not _lacks_qualified_domain(facts.recipient):
        return None
    return rejected(facts, Subject.RECIPIENT, codes.non_fqdn, "5.2", "need fully-qualified address")


RESTRICTIONS: Final[Mapping[str, Restriction]] = {
    "reject_non_fqdn_helo_hostname": reject_non_fqdn_helo_hostname,
    "reject_non_fqdn_hostname": reject_non_fqdn_helo_hostname,
    "reject_invalid_helo_hostname": reject_invalid_helo_hostname,
    "reject_invalid_hostname": reject_invalid_helo_hostname,
    "reject_non_fqdn_sender": reject_non_fqdn_sender,
    "reject_non_fqdn_recipient": reject_non_fqdn_recipient,
}
