"""Peer and product in turn, median ratio of pairs.

usage: python -m bench [--list] [--lines NAME,NAME...] [--pairs N] [--quick] [--no-write] [--page]
NAME is a line, or the beginning of lines' names. Without --lines, everything: about 25 minutes with two pairs.
"""

import argparse
import datetime
import os
import sys
import tempfile
from pathlib import Path

from bench import auth_lines, growth_lines, imap_lines, machine, report, results, smtp_lines, system_lines
from bench.comparison import Comparison
from bench.idle_connections import allow_descriptors
from bench.line import Line, Scale

SECTIONS: tuple[tuple[str, str, tuple[Line, ...]], ...] = (
    ("Accepting and delivering", "Postfix", smtp_lines.LINES),
    ("IMAP, LMTP, logins", "Dovecot", (*imap_lines.LINES, *auth_lines.LINES)),
    ("Memory, connections, start, a burst on the disk", "Peer", system_lines.LINES),
    ("Growth", "Peer", growth_lines.LINES),
)
ROOT = Path(__file__).parent.parent
QUICK_DIVISOR = 20


def selected(wanted: str) -> list[Line]:
    """Raises SystemExit for a name that no line begins with."""
    lines = [line for _, _, lines in SECTIONS for line in lines]
    if not wanted:
        return lines
    found: list[Line] = []
    for name in wanted.split(","):
        matching = [line for line in lines if line.name.startswith(name)]
        if not matching:
            raise SystemExit(f"bench: no line is called {name}; see --list")
        found += [line for line in matching if line not in found]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--list", action="store_true", help="the lines")
    parser.add_argument("--lines", default="", help="only these, separated by commas")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help=f"loads {QUICK_DIVISOR} times smaller; nothing is written")
    parser.add_argument("--no-write", action="store_true", help="results and page stay as they are")
    parser.add_argument("--page", action="store_true", help="only write the page again from what was measured before")
    options = parser.parse_args()
    lines = selected(options.lines)
    if options.list:
        for line in lines:
            print(f"{line.name:22s} {line.title}")
        return 0
    if options.page:
        report.write(report.page(SECTIONS, results.load()), ROOT / "docs/performance.md")
        return 0
    if os.getuid() != 0:
        raise SystemExit("bench: Postfix and Dovecot start as root only")
    allow_descriptors(25_000)
    comparison = Comparison(lines, options.pairs, Scale(QUICK_DIVISOR if options.quick else 1))
    comparison.run()
    for failure in comparison.failures:
        print(f"bench: {failure}", file=sys.stderr)
    about = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "version": machine.product_version(ROOT),
        "pairs": str(options.pairs),
    }
    old = {"machine": {}, "lines": {}} if options.quick else results.load()
    new = results.merge(old, machine.describe(Path(tempfile.gettempdir())), comparison.runs, about)
    text = report.page(SECTIONS, new)
    if options.quick or options.no_write:
        print(text)
    else:
        results.save(new)
        report.write(text, ROOT / "docs/performance.md")
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main())
