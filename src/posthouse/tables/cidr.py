"""cidr: tables: networks, first match wins, with if/endif and negation.

Rules without conditions are found by prefix length in dictionaries, so that a list of a hundred thousand networks costs
as many steps as it has different lengths; with conditions the rules are walked in order.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from posthouse.tables.file import FileTable, read_source
from posthouse.tables.literal import split_list, unbraced
from posthouse.tables.source import Warn, logical_lines
from posthouse.tables.table import Table

_RULE: Final = re.compile(r"(!?)\s*(\S+)\s+(.*\S)\s*\Z", re.DOTALL)
_IF: Final = re.compile(r"if\s+(!?)\s*(\S+)\s*\Z", re.IGNORECASE)

Network = tuple[int, int, int]
"""Version, bits to shift away, what is left of the network address."""


def parse_network(text: str) -> Network:
    """ "192.0.2.0/24", "2001:db8::/32", "[::1]/128" or a single address. Host bits must be zero, as in Postfix."""
    network = ipaddress.ip_network(text.replace("[", "").replace("]", ""), strict=True)
    shift = network.max_prefixlen - network.prefixlen
    return network.version, shift, int(network.network_address) >> shift


def parse_address(text: str) -> tuple[int, int] | None:
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


@dataclass(frozen=True, slots=True)
class Rule:
    network: Network
    negated: bool
    value: str
    inside: tuple[tuple[Network, bool], ...]
    """The conditions of the if…endif around it."""


def contains(network: Network, version: int, address: int) -> bool:
    return network[0] == version and address >> network[1] == network[2]


def parse_rules(lines: list[tuple[int, str]], where: str, warn: Warn) -> list[Rule]:
    rules: list[Rule] = []
    conditions: list[tuple[Network, bool]] = []
    for number, line in lines:
        try:
            if match := _IF.match(line):
                conditions.append((parse_network(match[2]), match[1] == "!"))
            elif line.strip().lower() == "endif":
                if not conditions:
                    raise ValueError("ignoring ENDIF without matching IF")
                conditions.pop()
            elif match := _RULE.match(line):
                rules.append(Rule(parse_network(match[2]), match[1] == "!", match[3], tuple(conditions)))
            else:
                raise ValueError("no address pattern and result")
        except ValueError as error:
            warn(f"cidr map {where}, line {number}: {error}: skipping this rule")
    return rules


class Rules:
    """Rules ready for look-ups."""

    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules
        self._plain = not any(rule.negated or rule.inside for rule in rules)
        self._by_length: dict[tuple[int, int], dict[int, int]] = {}
        if self._plain:
            for order, rule in enumerate(rules):
                version, shift, base = rule.network
                self._by_length.setdefault((version, shift), {}).setdefault(base, order)

    def match(self, version: int, address: int) -> str | None:
        if self._plain:
            orders = [
                order
                for (of_version, shift), bases in self._by_length.items()
                if of_version == version and (order := bases.get(address >> shift)) is not None
            ]
            return self._rules[min(orders)].value if orders else None
        for rule in self._rules:
            if contains(rule.network, version, address) != rule.negated and all(
                contains(network, version, address) != negated for network, negated in rule.inside
            ):
                return rule.value
        return None


class CidrTable(FileTable[Rules]):
    fixed = False

    def make(self, path: str) -> Rules:
        return Rules(parse_rules(list(logical_lines(read_source(path))), path, self.warn))

    def lookup(self, key: str) -> str | None:
        address = parse_address(key)
        return None if address is None else self.content().match(*address)


class InlineCidrTable(Table):
    """cidr:{ {network result}, … }."""

    fixed = False

    def __init__(self, name: str, specification: str, warn: Callable[[str], None]) -> None:
        super().__init__(name)
        lines = [(number, unbraced(word)) for number, word in enumerate(split_list(specification[1:-1]), start=1)]
        self._rules = Rules(parse_rules(lines, "inline", warn))

    def lookup(self, key: str) -> str | None:
        address = parse_address(key)
        return None if address is None else self._rules.match(*address)
