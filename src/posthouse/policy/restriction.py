"""What a restriction is: a function from facts to one of three answers."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from posthouse.config.parameter import Param, Settings
from posthouse.config.parameters import smtpd as own
from posthouse.core.reply import Reply
from posthouse.policy.facts import Facts, Subject


class Permit(enum.Enum):
    PERMIT = "permit"


PERMIT: Final = Permit.PERMIT

Outcome = Reply | Permit | None
"""A refusal; the end of this list; or nothing to say (Postfix's DUNNO)."""


@dataclass(frozen=True, slots=True)
class Codes:
    """Reply codes and wording, from the settings of one listener."""

    reject: int
    defer: int
    relay: int
    non_fqdn: int
    invalid_hostname: int
    plaintext: int
    multi_recipient_bounce: int
    unknown_client: int
    unknown_recipient: dict[str, int]
    """By address class."""
    shows_table: bool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings[own.REJECT_CODE],
            settings[own.DEFER_CODE],
            settings[own.RELAY_DOMAINS_REJECT_CODE],
            settings[own.NON_FQDN_REJECT_CODE],
            settings[own.INVALID_HOSTNAME_REJECT_CODE],
            settings[own.PLAINTEXT_REJECT_CODE],
            settings[own.MULTI_RECIPIENT_BOUNCE_REJECT_CODE],
            settings[own.UNKNOWN_CLIENT_REJECT_CODE],
            {name: settings[parameter] for name, parameter in _UNKNOWN_RECIPIENT.items()},
            settings[own.SHOW_USER_UNKNOWN_TABLE_NAME],
        )


_UNKNOWN_RECIPIENT: Final[dict[str, Param[int]]] = {
    "local": own.UNKNOWN_LOCAL_RECIPIENT_REJECT_CODE,
    "relay": own.UNKNOWN_RELAY_RECIPIENT_REJECT_CODE,
    "virtual_alias": own.UNKNOWN_VIRTUAL_ALIAS_REJECT_CODE,
    "virtual_mailbox": own.UNKNOWN_VIRTUAL_MAILBOX_REJECT_CODE,
}

Restriction = Callable[[Facts, Codes, Subject], Outcome]


def refusal(code: int, detail: str, words: str) -> Reply:
    """`detail` is the enhanced status without its class, which follows the code (RFC 3463 s2)."""
    return Reply.of(code, f"{code // 100}.{detail}", words)


def rejected(facts: Facts, subject: Subject, code: int, detail: str, words: str) -> Reply:
    """In Postfix's form: "<name>: Sender address rejected: words"."""
    return refusal(code, detail, f"<{facts.name_of(subject)}>: {subject.value} rejected: {words}")
