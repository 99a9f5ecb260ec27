"""Restrictions on mail with the null sender."""

from collections.abc import Mapping
from typing import Final

from posthouse.policy.facts import Facts, Subject
from posthouse.policy.restriction import Codes, Outcome, Restriction, rejected


def reject_multi_recipient_bounce(facts: Facts, codes: Codes, subject: Subject) -> Outcome:
    """A notification goes to one sender (RFC 5321 s6.1); useful at DATA, when the recipients are known."""
    if facts.sender is not None or facts.recipient_count <= 1:
        return None
    return rejected(facts, subject, codes.multi_recipient_bounce, "5.3", "Multi-recipient bounce")


RESTRICTIONS: Final[Mapping[str, Restriction]] = {"reject_multi_recipient_bounce": reject_multi_recipient_bounce}
