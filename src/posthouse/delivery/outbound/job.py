"""One job from the queue: what is still to be delivered, what was decided, and how both are told."""

import os
import re
from typing import Final

from posthouse.core.address import Address
from posthouse.core.delivery_line import DeliveryLine
from posthouse.core.result import DeliveryStatus, RecipientResult
from posthouse.delivery.outbound.hosts import Host
from posthouse.delivery.outbound.session import Content, SessionError
from posthouse.protocol.smtp.client_features import Features
from posthouse.protocol.smtp.client_reply import ServerReply
from posthouse.protocol.smtp.client_transaction import Outcome, RecipientCommand, Stage, Transaction
from posthouse.runtime.schema import Deliver, JobRecipient, Outcomes
from posthouse.tables.domains import domain_key

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f]")
_NOTIFY: Final = frozenset({"NEVER", "SUCCESS", "FAILURE", "DELAY"})
HEADER_LOOK_OCTETS: Final = 64 * 1024
"""Of a large message's header, to see whether it needs SMTPUTF8."""


def path_of(address: Address | None) -> str:
    """The address between angle brackets. A domain beside an ASCII local part goes as A-labels, which every server
    understands (RFC 5890); the rest needs SMTPUTF8."""
    if address is None:
        return ""
    if not address.domain.isascii() and address.local_part.isascii():
        address = address.with_domain(domain_key(address.domain))
    return str(address)


class Job:
    """`pending` are the recipients without a final result; `soft` their last temporary failure at a server."""

    __slots__ = (
        "_paths",
        "connected_s",
        "content",
        "descriptor",
        "heard",
        "pending",
        "received_s",
        "request",
        "results",
        "sender",
        "soft",
        "started",
        "utf8",
    )

    def __init__(self, request: Deliver, descriptors: list[int], now_s: float, monotonic: float) -> None:
        self.request = request
        self.received_s = now_s
        self.started = monotonic
        self.connected_s = 0.0
        self.descriptor = descriptors[0] if descriptors else -1
        self.content: Content = request.content if self.descriptor < 0 else (self.descriptor, request.size)
        self.sender = path_of(request.sender)
        self._paths = {one.index: path_of(one.address) for one in request.recipients}
        self.pending: list[JobRecipient] = list(request.recipients)
        self.results: list[RecipientResult] = []
        self.soft: dict[int, RecipientResult] = {}
        self.heard = False
        """Has a server said anything about a recipient?"""
        self.utf8 = self._needs_utf8()

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _needs_utf8(self) -> bool:
        """RFC 6531 s3.4: only what could not be understood otherwise; many servers do not offer SMTPUTF8."""
        if not self.sender.isascii():
            return True
        if not all(map(str.isascii, self._paths.values())):
            return True
        if not self.request.smtputf8:
            return False
        head = self.request.content or b""
        if self.descriptor >= 0:
            head = os.pread(self.descriptor, HEADER_LOOK_OCTETS, 0)
        end = head.find(b"\r\n\r\n")
        return not (head if end < 0 else head[:end]).isascii()

    # ── what is said to a server ──

    def transaction(self) -> Transaction:
        request = self.request
        return Transaction(
            self.sender,
            [
                RecipientCommand(
                    self._paths[one.index],
                    tuple(word for word in one.notify if word in _NOTIFY) if one.notify else (),
                    one.original,
                )
                for one in self.pending
            ],
            size=request.size,
            body=request.body,
            smtputf8=self.utf8,
            ret=request.ret if request.ret in ("FULL", "HDRS") else "",
            envid=request.envid,
            context=tuple(self.pending),
        )

    def refuse_unsafe(self) -> None:
        """An address with control characters could say commands of its own."""
        if _UNSAFE.search(self.sender):
            self.bounce_all("5.1.7", "bad address syntax")
        for one in tuple(self.pending):
            if _UNSAFE.search(self._paths[one.index]):
                self.settle(one, DeliveryStatus.BOUNCED, "5.1.3", "bad address syntax")

    def refuse_impossible(self, features: Features, host: Host) -> None:
        """What this server says it cannot take; for good, because another server of the destination says the same."""
        if features.size and self.request.size > features.size:
            self.bounce_all(
                "5.3.4",
                f"message size {self.request.size} exceeds size limit {features.size} of server {host.label}",
                host.relay,
            )
        elif self.utf8 and not features.smtputf8:
            self.bounce_all("5.6.7", f"SMTPUTF8 is required, but was not offered by host {host.label}", host.relay)

    # ── what came of it ──

    def settle(
        self,
        recipient: JobRecipient,
        status: DeliveryStatus,
        dsn: str,
        words: str,
        relay: str = "none",
    ) -> None:
        self.pending.remove(recipient)
        self.results.append(RecipientResult(recipient.index, status, dsn, words, relay))

    def bounce_all(self, dsn: str, words: str, relay: str = "none") -> None:
        for one in tuple(self.pending):
            self.settle(one, DeliveryStatus.BOUNCED, dsn, words, relay)

    def take(self, transaction: Transaction, features: Features, host: Host) -> None:
        """The outcomes of a transaction: what is final leaves `pending`, what is temporary is remembered in `soft`."""
        recipients = transaction.context
        assert isinstance(recipients, tuple)
        for recipient, outcome in zip(recipients, transaction.outcomes, strict=True):
            if outcome is None:
                continue
            self.heard = True
            result = self._result(recipient, outcome, features, host)
            if result.status is DeliveryStatus.DEFERRED:
                self.soft[recipient.index] = result
            else:
                self.soft.pop(recipient.index, None)
                self.pending.remove(recipient)
                self.results.append(result)

    def _result(self, recipient: JobRecipient, outcome: Outcome, features: Features, host: Host) -> RecipientResult:
        reply = outcome.reply
        sent = reply.positive and outcome.stage is Stage.END_OF_DATA
        if sent:
            status, words = DeliveryStatus.SENT, reply.text
        else:
            status = DeliveryStatus.BOUNCED if reply.code >= 500 else DeliveryStatus.DEFERRED
            words = f"host {host.label} said: {reply.text} (in reply to {outcome.stage.value} command)"
        return RecipientResult(
            recipient.index,
            status,
            reply.status,
            words,
            host.relay,
            remote_mta=host.name,
            remote_reply=reply.text,
            dsn_passed=sent and features.dsn,
        )

    def end(self, error: SessionError | None, host: Host | None) -> None:
        """Nobody else to try: every recipient that is left is deferred (or bounced, if the last word was for good)."""
        for one in tuple(self.pending):
            result = self.soft.pop(one.index, None)
            if result is not None:
                self.pending.remove(one)
                self.results.append(result)
                continue
            if error is None:
                error = SessionError("4.3.0", "server unavailable or unable to receive mail")
            reply: ServerReply | None = error.reply
            self.pending.remove(one)
            self.results.append(
                RecipientResult(
                    one.index,
                    DeliveryStatus.BOUNCED if error.hard else DeliveryStatus.DEFERRED,
                    error.dsn,
                    error.words,
                    host.relay if host is not None and not error.connect else "none",
                    remote_mta=host.name if host is not None and reply is not None else "",
                    remote_reply=reply.text if reply is not None else "",
                )
            )

    def lines(self, kind: type[DeliveryLine], done_s: float) -> list[DeliveryLine]:
        """The log lines, for results in their order."""
        request = self.request
        delays = (
            max(request.active_s - request.arrived_s, 0.0),
            max(self.received_s - request.active_s, 0.0),
            self.connected_s,
            max(done_s - self.connected_s, 0.0),
        )
        by_index = {one.index: one for one in request.recipients}
        return [
            kind(
                request.queue_id,
                str(by_index[result.index].address),
                by_index[result.index].original,
                result.relay,
                delays,
                result.dsn,
                result.status.value,
                result.text,
            )
            for result in self.results
        ]

    def outcomes(self, done_s: float) -> Outcomes:
        failed = not self.heard and any(one.status is DeliveryStatus.DEFERRED for one in self.results)
        return Outcomes(
            tuple(
                RecipientResult(
                    one.index,
                    one.status,
                    one.dsn,
                    one.text,
                    one.relay,
                    self.connected_s,
                    done_s,
                    one.remote_mta,
                    one.remote_reply,
                    dsn_passed=one.dsn_passed,
                )
                for one in self.results
            ),
            destination_failed=failed,
        )
