"""permit, reject, defer: restrictions that look at nothing."""

from collections.abc import Mapping
from typing import Final

from posthouse.policy.facts import Facts, Subject
from posthouse.policy.restriction import PERMIT, Codes, Outcome, Restriction, rejected


def permit(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction's signature
    return PERMIT


def reject(facts: Facts, codes: Codes, subject: Subject) -> Outcome:
    return rejected(facts, subject, codes.reject, "7.1", "Access denied")


def defer(facts: Facts, codes: Codes, subject: Subject) -> Outcome:
    return rejected(facts, subject, codes.defer, "3.2", "Try again later")


RESTRICTIONS: Final[Mapping[str, Restriction]] = {"permit": permit, "reject": reject, "defer": defer}
