"""Questions about a configuration's tables that are asked before anything runs: which types we do not have, which files
must stay readable in the tables process."""

import os
from collections.abc import Iterable
from typing import Final

from posthouse.config.parameter import BadValue, Settings
from posthouse.tables.combined import members
from posthouse.tables.literal import split_list
from posthouse.tables.matching import is_network
from posthouse.tables.opening import TYPES, split_name
from posthouse.tables.table import BadTable

LIST_PARAMETERS: Final = (
    "mydestination",
    "mynetworks",
    "relay_domains",
    "virtual_alias_domains",
    "virtual_mailbox_domains",
    "smtpd_client_event_limit_exceptions",
    "smtpd_forbid_bare_newline_exclusions",
    "smtpd_sasl_exceptions_networks",
    "fast_flush_domains",
)
"""Lists of names, networks, files and tables."""
NETWORK_LISTS: Final = frozenset(
    {
        "mynetworks",
        "smtpd_client_event_limit_exceptions",
        "smtpd_forbid_bare_newline_exclusions",
        "smtpd_sasl_exceptions_networks",
    }
)
"""Those of client addresses; host names among them are matched by the process that knows the client's name."""

_FILE_TYPES: Final = frozenset({"texthash", "hash", "btree", "lmdb", "regexp", "pcre", "cidr"})


def table_parameters(settings: Settings) -> list[str]:
    """Parameters of main.cf that hold tables: all whose names say so, and the lists."""
    return [
        name
        for name in settings.registry.params
        if name.endswith("_maps") or name in LIST_PARAMETERS or name == "alias_database"
    ]


def specifications(settings: Settings, name: str) -> list[str]:
    """The "type:name" words of one parameter, members of combined tables included."""
    try:
        words = split_list(settings.text(name))
    except (BadValue, BadTable, KeyError):
        return []
    found: list[str] = []
    for word in (one.lstrip("!") for one in words):
        if word.startswith(("/", "[")) or ":" not in word:
            continue
        if name == "mynetworks" and is_network(word):
            continue
        found.extend(_with_members(word))
    return found


def _with_members(word: str) -> list[str]:
    try:
        kind, rest = split_name(word)
    except BadTable:
        return [word]
    if kind not in ("pipemap", "unionmap"):
        return [word]
    try:
        return [inner for member in members(word, rest) for inner in _with_members(member)]
    except BadTable:
        return [word]


def unsupported_tables(settings: Settings) -> list[tuple[str, str]]:
    """(parameter, "type:name") for every table in use whose type we do not have, or that is not even a table."""
    found: list[tuple[str, str]] = []
    for name in table_parameters(settings):
        for word in specifications(settings, name):
            try:
                kind, _ = split_name(word)
            except BadTable:
                found.append((name, word))
                continue
            if kind not in TYPES:
                found.append((name, word))
    return found


def table_files(settings: Settings, more: Iterable[str] = ()) -> list[str]:
    """Every file that the tables process reads while it runs. Editors and postmap replace files by renaming, so a jail
    must leave their directories readable, not only the files."""
    files: dict[str, None] = {"/etc/passwd": None, "/etc/group": None}
    for name in (*table_parameters(settings), *more):
        for word in specifications(settings, name):
            try:
                kind, rest = split_name(word)
            except BadTable:
                continue
            if kind in _FILE_TYPES and not rest.startswith("{"):
                files[os.path.abspath(rest + ".lmdb" if kind == "lmdb" else rest)] = None
    return list(files)
