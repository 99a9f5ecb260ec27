"""A list of tables as one: the value of a *_maps parameter. The first table that knows the key answers."""

from collections.abc import Sequence

from posthouse.tables.domains import other_form
from posthouse.tables.table import Table


class Maps:
    def __init__(self, parameter: str, tables: Sequence[Table]) -> None:
        self.parameter = parameter
        self.tables = tuple(tables)
        self._partial = tuple(table for table in self.tables if table.partial)

    def __bool__(self) -> bool:
        return bool(self.tables)

    def knows_addresses_in(self, domain: str) -> bool:
        """May two addresses in this domain be answered differently?"""
        folded = domain.lower()
        forms = (folded, other_form(folded))
        return any(table.knows_addresses_in(one) for table in self.tables for one in forms if one)

    async def find(self, key: str, *, partial: bool = False) -> str | None:
        """Raises TableError as soon as a table before the answer cannot say: the next one must not decide what a broken
        one might have said. `partial`: the key is only a part of the address in question."""
        if not key:
            return None
        for table in self._partial if partial else self.tables:
            value = await table.find(key) if table.waits else table.lookup(key)
            if value is not None:
                return value
        return None
