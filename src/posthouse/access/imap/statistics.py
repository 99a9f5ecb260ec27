"""The counters that Dovecot's log line at the end of a session has (imap_logout_format)."""

import re
from dataclasses import dataclass
from typing import Final

_FIELD: Final = re.compile(r"%(?:\{([a-z_]+)\}|([a-z]))")


@dataclass(slots=True)
class Statistics:
    deleted: int = 0
    expunged: int = 0
    trashed: int = 0
    header_count: int = 0
    header_octets: int = 0
    body_count: int = 0
    body_octets: int = 0

    def text(self, template: str, in_octets: int, out_octets: int) -> str:
        values = {
            "i": in_octets,
            "input": in_octets,
            "o": out_octets,
            "output": out_octets,
            "deleted": self.deleted,
            "expunged": self.expunged,
            "trashed": self.trashed,
            "fetch_hdr_count": self.header_count,
            "fetch_hdr_bytes": self.header_octets,
            "fetch_body_count": self.body_count,
            "fetch_body_bytes": self.body_octets,
        }
        return _FIELD.sub(lambda match: str(values.get(match[1] or match[2], match[0])), template)
