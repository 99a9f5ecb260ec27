"""Who the client is: its network, its name, its login, how it speaks."""

from collections.abc import Mapping
from typing import Final

from posthouse.policy.facts import Facts, Subject
from posthouse.policy.restriction import PERMIT, Codes, Outcome, Restriction, refusal, rejected


def permit_mynetworks(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    return PERMIT if facts.is_in_mynetworks else None


def permit_inet_interfaces(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    return PERMIT if facts.is_own_address else None


def permit_sasl_authenticated(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    return PERMIT if facts.sasl_username else None


def reject_plaintext_session(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    return None if facts.is_encrypted else refusal(codes.plaintext, "7.1", "Session encryption is required")


def reject_unknown_client_hostname(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    if facts.client_name != "unknown":
        return None
    words = f"Client host rejected: cannot find your hostname, [{facts.client_address}]"
    return refusal(codes.unknown_client, "7.1", words)


def reject_unknown_reverse_client_hostname(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001
    if facts.reverse_name != "unknown":
        return None
    words = f"Client host rejected: cannot find your reverse hostname, [{facts.client_address}]"
    return refusal(codes.unknown_client, "7.1", words)


def reject_unauth_pipelining(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    if not facts.is_sent_ahead:
        return None
    return rejected(facts, subject, 503, "5.0", "Improper use of SMTP command pipelining")


RESTRICTIONS: Final[Mapping[str, Restriction]] = {
    "permit_mynetworks": permit_mynetworks,
    "permit_inet_interfaces": permit_inet_interfaces,
    "permit_sasl_authenticated": permit_sasl_authenticated,
    "reject_plaintext_session": reject_plaintext_session,
    "reject_unknown_client_hostname": reject_unknown_client_hostname,
    "reject_unknown_client": reject_unknown_client_hostname,
    "reject_unknown_reverse_client_hostname": reject_unknown_reverse_client_hostname,
    "reject_unauth_pipelining": reject_unauth_pipelining,
}
