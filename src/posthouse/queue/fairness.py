"""A queue that serves its keys in turn: a message with fifty thousand recipients does not stand before one with one."""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """First in, first out within a key; one item of each key in turn. Every operation takes constant time."""

    __slots__ = ("_count", "_lines")

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, key: Hashable, item: T) -> None:
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = deque((item,))
        else:
            line.append(item)
        self._count += 1

    def push_front(self, key: Hashable, item: T) -> None:
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = deque((item,))
        else:
            line.appendleft(item)
        self._lines.move_to_end(key, last=False)
        self._count += 1

    def pop(self) -> T:
        """The next item. Raises StopIteration when empty (ask `len` first)."""
        key, line = next(iter(self._lines.items()))
        item = line.popleft()
        if line:
            self._lines.move_to_end(key)
        else:
            del self._lines[key]
        self._count -= 1
        return item

    def take(self, key: Hashable) -> list[T]:
        """Remove everything of one key."""
        line = self._lines.pop(key, None)
        if line is None:
            return []
        self._count -= len(line)
        return list(line)

    def take_all(self) -> list[T]:
        items = [item for line in self._lines.values() for item in line]
        self._lines.clear()
        self._count = 0
        return items
