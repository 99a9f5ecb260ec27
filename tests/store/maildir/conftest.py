from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.store.flush import Volumes
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.location import MailLocation
from posthouse.store.maildir.store import MaildirStore

MakeStore = Callable[..., MaildirStore]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "Maildir"


@pytest.fixture
def reports() -> list[str]:
    """What was reported for the log."""
    return []


@pytest.fixture(params=["inotify", "stat"])
def environment(request: pytest.FixtureRequest, reports: list[str]) -> Iterator[Environment]:
    made = Environment(Volumes(), report=reports.append, watching=request.param == "inotify")
    yield made
    made.close()


@pytest.fixture
def make_store(root: Path, environment: Environment) -> Iterator[MakeStore]:
    """Every call opens the same Maildir anew, as after a restart; the one before is closed in order."""
    made: list[MaildirStore] = []

    def make(limit: int = 0) -> MaildirStore:
        for store in made:
            store.close()
        made.append(MaildirStore(MailLocation(str(root)), environment, limit))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> MaildirStore:
    return make_store()
