"""A service's docstring is its manual page: the same headings in the same order everywhere."""

import ast
import importlib.util
from pathlib import Path

import pytest

from posthouse.services.table import PROCESSES

ROOT = Path(__file__).parents[2]
ORDER = ["NAME", "SYNOPSIS", "DESCRIPTION", "STANDARDS", "SECURITY", "DIAGNOSTICS", "BUGS", "SEE ALSO"]
REQUIRED = {"NAME", "SYNOPSIS", "DESCRIPTION", "SECURITY", "DIAGNOSTICS"}


def manual_page(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"{module} is missing"
    assert spec.origin is not None
    return ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""


@pytest.mark.parametrize("module", sorted({spec.main.partition(":")[0] for spec in PROCESSES}))
def test_every_service_begins_with_its_manual_page(module: str) -> None:
    found = [line for line in manual_page(module).splitlines() if line in ORDER]
    assert set(found) >= REQUIRED
    assert found == sorted(found, key=ORDER.index)


def test_links_between_documents_lead_somewhere() -> None:
    import re

    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not broken
