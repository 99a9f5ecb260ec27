"""A line of the comparison: what is run on a server, which figures come out, and what they must reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.server import STOCK, TUNED, Server


@dataclass(frozen=True)
class Target:
    """Of a figure: how many times better than each peer (`ratios`), or a limit of its own (`limit`)."""

    ratios: Mapping[str, float] = field(default_factory=dict)
    aim: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Figure:
    """`key` is the name in a run's results. More is better unless `is_cost`."""

    key: str
    title: str
    unit: str
    is_cost: bool = False
    target: Target = field(default_factory=Target)


Run = Callable[[Server, "Scale"], dict[str, float]]


@dataclass(frozen=True)
class Scale:
    """`--quick` makes every load smaller; its figures prove that the harness works and little more."""

    divisor: int = 1

    def count(self, full: int, least: int = 1) -> int:
        return max(least, full // self.divisor)


@dataclass(frozen=True)
class Line:
    name: str
    title: str
    world: str
    """Which servers it is run on (bench/worlds.py)."""
    run: Run
    figures: tuple[Figure, ...]


def both(stock: float, tuned: float | None = None, aim: float | None = None) -> Target:
    """`tuned` as `stock` unless given."""
    return Target({STOCK: stock, TUNED: stock if tuned is None else tuned}, aim)
