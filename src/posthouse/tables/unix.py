"""unix:passwd.byname and unix:group.byname: local users and groups.

Read from the files: the name service switch opens sockets and libraries of its own, which a jailed process may not.
Users that only LDAP or NIS knows are therefore not found here; name them in local_recipient_maps by another table.
"""

from collections.abc import Callable
from typing import Final

from posthouse.tables.file import FileTable, read_source
from posthouse.tables.source import Warn
from posthouse.tables.table import BadTable

FILES: Final = {"passwd.byname": "/etc/passwd", "group.byname": "/etc/group"}


class UnixTable(FileTable[dict[str, str]]):
    """The value is the whole line, as in Postfix. Names keep their case: "Bob" is not "bob" to the system; mail
    for "Bob" finds "bob" because look-ups fold."""

    def __init__(self, name: str, which: str, now: Callable[[], float], warn: Warn) -> None:
        if which not in FILES:
            raise BadTable(f'unknown table name: "{name}"; expected {" or ".join(FILES)}')
        super().__init__(name, FILES[which], now, warn)

    def make(self, path: str) -> dict[str, str]:
        entries: dict[str, str] = {}
        for line in read_source(path).split("\n"):
            name, colon, _ = line.partition(":")
            if colon and name and name[0] not in "#+-":
                entries.setdefault(name.lower(), line)
        return entries

    def lookup(self, key: str) -> str | None:
        return self.content().get(key.lower())
