from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.store.interface import Store
from posthouse.store.memory import MemoryStore

MakeStore = Callable[[int], Store]


def memory_stores(_: Path) -> MakeStore:
    return MemoryStore


BACKENDS = {"memory": memory_stores}


@pytest.fixture(params=sorted(BACKENDS))
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStore]:
    """Makes an empty store with a quota limit (0: none)."""
    made: list[Store] = []
    make = BACKENDS[request.param](tmp_path)

    def remembered(limit: int) -> Store:
        made.append(make(limit))
        return made[-1]

    yield remembered
    for store in made:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store(0)
