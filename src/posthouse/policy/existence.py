"""Do sender and recipient exist, as far as we can know? Whoever is told during RCPT needs no bounce later."""

from collections.abc import Mapping
from typing import Final

from posthouse.core.reply import Reply
from posthouse.policy.facts import Facts, Subject
from posthouse.policy.restriction import Codes, Outcome, Restriction, rejected
from posthouse.runtime.schema import Resolution

TABLES: Final[Mapping[str, str]] = {
    "local": "local recipient table",
    "relay": "relay recipient table",
    "virtual_alias": "virtual alias table",
    "virtual_mailbox": "virtual mailbox table",
}


def reject_unlisted_recipient(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    if facts.recipient is None:
        return None
    return _unlisted(facts, codes, Subject.RECIPIENT, facts.destination(), "1.1")


def reject_unlisted_sender(facts: Facts, codes: Codes, subject: Subject) -> Outcome:  # noqa: ARG001 - a Restriction
    if facts.sender is None:
        return None
    return _unlisted(facts, codes, Subject.SENDER, facts.origin(), "1.0")


def _unlisted(facts: Facts, codes: Codes, subject: Subject, resolution: Resolution, detail: str) -> Outcome:
    error = resolution.error_reply
    if not resolution.known:
        table = TABLES.get(resolution.address_class, "")
        words = f"User unknown in {table}" if table and codes.shows_table else "User unknown"
        code = codes.unknown_recipient.get(resolution.address_class, 550)
        return rejected(facts, subject, code, detail, words)
    if error is None:
        return None
    words = f"<{facts.name_of(subject)}>: {subject.value} rejected: {error.text}"
    return Reply.of(error.code, error.status, words)


RESTRICTIONS: Final[Mapping[str, Restriction]] = {
    "reject_unlisted_recipient": reject_unlisted_recipient,
    "check_recipient_maps": reject_unlisted_recipient,
    "reject_unlisted_sender": reject_unlisted_sender,
}
