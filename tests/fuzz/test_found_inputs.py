"""Inputs that broke something once do not break it again, and every target still runs."""

import pytest
from fuzz.smoke import replay, smoke
from fuzz.target import committed_inputs, names

SMOKE_INPUTS = 150


@pytest.mark.parametrize("name", names())
def test_committed_inputs_show_nothing(name: str) -> None:
    for path in committed_inputs(name):
        try:
            replay(name, path.read_bytes())
        except BaseException as error:
            error.add_note(f"{path}; see it alone with: python -m fuzz replay {name} {path}")
            raise


@pytest.mark.parametrize("name", names())
def test_some_mutations_of_the_seeds_show_nothing(name: str) -> None:
    smoke(name, SMOKE_INPUTS)
