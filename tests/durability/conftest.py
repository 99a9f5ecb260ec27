"""Where the torture runs."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that system users reach too; pytest's own are closed to them from above."""
    directory = Path(tempfile.mkdtemp(prefix="posthouse-torture-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
