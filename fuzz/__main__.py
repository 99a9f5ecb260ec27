"""`python -m fuzz [--minutes N] [--target NAME …]`, `… replay NAME FILE …`, `… distil [NAME …]`."""

import argparse
import sys
from pathlib import Path

from fuzz import campaign
from fuzz.distil import distil
from fuzz.smoke import replay
from fuzz.target import names


def main() -> int:
    if sys.argv[1:2] == ["replay"]:
        for path in sys.argv[3:]:
            replay(sys.argv[2], Path(path).read_bytes())
            print(f"{path}: nothing wrong")
        return 0
    if sys.argv[1:2] == ["distil"]:
        for name in sys.argv[2:] or names():
            print(f"{name}: {distil(name)} inputs kept", flush=True)
        return 0
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzzing with coverage")
    parser.add_argument("--minutes", type=float, default=10.0, help="in total, shared among the targets (default 10)")
    parser.add_argument("--target", action="append", choices=names(), help="only this one; may be repeated")
    parser.add_argument("--side-by-side", type=int, default=2, help="targets at a time (default 2)")
    options = parser.parse_args()
    return campaign.run(options.target or names(), options.minutes, options.side_by_side)


if __name__ == "__main__":
    sys.exit(main())
