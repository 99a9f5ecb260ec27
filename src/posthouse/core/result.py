"""What became of one delivery attempt to one recipient."""

import enum

import msgspec

from posthouse.core.address import Address


class DeliveryStatus(enum.Enum):
    SENT = "sent"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    REDIRECTED = "redirected"
    """Not an end: an alias or .forward named other recipients, who take its place."""


class RecipientResult(msgspec.Struct, frozen=True, array_like=True):
    """`index` is the recipient's number within the message; `dsn` the enhanced status (RFC 3463), `relay` as logged
    ("mx.example.net[192.0.2.1]:25", "virtual", "local", "none"), `text` what the peer or agent said.

    `connected_s` and `done_s` are seconds since the agent took the job (delays c and d of the log line).
    `remote_reply` holds the peer's own words for the DSN's Diagnostic-Code, when there was a peer.
    `redirect` names the recipients that take this one's place, with `redirect_owner` (owner- alias) as new sender.
    `dsn_passed`: the peer took over the duty to report (it announced DSN, RFC 3461 s5.2.2), so the queue says nothing.
    `is_uncertain`: deferred, but the message may have been delivered all the same; the next attempt looks first.
    """

    index: int
    status: DeliveryStatus
    dsn: str
    text: str
    relay: str = "none"
    connected_s: float = 0.0
    done_s: float = 0.0
    remote_mta: str = ""
    remote_reply: str = ""
    redirect: tuple[Address, ...] = ()
    redirect_owner: Address | None = None
    dsn_passed: bool = False
    is_uncertain: bool = False
