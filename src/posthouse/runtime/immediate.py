"""Work that seldom waits, without the cost of a task.

A coroutine is run at once, in the caller, up to the first thing it has to wait for; only what is left of it becomes a
task. Until then there is no current task, so that nothing in it may use asyncio.timeout before its first wait.
"""

from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any


@coroutine
def _rest(work: Coroutine[Any, Any, None], waited: Any) -> Generator[Any, Any, None]:
    try:
        while True:
            try:
                result = yield waited
            except BaseException as error:
                waited = work.throw(error)
            else:
                waited = work.send(result)
    except StopIteration:
        return


def run_until_it_waits(work: Coroutine[Any, Any, None], spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """`spawn` makes a task of what is left. What `work` raises before it waits is raised here."""
    try:
        waited = work.send(None)
    except StopIteration:
        return
    spawn(_continued(work, waited))


async def _continued(work: Coroutine[Any, Any, None], waited: Any) -> None:
    await _rest(work, waited)
