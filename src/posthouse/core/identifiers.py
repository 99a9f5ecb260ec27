"""Identifiers, each a type of its own so that mypy keeps them apart."""

from typing import Final, NewType

QueueId = NewType("QueueId", str)
"""Names one accepted message in the queue and the log; never repeats, whatever the clock does."""

Uid = NewType("Uid", int)
"""RFC 9051 s2.3.1.1: survives the session, meaningless without its UidValidity."""

UidValidity = NewType("UidValidity", int)
SeqNum = NewType("SeqNum", int)
"""RFC 9051 s2.3.1.2: valid in one session, shifts after every EXPUNGE."""

ModSeq = NewType("ModSeq", int)
DeliveryId = NewType("DeliveryId", str)
"""queue id + recipient number + action number: names one delivery of one message to one mailbox, for ever."""

# The alphabets of Postfix's long queue ids, so that log analysers recognise ours: no vowels, and no "z" in the suffix.
_BASE52: Final = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_BASE51: Final = _BASE52[:-1]


_PAIRS: Final = tuple(high + low for high in _BASE52 for low in _BASE52)
"""Two digits at a time: ids are made for every message."""


def _digits(number: int, alphabet: str, width: int) -> str:
    out: list[str] = []
    base = len(alphabet)
    while number or len(out) < width:
        number, digit = divmod(number, base)
        out.append(alphabet[digit])
    return "".join(reversed(out))


class QueueIdSource:
    """Makes queue ids within one lease.

    The queue hands every process a lease number that was never used before and is durable before it is given out;
    within a lease the time part only moves forward. So ids are unique even if the clock is set back or stops.
    Form: 6+ base-52 digits of the second, 4 of the microsecond, "z", the lease in base 51.
    """

    def __init__(self, lease: int) -> None:
        self._suffix = "z" + _digits(lease, _BASE51, 1)
        self._last_us = 0
        self._second = -1
        self._second_digits = ""

    def next(self, now_s: float) -> QueueId:
        now_us = max(int(now_s * 1_000_000), self._last_us + 1)
        self._last_us = now_us
        second, microseconds = divmod(now_us, 1_000_000)
        if second != self._second:
            self._second = second
            self._second_digits = _digits(second, _BASE52, 6)
        high, low = divmod(microseconds, len(_PAIRS))
        return QueueId(f"{self._second_digits}{_PAIRS[high]}{_PAIRS[low]}{self._suffix}")


def lease_of(queue_id: QueueId) -> str:
    """The lease part of a queue id, as text; "" if it has none."""
    return queue_id.rpartition("z")[2]


def suffix_of_lease(lease: int) -> str:
    return _digits(lease, _BASE51, 1)


def delivery_id(queue_id: QueueId, recipient: int, action: int) -> DeliveryId:
    return DeliveryId(f"{queue_id}.{recipient}.{action}")
