"""NAME
    postalias - build and ask alias tables
SYNOPSIS
    postalias [-c DIR] [-fnNopruvwF] [TYPE:]FILE...
    postalias [-c DIR] -q KEY [TYPE:]FILE...
    postalias [-c DIR] -s [TYPE:]FILE...
DESCRIPTION
    As postmap(1), for files in the format of aliases(5): "name: target, target…".
SEE ALSO
    postmap(1), newaliases(1), aliases(5)
"""

import sys
from collections.abc import Sequence

from posthouse.cli import postmap
from posthouse.tables.source import parse_aliases


def main(arguments: Sequence[str] | None = None) -> int:
    return postmap.main(arguments, "postalias", parse_aliases)


if __name__ == "__main__":
    sys.exit(main())
