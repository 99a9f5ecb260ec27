"""Local aliases: recipients of class "local" that alias_maps sends elsewhere, expanded here so that no other process
needs the message more than once.

As in Postfix: an alias that names itself delivers to the user, the same target twice is one recipient, and a chain
that is too long bounces as a loop. With owner-NAME in the table, what NAME sends on has that address as sender.
"""

from typing import TYPE_CHECKING, Final

from posthouse.core.address import Address
from posthouse.core.aliases import BadAlias, Kind, Target, parse
from posthouse.core.envelope import Envelope, Recipient
from posthouse.core.reply import MailError
from posthouse.core.result import DeliveryStatus, RecipientResult
from posthouse.queue.active import Active
from posthouse.queue.cleanup import Cleanup, Expanded
from posthouse.queue.lookups import Answer, Lookups
from posthouse.queue.message import Message, QueuedRecipient
from posthouse.queue.record import Redirect
from posthouse.runtime.schema import AliasExpansion, Resolution

if TYPE_CHECKING:
    from posthouse.queue.placement import Placement

_PREFIXES: Final = {Kind.COMMAND: "|", Kind.FILE: "", Kind.INCLUDE: ":include:"}
_LOOP: Final = "5.4.6"


class Aliasing:
    """The rules; the manager owns the messages."""

    def __init__(
        self,
        lookups: Lookups,
        cleanup: Cleanup,
        *,
        delimiter: str,
        myorigin: str,
        nesting_limit: int,
        recipient_limit: int,
        owner_special: bool,
        has_aliases: bool,
    ) -> None:
        self._lookups = lookups
        self._cleanup = cleanup
        self._delimiter = delimiter
        self._myorigin = myorigin
        self._nesting_limit = nesting_limit
        self._recipient_limit = recipient_limit
        self._owner_special = owner_special
        self._has_aliases = has_aliases

    def names(self, local_part: str) -> list[str]:
        """What to look up, best first: the whole local part, then without the extension."""
        name = local_part.lower()
        names = [name]
        if self._owner_special and (name.startswith("owner-") or name.endswith("-request")):
            return names
        at = min((found for mark in self._delimiter if (found := name.find(mark)) > 0), default=-1)
        if at > 0:
            names.append(name[:at])
        return names

    def look_up(
        self, placement: "Placement", active: Active, index: int, recipient: QueuedRecipient, route: Resolution
    ) -> None:
        if not self._has_aliases:
            placement.deliver_locally(active, index, recipient, route)
            return
        self._next(placement, active, index, route, self.names(recipient.address.local_part))

    def _next(self, placement: "Placement", active: Active, index: int, route: Resolution, names: list[str]) -> None:
        """Try the first of `names`, then the others."""
        recipient = active.message.recipients.get(index)
        if recipient is None:
            return
        # An alias that names itself: sendmail's way to say "and the user too".
        if not names or names[0] == recipient.alias:
            placement.deliver_locally(active, index, recipient, route)
            return
        name, rest = names[0], names[1:]
        found = self._lookups.cached_alias(name)
        if found is not None:
            self._found(placement, active, index, route, name, rest, found)
            return
        answered = placement.look_up_later(active)

        def take(answer: Answer) -> None:
            if isinstance(answer, AliasExpansion):
                self._found(placement, active, index, route, name, rest, answer)
            elif index in active.message.recipients:
                placement.rounds.end_inside(
                    active, index, DeliveryStatus.DEFERRED, "4.3.0", "alias database unavailable"
                )
            answered()

        self._lookups.alias(name, take)

    def _found(
        self,
        placement: "Placement",
        active: Active,
        index: int,
        route: Resolution,
        name: str,
        rest: list[str],
        found: AliasExpansion,
    ) -> None:
        recipient = active.message.recipients.get(index)
        if recipient is None:
            return
        if found.value is None:
            self._next(placement, active, index, route, rest)
        else:
            self._expand(placement, active, index, recipient, name, found)

    def _expand(
        self,
        placement: "Placement",
        active: Active,
        index: int,
        recipient: QueuedRecipient,
        name: str,
        found: AliasExpansion,
    ) -> None:
        message = active.message
        if recipient.level >= self._nesting_limit:
            placement.rounds.end_inside(active, index, DeliveryStatus.BOUNCED, _LOOP, f"alias database loop for {name}")
            return
        try:
            items = parse(found.value or "")
        except BadAlias as error:
            # The administrator's mistake, not the sender's: the message waits until it is mended.
            words = f"alias {name} in alias_maps cannot be understood: {error}"
            placement.rounds.end_inside(active, index, DeliveryStatus.DEFERRED, "4.3.5", words)
            return
        if not items:
            placement.rounds.end_inside(active, index, DeliveryStatus.BOUNCED, "5.2.4", f"alias {name} names nobody")
            return
        if len(message.recipients) + len(items) > self._recipient_limit:
            words = f"alias {name} has more recipients than redirect_recipient_limit allows"
            placement.rounds.end_inside(active, index, DeliveryStatus.BOUNCED, "5.3.3", words)
            return
        owner = recipient.owner
        if found.owner and self._owner_special:
            owner = Address(f"owner-{name}", self._myorigin)
        local = [self._derived(recipient, name, owner, item) for item in items if not _is_foreign(item)]
        foreign = tuple(
            Recipient(Address.split(item.text), "", recipient.notify) for item in items if _is_foreign(item)
        )
        answered = placement.look_up_later(active)

        def expanded(result: Expanded | MailError) -> None:
            if index in message.recipients:
                if isinstance(result, MailError):
                    words = f"alias {name}: {result.reply.text}"
                    placement.rounds.end_inside(active, index, DeliveryStatus.DEFERRED, "4.6.0", words)
                else:
                    for one in result:
                        one.original = recipient.original or str(recipient.address)
                        one.owner, one.alias, one.level = owner, name, recipient.level + 1
                    new = _new_only(message, index, [*local, *result])
                    placement.rounds.redirect(active, Redirect(message.queue_id, index, tuple(new)))
            answered()

        if foreign:
            self._cleanup.recipients(Envelope(message.sender, foreign), expanded)
        else:
            expanded([])

    def _derived(self, recipient: QueuedRecipient, name: str, owner: Address | None, item: Target) -> QueuedRecipient:
        mailbox = ""
        address = recipient.address
        if item.kind is Kind.ADDRESS:
            address = Address(item.text, self._myorigin)
        else:
            mailbox = _PREFIXES[item.kind] + item.text
        return QueuedRecipient(
            address,
            recipient.original or str(recipient.address),
            recipient.notify,
            mailbox=mailbox,
            owner=owner,
            # "\\user" is the user himself: as if he had been named by an alias of his own name.
            alias=item.text.lower() if item.is_final else name,
            level=recipient.level + 1,
        )

    def redirect(self, message: Message, result: RecipientResult) -> Redirect | RecipientResult:
        """What an agent found in a .forward or an :include: file; a result in its place if that goes too far."""
        recipient = message.recipients[result.index]
        if recipient.level >= self._nesting_limit:
            return RecipientResult(result.index, DeliveryStatus.BOUNCED, _LOOP, "mail forwarding loop", result.relay)
        if len(message.recipients) + len(result.redirect) > self._recipient_limit:
            words = "more recipients than redirect_recipient_limit allows"
            return RecipientResult(result.index, DeliveryStatus.BOUNCED, "5.3.3", words, result.relay)
        new = [
            QueuedRecipient(
                target if target.domain else target.with_domain(self._myorigin),
                recipient.original or str(recipient.address),
                recipient.notify,
                owner=result.redirect_owner or recipient.owner,
                alias=recipient.alias or recipient.address.local_part.lower(),
                level=recipient.level + 1,
            )
            for target in result.redirect
        ]
        return Redirect(message.queue_id, result.index, tuple(_new_only(message, result.index, new)))


def _is_foreign(item: Target) -> bool:
    """An address with a domain of its own: virtual aliases apply to it as to any other recipient."""
    return item.kind is Kind.ADDRESS and "@" in item.text


def _new_only(message: Message, index: int, new: list[QueuedRecipient]) -> list[QueuedRecipient]:
    """Nobody gets a second copy because two aliases name him."""
    seen = {(one.address.key, one.mailbox) for number, one in message.recipients.items() if number != index}
    out: list[QueuedRecipient] = []
    for one in new:
        key = (one.address.key, one.mailbox)
        if key not in seen:
            seen.add(key)
            out.append(one)
    return out
