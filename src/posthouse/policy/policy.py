"""Which restriction lists are evaluated when, for one listener.

Every method returns the refusal or None, and raises `Unanswered` if a question must be answered first. A list that
permits ends itself only: the next list is evaluated all the same.
"""

from posthouse.config.parameter import Param, Settings
from posthouse.config.parameters import smtpd as own
from posthouse.core.reply import Reply
from posthouse.policy.existence import reject_unlisted_recipient, reject_unlisted_sender
from posthouse.policy.facts import Facts, Subject, Undecided
from posthouse.policy.lists import DEFAULT_PROTECTION, Entry, evaluate, is_open_relay, list_of, parse_list
from posthouse.policy.restriction import Codes


class Policy:
    def __init__(self, settings: Settings) -> None:
        def entries(parameter: Param[tuple[str, ...]]) -> tuple[Entry, ...]:
            return list_of(settings, parameter)

        self._codes = Codes.of(settings)
        self.delays_reject = settings[own.SMTPD_DELAY_REJECT]
        self._client = entries(own.SMTPD_CLIENT_RESTRICTIONS)
        self._helo = entries(own.SMTPD_HELO_RESTRICTIONS)
        self._sender = entries(own.SMTPD_SENDER_RESTRICTIONS)
        self._data = entries(own.SMTPD_DATA_RESTRICTIONS)
        self._end_of_data = entries(own.SMTPD_END_OF_DATA_RESTRICTIONS)
        self._etrn = entries(own.SMTPD_ETRN_RESTRICTIONS)
        relay = entries(own.SMTPD_RELAY_RESTRICTIONS)
        self.lacks_protection = is_open_relay(settings)
        if self.lacks_protection:
            relay = parse_list(DEFAULT_PROTECTION)
        recipient = entries(own.SMTPD_RECIPIENT_RESTRICTIONS)
        relay_first = settings[own.SMTPD_RELAY_BEFORE_RECIPIENT_RESTRICTIONS]
        self._recipient = (relay, recipient) if relay_first else (recipient, relay)
        self._checks_recipient = settings[own.SMTPD_REJECT_UNLISTED_RECIPIENT]
        self._checks_sender = settings[own.SMTPD_REJECT_UNLISTED_SENDER]
        self._has_early_lists = bool(self._client or self._helo or self._sender or self._checks_sender)

    def at_connect(self, facts: Facts) -> Reply | None:
        return None if self.delays_reject else self._of(self._client, facts, Subject.CLIENT)

    def at_helo(self, facts: Facts) -> Reply | None:
        return None if self.delays_reject else self._of(self._helo, facts, Subject.HELO)

    def at_mail(self, facts: Facts) -> Reply | None:
        return None if self.delays_reject else self._of_sender(facts)

    def at_rcpt(self, facts: Facts) -> Reply | None:
        recipient = facts.recipient
        assert recipient is not None
        # RFC 5321 s4.1.1.3: <postmaster> without a domain is always accepted.
        if not recipient.domain and recipient.local_part.lower() == "postmaster":
            return None
        if self.delays_reject and self._has_early_lists:
            reply = self._of(self._client, facts, Subject.CLIENT)
            if reply is None and facts.helo:
                reply = self._of(self._helo, facts, Subject.HELO)
            reply = reply or self._of_sender(facts)
            if reply is not None:
                return reply
        for entries in self._recipient:
            reply = self._of(entries, facts, Subject.RECIPIENT)
            if reply is not None:
                return reply
        return self._unlisted_recipient(facts)

    def at_data(self, facts: Facts) -> Reply | None:
        return self._of(self._data, facts, Subject.DATA) if self._data else None

    @property
    def looks_at_end_of_data(self) -> bool:
        return bool(self._end_of_data)

    def at_end_of_data(self, facts: Facts) -> Reply | None:
        return self._of(self._end_of_data, facts, Subject.END_OF_DATA) if self._end_of_data else None

    def at_etrn(self, facts: Facts) -> Reply | None:
        if self.delays_reject:
            reply = self._of(self._client, facts, Subject.CLIENT)
            if reply is None and facts.helo:
                reply = self._of(self._helo, facts, Subject.HELO)
            if reply is not None:
                return reply
        return self._of(self._etrn, facts, Subject.ETRN)

    def for_vrfy(self, facts: Facts) -> Reply | None:
        """VRFY tells what RCPT would tell."""
        return self.at_rcpt(facts)

    def _of(self, entries: tuple[Entry, ...], facts: Facts, subject: Subject) -> Reply | None:
        if not entries:
            return None
        try:
            outcome = evaluate(entries, facts, self._codes, subject)
        except Undecided as undecided:
            return undecided.reply
        return outcome if isinstance(outcome, Reply) else None

    def _of_sender(self, facts: Facts) -> Reply | None:
        reply = self._of(self._sender, facts, Subject.SENDER)
        if reply is not None or not self._checks_sender:
            return reply
        try:
            outcome = reject_unlisted_sender(facts, self._codes, Subject.SENDER)
        except Undecided as undecided:
            return undecided.reply
        return outcome if isinstance(outcome, Reply) else None

    def _unlisted_recipient(self, facts: Facts) -> Reply | None:
        try:
            destination = facts.destination()
            if not self._checks_recipient or (destination.known and destination.error_reply is None):
                return None
            outcome = reject_unlisted_recipient(facts, self._codes, Subject.RECIPIENT)
        except Undecided as undecided:
            return undecided.reply
        return outcome if isinstance(outcome, Reply) else None
