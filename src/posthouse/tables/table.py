"""What a lookup table is: a name, and an answer to a key.

A table answers with text or None; anything it cannot find out (a file that is gone, a database that does not answer)
is a `TableError`, which becomes a temporary failure: never "unknown" (a recipient that exists would be refused).
Most tables answer at once from memory; those that ask another process set `waits` and answer in `find`.
"""

from typing import ClassVar, Final

from posthouse.core.reply import Reply, TempFail

LOOKUP_FAILURE: Final = Reply.of(451, "4.3.0", "Temporary lookup failure")


class TableError(TempFail):
    """The table cannot say whether the key exists. `why` is for the log, never for the peer."""

    def __init__(self, why: str) -> None:
        super().__init__(LOOKUP_FAILURE)
        self.why = why

    def __str__(self) -> str:
        return self.why


class BadTable(ValueError):
    """The specification of a table that nobody can open: an unknown type, or text that does not parse."""


class Table:
    """One opened lookup table.

    `fixed` tables hold literal keys: they are folded to lower case and may be asked for parts of an address. Tables of
    patterns (`fixed` False) see the whole address only, because "^bob" must not match a local part by accident.
    """

    fixed: ClassVar[bool] = True
    waits: bool = False

    def __init__(self, name: str) -> None:
        self.name = name
        """ "type:name", as in main.cf."""

    def lookup(self, key: str) -> str | None:
        """The value at once; only for tables that do not wait."""
        raise NotImplementedError

    async def find(self, key: str) -> str | None:
        return self.lookup(key)

    @property
    def partial(self) -> bool:
        """May it be asked for a part of an address?"""
        return self.fixed

    def knows_addresses_in(self, domain: str) -> bool:  # noqa: ARG002 - every domain
        """May two addresses in this domain (lower case) find different things here? True where we cannot know."""
        return True

    def close(self) -> None:
        """Give back what it holds open."""
