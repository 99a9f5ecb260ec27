"""Who delivers while processes are replaced and the queue has started anew."""

import asyncio
import socket

from posthouse.queue.agents import Agents
from posthouse.runtime.ipc import Codec, Connection
from posthouse.runtime.schema import QUEUE_DELIVERY
from tests.queue.asynchronous import asynchronous


def connection() -> Connection:
    ours, theirs = socket.socketpair()
    theirs.detach()
    return Connection(ours, Codec.for_server(QUEUE_DELIVERY), lambda *_: None, descriptors=True)


@asynchronous
async def test_the_worker_that_stays_delivers_again_when_the_one_that_goes_has_registered_last() -> None:
    ready: list[str] = []
    agents = Agents(ready.append)
    staying, going = connection(), connection()
    agents.register("local", 0, staying)
    agents.register("local", 0, going)
    chosen = agents.choose("local", 0)
    assert chosen is not None
    assert chosen.connection is going
    going.close()
    await asyncio.sleep(0)
    chosen = agents.choose("local", 0)
    assert chosen is not None
    assert chosen.connection is staying
    assert ready == ["local"] * 3, "waiting mail is told that somebody is there"
    staying.close()
    await asyncio.sleep(0)
    assert agents.choose("local", 0) is None


@asynchronous
async def test_one_that_was_replaced_and_goes_changes_nothing() -> None:
    agents = Agents(lambda _: None)
    old, new = connection(), connection()
    agents.register("smtp", 1, old)
    agents.register("smtp", 1, new)
    old.close()
    await asyncio.sleep(0)
    chosen = agents.choose("smtp", 1)
    assert chosen is not None
    assert chosen.connection is new
    new.close()
    await asyncio.sleep(0)
    assert agents.choose("smtp", 1) is None
