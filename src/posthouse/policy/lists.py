"""Restriction lists as data: words of main.cf become functions once, when a listener is made.

A word that nobody here knows does not become a permission: reaching it is answered 451 4.3.5, as in Postfix, and
`unsupported_restrictions` names it before anything starts.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from posthouse.config.parameter import Param, Settings
from posthouse.config.parameters import smtpd as own
from posthouse.core.reply import Reply
from posthouse.policy import bounces, clients, destinations, existence, names, unconditional
from posthouse.policy.facts import Facts, Subject
from posthouse.policy.restriction import PERMIT, Codes, Outcome, Permit, Restriction

KNOWN: Final[Mapping[str, Restriction]] = {
    **unconditional.RESTRICTIONS,
    **clients.RESTRICTIONS,
    **names.RESTRICTIONS,
    **destinations.RESTRICTIONS,
    **existence.RESTRICTIONS,
    **bounces.RESTRICTIONS,
}
LISTS: Final[tuple[Param[tuple[str, ...]], ...]] = (
    own.SMTPD_CLIENT_RESTRICTIONS,
    own.SMTPD_HELO_RESTRICTIONS,
    own.SMTPD_SENDER_RESTRICTIONS,
    own.SMTPD_RELAY_RESTRICTIONS,
    own.SMTPD_RECIPIENT_RESTRICTIONS,
    own.SMTPD_DATA_RESTRICTIONS,
    own.SMTPD_END_OF_DATA_RESTRICTIONS,
    own.SMTPD_ETRN_RESTRICTIONS,
)
DEFAULT_PROTECTION: Final = ("permit_mynetworks", "permit_sasl_authenticated", "defer_unauth_destination")
CONFIGURATION_ERROR: Final = Reply.of(451, "4.3.5", "Server configuration error")

# Restrictions of Postfix that take the next word as their argument.
_TAKES_ARGUMENT: Final = re.compile(
    r"check_\w+_access|check_policy_service|reject_rbl_client|permit_dnswl_client|reject_rhsbl_\w+|permit_rhswl_client"
    r"|sleep"
)
_TABLE: Final = re.compile(r"(?:proxy:)?[a-z0-9]+:.+", re.DOTALL)


class Entry(msgspec.Struct, frozen=True):
    """`restriction` None: nobody here knows it."""

    name: str
    argument: str
    restriction: Restriction | None


def parse_list(words: Sequence[str]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    left = iter(words)
    for word in left:
        if word.startswith("{") and word.endswith("}"):
            word = word[1:-1].strip()  # noqa: PLW2901 - { check_x_access table } is one restriction with its argument
            name, _, argument = word.partition(" ")
            entries.append(Entry(name, argument.strip().removeprefix("{").removesuffix("}").strip(), KNOWN.get(name)))
            continue
        name = word.lower() if word.lower() in KNOWN else word
        argument = next(left, "") if _TAKES_ARGUMENT.fullmatch(name) else ""
        # A bare table is short for the access check of its list (Postfix: check_…_access).
        if _TABLE.fullmatch(name) and name not in KNOWN:
            name, argument = "check_access", word
        entries.append(Entry(name, argument, KNOWN.get(name)))
    return tuple(entries)


def list_of(settings: Settings, parameter: Param[tuple[str, ...]]) -> tuple[Entry, ...]:
    words: tuple[str, ...] = settings[parameter]
    return parse_list(words)


def unsupported_restrictions(settings: Settings) -> list[tuple[str, str]]:
    """(parameter, restriction) for every restriction in force that would be answered 451 4.3.5."""
    return [
        (parameter.name, entry.name)
        for parameter in LISTS
        for entry in list_of(settings, parameter)
        if entry.restriction is None
    ]


def is_open_relay(settings: Settings) -> bool:
    """Does neither list of RCPT say who may relay? Then DEFAULT_PROTECTION stands in, and a warning says so."""
    entries = (
        *list_of(settings, own.SMTPD_RELAY_RESTRICTIONS),
        *list_of(settings, own.SMTPD_RECIPIENT_RESTRICTIONS),
    )
    return not any(entry.name in destinations.PROTECTS for entry in entries)


def evaluate(entries: tuple[Entry, ...], facts: Facts, codes: Codes, subject: Subject) -> Outcome:
    """The first answer counts. Raises Unanswered, Undecided."""
    for entry in entries:
        if entry.restriction is None:
            return CONFIGURATION_ERROR
        outcome = entry.restriction(facts, codes, subject)
        if outcome is not None:
            return outcome
    return None


__all__ = ["PERMIT", "Permit", "evaluate", "is_open_relay", "parse_list", "unsupported_restrictions"]
