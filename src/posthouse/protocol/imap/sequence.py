"""Sets of message numbers (RFC 3501 s9, sequence-set): read, resolved against a mailbox, and written short."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from posthouse.protocol.imap.arguments import BadArguments

_RANGE: Final = re.compile(rb"(?:([1-9][0-9]{0,9})|\*)(?::(?:([1-9][0-9]{0,9})|(\*)))?\Z")
_MAX_NUMBER: Final = (1 << 32) - 1

INVALID: Final = "Invalid messageset"


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """Ranges as written; None stands for "*", the highest number in the mailbox."""

    ranges: tuple[tuple[int | None, int | None], ...]

    def _bounds(self, highest: int) -> list[tuple[int, int]]:
        """Ascending and disjoint ranges, "*" being `highest`."""
        bounds: list[tuple[int, int]] = []
        for first, last in self.ranges:
            low = highest if first is None else first
            high = highest if last is None else last
            # RFC 3501 s9: 4:2 and 2:4 are the same.
            bounds.append((low, high) if low <= high else (high, low))
        if len(bounds) == 1:
            return bounds
        bounds.sort()
        merged = [bounds[0]]
        for low, high in bounds[1:]:
            if low <= merged[-1][1] + 1:
                if high > merged[-1][1]:
                    merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        return merged

    def numbers(self, count: int) -> list[range]:
        """As message sequence numbers in a mailbox of `count` messages; a number beyond is an error (RFC 3501 s7.4.1
        makes them mean nothing)."""
        if count == 0:
            # "*" and "1:*" are what clients send before they looked; nothing is selected by them.
            if any(first is not None and last is not None for first, last in self.ranges):
                raise BadArguments(INVALID)
            return []
        bounds = self._bounds(count)
        if bounds[-1][1] > count:
            raise BadArguments(INVALID)
        return [range(low, high + 1) for low, high in bounds]

    def uid_bounds(self, highest: int) -> list[tuple[int, int]]:
        """As UIDs: ascending, disjoint (first, last); UIDs that do not exist are simply not there (RFC 3501 s6.4.8)."""
        return self._bounds(highest)


def parse_sequence_set(text: bytes) -> SequenceSet:
    """Raises BadArguments. The number of ranges is bounded by the length of a line."""
    ranges: list[tuple[int | None, int | None]] = []
    for piece in text.split(b","):
        match = _RANGE.match(piece)
        if match is None:
            raise BadArguments(INVALID)
        first = int(match[1]) if match[1] else None
        last = int(match[2]) if match[2] else None if match[3] else first
        if (first or 0) > _MAX_NUMBER or (last or 0) > _MAX_NUMBER:
            raise BadArguments(INVALID)
        ranges.append((first, last))
    return SequenceSet(tuple(ranges))


def format_sequence_set(numbers: Sequence[int] | Iterable[int]) -> bytes:
    """Numbers in the order given, runs as ranges (COPYUID needs the order, RFC 4315 s3)."""
    pieces: list[bytes] = []
    first = last = 0
    for number in numbers:
        if number == last + 1 and first:
            last = number
            continue
        if first:
            pieces.append(b"%d" % first if first == last else b"%d:%d" % (first, last))
        first = last = number
    if first:
        pieces.append(b"%d" % first if first == last else b"%d:%d" % (first, last))
    return b",".join(pieces)
