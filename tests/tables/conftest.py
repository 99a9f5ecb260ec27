"""A shelf of tables with a clock that the test moves, and the warnings they gave."""

from dataclasses import dataclass, field

import pytest

from posthouse.tables.opening import Tables


@dataclass
class Shelf:
    time_s: float = 100.0
    warnings: list[str] = field(default_factory=list)

    def now(self) -> float:
        return self.time_s

    def tables(self, *alias_files: str) -> Tables:
        return Tables(self.now, self.warnings.append, None, frozenset(alias_files))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()
