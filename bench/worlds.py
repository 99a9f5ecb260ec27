"""Which servers are compared, and whether they stand side by side while the lines are run or each alone.

Side by side, the runs of one line follow each other within seconds: a machine that gets slower slows all of them.
Alone is for memory: programs that run twice would share their pages, and each would seem to need less than it does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import dovecot, postfix, posthouse
from bench.server import OURS, STOCK, TUNED, Server

Start = Callable[[Path], Server]


@dataclass(frozen=True)
class World:
    peer: str
    starts: Mapping[str, Start]
    is_alone: bool = False


def worlds(sink: int, closed: int) -> dict[str, World]:
    """`sink`: the port that takes relayed mail; `closed`: one where nobody listens."""
    manyfold = {"smtpd_client_connection_count_limit": "0"}
    smtp: dict[str, Start] = {
        STOCK: lambda root: postfix.start(root, tuned=False, sink=sink, closed=closed),
        TUNED: lambda root: postfix.start(root, tuned=True, sink=sink, closed=closed),
        OURS: lambda root: posthouse.start_for_smtp(root, sink=sink, closed=closed, extra=manyfold),
    }
    imap: dict[str, Start] = {
        STOCK: lambda root: dovecot.start(root, tuned=False),
        TUNED: lambda root: dovecot.start(root, tuned=True),
        OURS: lambda root: posthouse.start_for_imap(root),
    }
    argon2: dict[str, Start] = {
        STOCK: lambda root: dovecot.start(root, tuned=False, scheme="ARGON2ID"),
        TUNED: lambda root: dovecot.start(root, tuned=True, scheme="ARGON2ID"),
        OURS: lambda root: posthouse.start_for_imap(root, scheme="ARGON2ID"),
    }

    def sql(cache: str) -> dict[str, Start]:
        return {
            STOCK: lambda root: dovecot.start(root, tuned=False, scheme="MD5-CRYPT", cache=cache, with_sql=True),
            TUNED: lambda root: dovecot.start(root, tuned=True, scheme="MD5-CRYPT", cache=cache, with_sql=True),
            OURS: lambda root: posthouse.start_for_imap(root, scheme="MD5-CRYPT", cache=cache, with_sql=True),
        }

    return {
        "smtp": World("Postfix", smtp),
        "imap": World("Dovecot", imap),
        "imap-argon2": World("Dovecot", argon2),
        "auth-cached": World("Dovecot", sql("10M")),
        "auth-uncached": World("Dovecot", sql("0")),
        "smtp-alone": World("Postfix", smtp, is_alone=True),
        "imap-alone": World("Dovecot", imap, is_alone=True),
        "smtp-growth": World("Postfix", {OURS: smtp[OURS]}, is_alone=True),
        "imap-growth": World("Dovecot", {OURS: imap[OURS]}, is_alone=True),
    }
