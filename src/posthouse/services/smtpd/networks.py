"""Lists of client networks (mynetworks and its relatives) as a jailed process can use them.

Networks are matched here. A list that names tables is asked of the tables process as a whole, under its parameter.
"""

from collections.abc import Sequence

from posthouse.tables.cidr import Network, contains, parse_address
from posthouse.tables.matching import Broken, Style, parse_entries
from posthouse.tables.table import Table

ParsedAddress = tuple[int, int]


class _Elsewhere(Table):
    """Stands for a table that only the tables process can open."""


class NetworkList:
    """Made in before_jail(): entries may be files. `is_remote`: ask the tables process instead."""

    def __init__(self, parameter: str, words: Sequence[str]) -> None:
        self.parameter = parameter
        entries = parse_entries(words, Style.NETWORK, _Elsewhere)
        self.problems = [what.why for _, what in entries if isinstance(what, Broken)]
        self.is_remote = any(isinstance(what, _Elsewhere) for _, what in entries)
        self._networks: list[tuple[bool, Network]] = [
            (includes, what) for includes, what in entries if isinstance(what, tuple)
        ]

    def matches(self, address: ParsedAddress | None) -> bool:
        """The first entry that matches decides. What is broken is named at start and matches nothing."""
        if address is None:
            return False
        for includes, network in self._networks:
            if contains(network, *address):
                return includes
        return False


class NameList:
    """Names, .domains and networks in one list (smtpd_client_event_limit_exceptions)."""

    def __init__(self, parameter: str, words: Sequence[str]) -> None:
        self._names = [word.lower() for word in words if _is_name(word)]
        self.networks = NetworkList(parameter, [word for word in words if not _is_name(word)])

    def matches(self, name: str, address: ParsedAddress | None) -> bool:
        name = name.lower()
        return any(
            name.endswith(pattern) if pattern.startswith(".") else name == pattern for pattern in self._names
        ) or self.networks.matches(address)


def _is_name(word: str) -> bool:
    return not any(mark in word for mark in ":/[!") and parse_address(word) is None


__all__ = ["NameList", "NetworkList", "ParsedAddress", "parse_address"]
