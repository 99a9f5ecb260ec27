import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A temporary directory that other users can reach; pytest's own are for the caller only."""
    made = Path(tempfile.mkdtemp(prefix="posthouse-store-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)
