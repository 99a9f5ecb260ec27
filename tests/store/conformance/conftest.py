from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.store.flush import Volumes
from posthouse.store.interface import Store
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.location import MailLocation
from posthouse.store.maildir.store import MaildirStore
from posthouse.store.memory import MemoryStore

MakeStore = Callable[[int], Store]


def memory_stores(_: Path) -> MakeStore:
    return MemoryStore


def maildir_stores(directory: Path) -> MakeStore:
    environment = Environment(Volumes())
    return lambda limit: MaildirStore(MailLocation(str(directory / "Maildir")), environment, limit)


def plain_maildir_stores(directory: Path) -> MakeStore:
    """As on a network file system: no inotify, every file flushed by itself."""
    environment = Environment(Volumes("fsync"), watching=False)
    return lambda limit: MaildirStore(MailLocation(str(directory / "Maildir")), environment, limit)


BACKENDS = {"memory": memory_stores, "maildir": maildir_stores, "maildir, no inotify": plain_maildir_stores}


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
