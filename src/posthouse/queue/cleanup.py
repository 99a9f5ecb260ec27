"""From an envelope to the recipients of a queued message: virtual aliases, duplicates, limits.

Every recipient is expanded exactly once, here; what comes out is what the journal keeps. The common case (no virtual
aliases configured, or all answers at hand) needs no waiting and no callback.
"""

from collections.abc import Callable

from posthouse.core.address import Address
from posthouse.core.envelope import Envelope, Recipient
from posthouse.core.reply import MailError, Reply, TempFail
from posthouse.queue.lookups import Answer, Lookups
from posthouse.queue.message import QueuedRecipient
from posthouse.runtime.schema import Expansion

Expanded = list[QueuedRecipient]
Callback = Callable[[Expanded | MailError], None]

_FAILED = TempFail(Reply.of(451, "4.6.0", "Alias expansion error"))


class Cleanup:
    """`has_aliases` says whether virtual_alias_maps is set at all; `duplicate_limit` is duplicate_filter_limit."""

    def __init__(self, lookups: Lookups, *, has_aliases: bool, duplicate_limit: int, empty_recipient: Address) -> None:
        self._lookups = lookups
        self.has_aliases = has_aliases
        self.duplicate_limit = duplicate_limit
        self.empty_recipient = empty_recipient

    def recipients(self, envelope: Envelope, callback: Callback) -> None:
        """Calls back once, at once if nothing has to be asked."""
        if len(envelope.recipients) == 1:
            recipient = envelope.recipients[0]
            if not self.has_aliases:
                callback([self._queued(recipient, recipient.address)])
                return
            found = self._lookups.cached_expansion(recipient.address)
            if found is not None and len(found.recipients) == 1:
                callback([self._queued(recipient, found.recipients[0])])
                return
        _Run(self, self._lookups, envelope.recipients, callback).start()

    def _queued(self, recipient: Recipient, address: Address) -> QueuedRecipient:
        if not address.local_part and not address.domain:
            address = self.empty_recipient
        original = recipient.original or ("" if address == recipient.address else str(recipient.address))
        return QueuedRecipient(address, original, recipient.notify)

    def finish(self, recipients: tuple[Recipient, ...], answers: list[tuple[Address, ...]]) -> Expanded:
        """Each address once, in order; beyond the filter's limit duplicates pass, as in Postfix."""
        seen: set[str] = set()
        out: Expanded = []
        for recipient, addresses in zip(recipients, answers, strict=True):
            for address in addresses:
                queued = self._queued(recipient, address)
                key = queued.address.key
                if key in seen:
                    continue
                if not self.duplicate_limit or len(seen) < self.duplicate_limit:
                    seen.add(key)
                out.append(queued)
        return out


class _Run:
    """One envelope whose recipients are being looked up."""

    def __init__(
        self, cleanup: Cleanup, lookups: Lookups, recipients: tuple[Recipient, ...], callback: Callback
    ) -> None:
        self._cleanup = cleanup
        self._lookups = lookups
        self._recipients = recipients
        self._callback = callback
        self._answers: list[tuple[Address, ...]] = [(recipient.address,) for recipient in recipients]
        self._left = 1
        self._error: MailError | None = None

    def start(self) -> None:
        if self._cleanup.has_aliases:
            for number, recipient in enumerate(self._recipients):
                found = self._lookups.cached_expansion(recipient.address)
                if found is not None:
                    self._answers[number] = found.recipients
                else:
                    self._left += 1
                    self._lookups.expansion(recipient.address, self._taker(number))
        self._one_less()

    def _taker(self, number: int) -> Callable[[Answer], None]:
        def take(answer: Answer) -> None:
            if isinstance(answer, Expansion):
                self._answers[number] = answer.recipients
            else:
                self._error = answer if isinstance(answer, MailError) else _FAILED
            self._one_less()

        return take

    def _one_less(self) -> None:
        self._left -= 1
        if self._left:
            return
        self._callback(self._error or self._cleanup.finish(self._recipients, self._answers))
