"""The whole system under load and faults, and nothing acknowledged may be lost.

usage: python -m torture [--rounds N] [--seed N] [--first N] [--directory DIR] [--keep]
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from torture.rounds import Torture


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="0: by chance; it is printed")
    parser.add_argument("--first", type=int, default=0, help="begin with this round of the seed")
    parser.add_argument("--directory", type=Path, help="where everything is kept (default: temporary)")
    parser.add_argument("--keep", action="store_true", help="keep the directory even if nothing was wrong")
    options = parser.parse_args()
    seed = options.seed or random.SystemRandom().randrange(1, 1 << 31)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="posthouse-torture-"))
    torture = Torture(directory, seed)
    # The system under torture ends with it, whoever ends it.
    signal.signal(signal.SIGTERM, lambda *_: setattr(torture, "is_ending", True))
    began = time.monotonic()
    try:
        found = torture.run(options.first, options.rounds)
    finally:
        torture.close()
    print(f"seed {seed}, {time.monotonic() - began:.0f} s, {torture.summary()}")
    print(torture.last_line())
    if found:
        print(f"everything is kept in {directory}", file=sys.stderr)
    elif not options.keep and options.directory is None:
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
