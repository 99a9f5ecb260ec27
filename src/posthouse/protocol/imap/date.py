"""Dates and times of IMAP (RFC 3501 s9: date, date-time) and the Date: field for SENT searches, without a clock."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

from posthouse.protocol.imap.arguments import BadArguments

_MONTHS: Final = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH_NUMBER: Final = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
_DATE: Final = re.compile(rb"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})\Z")
_DATE_TIME: Final = re.compile(
    rb"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})\Z"
)
# RFC 5322 s3.3 and s4.3, as far as a day needs it: "Mon, 23 Nov 2026", "23 Nov 26".
_FIELD_DATE: Final = re.compile(rb"(?:[A-Za-z]{3,9}\s*,?\s*)?([0-9]{1,2})[\s-]+([A-Za-z]{3})[a-z]*[\s-]+([0-9]{2,4})")

_MINIMUM_S: Final = -62_135_596_800.0
_MAXIMUM_S: Final = 253_402_300_799.0


def parse_date(text: bytes) -> date:
    match = _DATE.match(text)
    if match is None or (month := _MONTH_NUMBER.get(match[2].lower())) is None:
        raise BadArguments("Invalid search date parameter")
    try:
        return date(int(match[3]), month, int(match[1]))
    except ValueError as error:
        raise BadArguments("Invalid search date parameter") from error


def parse_date_time(text: bytes) -> float:
    """Seconds since 1970 of an APPEND date."""
    match = _DATE_TIME.match(text)
    if match is None or (month := _MONTH_NUMBER.get(match[2].lower())) is None:
        raise BadArguments("Invalid internal date.")
    offset = timedelta(hours=int(match[8]), minutes=int(match[9]))
    try:
        zone = timezone(-offset if match[7] == b"-" else offset)
        return datetime(
            int(match[3]), month, int(match[1]), int(match[4]), int(match[5]), min(int(match[6]), 59), tzinfo=zone
        ).timestamp()
    except (ValueError, OverflowError) as error:
        raise BadArguments("Invalid internal date.") from error


_days: dict[int, bytes] = {}
_MAX_DAYS: Final = 20_000
"""Days whose texts are kept: fifty years of mail."""


def format_date_time(seconds: float) -> bytes:
    """INTERNALDATE, quoted. In UTC: the zone of the machine says nothing about the message."""
    day, second = divmod(int(min(max(seconds, _MINIMUM_S), _MAXIMUM_S)), 86400)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return b'%b %02d:%02d:%02d +0000"' % (_days.get(day) or _format_day(day), hour, minute, second)


def _format_day(day: int) -> bytes:
    moment = datetime.fromtimestamp(day * 86400, UTC)
    if len(_days) >= _MAX_DAYS:
        _days.clear()
    _days[day] = text = b'"%02d-%b-%04d' % (moment.day, _MONTHS[moment.month - 1], moment.year)
    return text


def start_of(day: date) -> float:
    """When a day begins, in the zone in which INTERNALDATE is shown."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def day_of_field(value: bytes) -> date | None:
    """The day a Date: field names, disregarding time and zone (RFC 3501 s6.4.4, SENTBEFORE); None if unreadable."""
    match = _FIELD_DATE.search(value)
    if match is None or (month := _MONTH_NUMBER.get(match[2].lower())) is None:
        return None
    year = int(match[3])
    if len(match[3]) < 4:
        # RFC 5322 s4.3: two digits from 50 and three digits are 1900 + n, below 50 are 2000 + n.
        year += 2000 if len(match[3]) == 2 and year < 50 else 1900
    try:
        return date(year, month, int(match[1]))
    except ValueError:
        return None
