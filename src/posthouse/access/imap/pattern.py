"""Patterns of LIST and LSUB (RFC 3501 s6.3.8): "*" stands for anything, "%" for anything within one level.

All positions that a name can be matched up to are followed together, so that no pattern takes more than (wildcards x
length) steps.
"""

import re
from typing import Final

MAX_WILDCARDS: Final = 32
"""Wildcards in one pattern; one with more matches nothing."""

_WILDCARDS: Final = re.compile(r"[*%]+")


class Pattern:
    def __init__(self, text: str, separator: str) -> None:
        self._separator = separator
        self._text = text
        self._literals = _WILDCARDS.split(text)
        # "%*" is "*".
        self._any_level = ["*" in run for run in _WILDCARDS.findall(text)]

    def matches(self, name: str) -> bool:
        if len(self._any_level) > MAX_WILDCARDS:
            return False
        if not self._any_level:
            # RFC 3501 s5.1: INBOX is INBOX in any case.
            return self._text == name or (name == "INBOX" and self._text.upper() == name)
        return self._follow(name, self._literals) or (
            name == "INBOX" and self._follow(name, [literal.upper() for literal in self._literals])
        )

    def _follow(self, name: str, literals: list[str]) -> bool:
        if not name.startswith(literals[0]):
            return False
        reached = {len(literals[0])}
        for any_level, literal in zip(self._any_level, literals[1:], strict=True):
            following: set[int] = set()
            # Behind "*" only the first position counts: from there all others can be skipped to.
            for start in [min(reached)] if any_level else sorted(reached):
                limit = len(name)
                if not any_level:
                    level_end = name.find(self._separator, start)
                    limit = level_end + len(literal) if level_end >= 0 else limit
                at = name.find(literal, start, limit)
                while at >= 0:
                    following.add(at + len(literal))
                    at = name.find(literal, at + 1, limit)
            if not following:
                return False
            reached = following
        return len(name) in reached
