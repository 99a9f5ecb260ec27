"""Dates as they stand in header fields: RFC 5322 s3.3, in local time, with the zone's name as a comment (Postfix)."""

import time
from functools import lru_cache
from typing import Final

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def format_date(at_s: float) -> str:
    """ "Mon, 23 Nov 2026 13:28:16 +0100 (CET)"; strftime would name days in the process's language."""
    return _format(int(at_s))


@lru_cache(maxsize=4)
def _format(at_s: int) -> str:
    at = time.localtime(at_s)
    offset = at.tm_gmtoff // 60
    sign, offset = ("-", -offset) if offset < 0 else ("+", offset)
    zone = f" ({at.tm_zone})" if at.tm_zone else ""
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday:2d} {_MONTHS[at.tm_mon - 1]} {at.tm_year}"
        f" {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} {sign}{offset // 60:02d}{offset % 60:02d}{zone}"
    )
