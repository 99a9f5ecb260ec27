"""Relaying: may this client send there? A domain is ours if its class says so; everything else is somebody else's.

Routes hidden in the local part (user%elsewhere, elsewhere!user, "user@elsewhere") are followed by the resolution: where
an address leads in the end is what counts, and what cannot be told is not ours.
"""

from collections.abc import Mapping
from typing import Final

from posthouse.policy.facts import Facts, Subject
from posthouse.policy.restriction import PERMIT, Codes, Outcome, Restriction, refusal

OURS: Final = frozenset({"local", "virtual_alias", "virtual_mailbox", "relay"})


def _is_ours(facts: Facts) -> bool:
    return facts.destination().address_class in OURS


def permit_auth_destination(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    return PERMIT if facts.recipient is not None and _is_ours(facts) else None


def reject_unauth_destination(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    if facts.recipient is None or _is_ours(facts):
        return None
    return refusal(codes.relay, "7.1", f"<{facts.recipient}>: Relay access denied")


def defer_unauth_destination(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    if facts.recipient is None or _is_ours(facts):
        return None
    # Postfix: the code of reject_unauth_destination, as a deferral.
    return refusal(codes.relay % 100 + 400, "7.1", f"<{facts.recipient}>: Relay access denied")


RESTRICTIONS: Final[Mapping[str, Restriction]] = {
    "permit_auth_destination": permit_auth_destination,
    "reject_unauth_destination": reject_unauth_destination,
    "defer_unauth_destination": defer_unauth_destination,
}
PROTECTS: Final = frozenset({"reject_unauth_destination", "defer_unauth_destination", "reject", "defer"})
"""One of these must be in force, or anybody could send anywhere."""
