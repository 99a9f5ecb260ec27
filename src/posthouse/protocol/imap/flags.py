"""Flags on the wire (RFC 3501 s2.3.2)."""

import re
from collections.abc import Iterable
from typing import Final

from posthouse.protocol.imap.arguments import MAX_FLAG_LENGTH, BadArguments

RECENT: Final = "\\Recent"
SYSTEM_FLAGS: Final = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")
"""In the order in which Dovecot lists them."""

MAX_FLAGS: Final = 64
"""Flags in one command; more than the keywords one can keep in mind, fewer than would swell the index."""

_BY_NAME: Final = {flag.lower(): flag for flag in SYSTEM_FLAGS}
_ORDER: Final = {flag: number for number, flag in enumerate(SYSTEM_FLAGS)}
_KEYWORD: Final = re.compile(r"""[^\x00-\x20\x7f-\U0010ffff()\{%*"\\\]]+\Z""")


def checked_flags(names: Iterable[str]) -> frozenset[str]:
    """System flags in their usual spelling, keywords as they are; BadArguments for what cannot be stored."""
    flags: set[str] = set()
    for name in names:
        if name.startswith("\\"):
            flag = _BY_NAME.get(name.lower())
            if flag is None:
                raise BadArguments(f"Invalid system flag {name}")
            flags.add(flag)
        else:
            flags.add(name)
        if len(flags) > MAX_FLAGS:
            raise BadArguments("Too many flags.")
    return frozenset(flags)


def is_keyword(name: str) -> bool:
    return len(name) <= MAX_FLAG_LENGTH and _KEYWORD.match(name) is not None


class FlagTexts:
    """The text of every set of flags, made once: a large mailbox has a few dozen different sets.

    Bounded, because a client may make up as many sets as it has messages.
    """

    MAX_SETS: Final = 4096

    def __init__(self) -> None:
        self._texts: dict[frozenset[str], bytes] = {}
        self._recent_texts: dict[frozenset[str], bytes] = {}

    def text(self, flags: frozenset[str], *, recent: bool) -> bytes:
        """FLAGS (…)"""
        known = self._recent_texts if recent else self._texts
        found = known.get(flags)
        if found is None:
            if len(known) >= self.MAX_SETS:
                known.clear()
            known[flags] = found = b"FLAGS " + format_flags(flags, recent=recent)
        return found

    def plain(self) -> dict[frozenset[str], bytes]:
        """The texts without \\Recent, for the inner loop of FETCH."""
        return self._texts


def format_flags(flags: Iterable[str], *, recent: bool = False) -> bytes:
    """In parentheses: system flags in their order, \\Recent, keywords."""
    system = sorted((flag for flag in flags if flag in _ORDER), key=_ORDER.__getitem__)
    # A keyword that a foreign program stored and that cannot be written as an atom must not break the protocol.
    keywords = sorted(flag for flag in flags if flag not in _ORDER and is_keyword(flag))
    words = [*system, RECENT, *keywords] if recent else [*system, *keywords]
    return b"(" + " ".join(words).encode("ascii") + b")"
