"""Tables made of other tables: pipemap feeds one's answer to the next, unionmap collects all answers, randmap picks one
of its words by chance."""

import random
from collections.abc import Callable

from posthouse.tables.literal import split_list
from posthouse.tables.table import BadTable, Table


def members(name: str, specification: str) -> list[str]:
    if not (specification.startswith("{") and specification.endswith("}")):
        raise BadTable(f'bad syntax: "{name}"; expected {{ ... }} after the type')
    found = split_list(specification[1:-1])
    if not found:
        raise BadTable(f'bad syntax: "{name}" has no members')
    return found


class CombinedTable(Table):
    def __init__(self, name: str, specification: str, open_table: Callable[[str], Table]) -> None:
        super().__init__(name)
        self.tables = tuple(open_table(member) for member in members(name, specification))
        self.waits = any(table.waits for table in self.tables)

    @property
    def partial(self) -> bool:
        return any(table.partial for table in self.tables)

    def lookup(self, key: str) -> str | None:
        """Only for members that do not wait: then the coroutine never does either."""
        if self.waits:
            raise NotImplementedError
        try:
            self.find(key).send(None)
        except StopIteration as stopped:
            found: str | None = stopped.value
            return found
        raise AssertionError("a table that does not wait has waited")


class PipeTable(CombinedTable):
    async def find(self, key: str) -> str | None:
        value = key
        for table in self.tables:
            found = await table.find(value)
            if found is None:
                return None
            value = found
        return value


class UnionTable(CombinedTable):
    async def find(self, key: str) -> str | None:
        found = [value for table in self.tables if (value := await table.find(key)) is not None]
        return ",".join(found) if found else None


class RandomTable(Table):
    def __init__(self, name: str, specification: str) -> None:
        super().__init__(name)
        self._words = members(name, specification)

    def lookup(self, key: str) -> str | None:  # noqa: ARG002 - every key
        return random.choice(self._words)
