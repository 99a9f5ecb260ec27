"""The committed reference pages are those the declarations make."""

from pathlib import Path

import pytest

from posthouse.config.documentation import PAGES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_committed_page_is_current(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), 'run "make docs"'
