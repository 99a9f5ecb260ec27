"""What the oldest Python we promise (Debian 12's 3.11.2) gets wrong must not be used."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
POSSESSIVE_GROUP = re.compile(r"\)[*+?]\+|\(\?>")


def test_no_pattern_has_possessive_groups() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "src").rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "re.compile" in line and POSSESSIVE_GROUP.search(line)
    ]
    assert not found, "Python 3.11.2 matches possessive groups wrongly"
