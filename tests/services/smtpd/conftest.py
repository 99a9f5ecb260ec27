"""Worlds for smtpd's tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from posthouse.runtime.certificates import CertificateFiles, make
from tests.services.smtpd.world import World


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make(tmp_path_factory.mktemp("tls"), ["mail.example.test", "localhost"])


@pytest.fixture
def new_world(
    tmp_path_factory: pytest.TempPathFactory, certificates: CertificateFiles
) -> Iterator[Callable[..., World]]:
    with ExitStack() as stack:

        def start(**settings: str) -> World:
            directory: Path = tmp_path_factory.mktemp("w")
            return stack.enter_context(World(directory, certificates, settings))

        yield start


@pytest.fixture
def world(new_world: Callable[..., World]) -> World:
    return new_world()
