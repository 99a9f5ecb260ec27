"""Comments cite RFC sections; the index says what we do about each RFC. The two must know each other."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
REFERENCE = re.compile(r"\bRFC (\d{3,5})\b")


def index() -> dict[str, str]:
    rows = (ROOT / "docs/rfc/index.tsv").read_text().splitlines()[1:]
    return {row.split("\t")[0]: row.split("\t")[1] for row in rows}


def test_every_cited_rfc_is_in_the_index() -> None:
    known = index()
    unknown = {
        f"{path.relative_to(ROOT)}: RFC {number}"
        for path in (ROOT / "src").rglob("*.py")
        for number in REFERENCE.findall(path.read_text())
        if number not in known
    }
    assert not unknown, "add them to docs/rfc/index.tsv with their status"


def test_every_status_is_one_of_the_four() -> None:
    assert set(index().values()) <= {"yes", "partial", "no", "reference"}


def test_rows_are_sorted_and_unique() -> None:
    numbers = [int(number) for number in index()]
    rows = (ROOT / "docs/rfc/index.tsv").read_text().splitlines()[1:]
    assert numbers == sorted(numbers)
    assert len(rows) == len(numbers)
