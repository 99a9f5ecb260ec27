"""Fixtures of the interoperability tests."""

from collections.abc import Iterator

import pytest

from tests.interop.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One running system for a module's tests."""
    system = World(tmp_path_factory.mktemp("world"))
    yield system
    system.close()
