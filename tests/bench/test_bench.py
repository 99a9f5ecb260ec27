"""The comparison runs: its smallest line against the real peers, and the page that is written from results."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.__main__ import SECTIONS, selected
from bench.line import Figure, Line, both
from bench.report import page
from bench.server import OURS

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(os.getuid() != 0, reason="Postfix and Dovecot start as root only")
@pytest.mark.parametrize(("line", "unit"), [("discard", "/s"), ("append-1", "/s")])
def test_a_line_is_run_on_both_peers_and_us(line: str, unit: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--pairs", "1", "--lines", line],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    row = next(row for row in done.stdout.splitlines() if f"(`{line}`)" in row)
    _, _, _, stock, tuned, ours, *_ = (cell.strip() for cell in row.split("|"))
    for figure in (stock, tuned, ours):
        assert figure.endswith(unit)
        assert float(figure.removesuffix(unit).replace(",", "")) > 0


def test_names_are_unique_and_an_unknown_one_is_refused() -> None:
    names = [line.name for _, _, lines in SECTIONS for line in lines]
    assert len(names) == len(set(names))
    with pytest.raises(SystemExit, match="no line is called nonsense"):
        selected("nonsense")


def test_a_figure_short_of_its_target_says_so_with_a_reason() -> None:
    line = Line(
        "maildir-kept-1",
        "a line",
        "smtp",
        lambda _server, _scale: {},
        (Figure("rate", "messages", "/s", target=both(3, 2)),),
    )
    runs = {"stock": [{"rate": 100.0}], "tuned": [{"rate": 200.0}], OURS: [{"rate": 350.0}]}
    results = {
        "machine": {"cores": "2"},
        "lines": {"maildir-kept-1": {"runs": runs, "date": "2026-01-01", "version": "abc", "pairs": "1"}},
    }
    text = page([("Title", "Postfix", [line])], results)
    assert "| 100/s | 200/s | 350/s | 3.50 | 1.75 |" in text
    assert "**no**" in text
    assert "Short of the target:" in text
    runs[OURS][0]["rate"] = 450.0
    assert "**no**" not in page([("Title", "Postfix", [line])], results)
