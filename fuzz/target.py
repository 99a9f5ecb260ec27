"""What a target is, and where all of them are found. Imports nothing of the product: that has to happen under
instrumentation."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent
CORPUS: Final = ROOT / "corpus"
"""Small inputs that reach much; committed."""
FOUND: Final = ROOT / "found"
"""Inputs that broke something once; committed, and replayed by the tests."""


@dataclass(frozen=True, slots=True)
class Target:
    """`check` raises if an input shows a bug. `words` are what the language consists of (verbs, keywords), `separator`
    ends the units that mutation moves about. Octets at the beginning of an input may choose options of the target."""

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    separator: bytes = b"\n"
    max_octets: int = 8192


def names() -> list[str]:
    """Every module of `fuzz/targets` is a target."""
    return sorted(module.name for module in pkgutil.iter_modules([str(ROOT / "targets")]) if module.name[0] != "_")


def load(name: str) -> Target:
    target = importlib.import_module(f"fuzz.targets.{name}").TARGET
    assert isinstance(target, Target)
    return target


def committed_inputs(name: str) -> list[Path]:
    return sorted(path for area in (CORPUS, FOUND) for path in (area / name).glob("*") if path.is_file())
