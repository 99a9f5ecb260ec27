"""Fixtures of the interoperability tests."""

from collections.abc import Iterator

import pytest

from tests.conftest import _reachable
from tests.interop.world import World


@pytest.fixture(scope="module")
def world_settings() -> tuple[str, ...]:
    """--set settings of the module's system; modules override it."""
    return ()


@pytest.fixture(scope="module")
def module_world(tmp_path_factory: pytest.TempPathFactory, world_settings: tuple[str, ...]) -> Iterator[World]:
    system = World(_reachable(tmp_path_factory.mktemp("world")) / "box", *world_settings)
    yield system
    system.stop()


@pytest.fixture
def world(module_world: World) -> Iterator[World]:
    """The module's system; complaints in the log are blamed on the test that ran meanwhile."""
    yield module_world
    complaints = module_world.undeclared_complaints()
    assert not complaints, "the log complains:\n" + "\n".join(complaints)
