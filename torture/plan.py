"""What will go wrong in which round: all of it follows from the seed."""

import random
from dataclasses import dataclass
from typing import Final

FAULTS: Final = (
    "kill one",
    "kill several",
    "kill all",
    "power cut",
    "stop and continue",
    "end a worker",
    "reload",
    "spool disk full",
    "store disk full",
    "spool read-only",
    "store read-only",
    "queue input/output error",
    "store input/output error",
    "everybody input/output error",
    "queue flush fails",
    "store flush fails",
    "short writes",
    "clock jumps",
    "names broken",
    "peer breaks off",
    "peer busy",
)
NEED_SHIM: Final = frozenset(
    {
        "spool read-only",
        "store read-only",
        "queue input/output error",
        "store input/output error",
        "everybody input/output error",
        "queue flush fails",
        "store flush fails",
        "short writes",
        "clock jumps",
    }
)
NEED_DISKS: Final = frozenset({"spool disk full", "store disk full", "power cut"})
MAY_SEND_TWICE: Final = frozenset(set(FAULTS) - {"reload", "names broken", "peer busy", "end a worker"})
"""Faults that can fall between a peer's 250 and the flush that records it."""


@dataclass(frozen=True)
class Event:
    """A fault begins `at_s` after the load does and lasts `for_s`. `seed` decides its details."""

    fault: str
    at_s: float
    for_s: float
    seed: int


@dataclass(frozen=True)
class Round:
    number: int
    load_s: float
    events: tuple[Event, ...]


def plan(seed: int, number: int, possible: tuple[str, ...]) -> Round:
    """Round `number` of `seed`; every kind of fault leads in one of len(possible) rounds."""
    chance = random.Random(f"{seed}/{number}")
    order = list(possible)
    random.Random(f"{seed}/{number // len(order)}").shuffle(order)
    faults = [order[number % len(order)]]
    while chance.random() < 0.35 and len(faults) < 3:
        faults.append(chance.choice(possible))
    events = tuple(
        Event(fault, chance.uniform(0.02, 0.35), chance.uniform(0.02, 0.3), chance.getrandbits(32)) for fault in faults
    )
    return Round(number, chance.uniform(0.35, 0.7), tuple(sorted(events, key=lambda one: one.at_s)))
