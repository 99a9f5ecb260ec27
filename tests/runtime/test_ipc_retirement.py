"""A server that is replaced answers what it was asked and sends its clients to its successor; nobody sees a failure."""

import asyncio
import socket
from pathlib import Path

from posthouse.core.address import Address
from posthouse.runtime.ipc import Connection, Peer, Responder, Server
from posthouse.runtime.schema import TABLES, AliasExpansion, LookupAlias, Record
from posthouse.runtime.sockets import make_socket


class Answering:
    """Answers with its own name, at once or when told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: list[Responder] = []
        self.delays = False

    def __call__(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        assert respond is not None
        if self.delays:
            self.waiting.append(respond)
        else:
            respond(AliasExpansion(self.name))


def test_questions_on_their_way_are_answered_and_new_ones_go_to_the_successor(tmp_path: Path) -> None:
    async def story(listener: socket.socket) -> None:
        old, new = Answering("old"), Answering("new")
        server = Server(listener, TABLES, old)
        peer = Peer(str(tmp_path / "sock"), TABLES)
        ask = LookupAlias("postmaster")
        assert await peer.call(ask, expect=AliasExpansion) == AliasExpansion("old")
        old.delays = True
        connection = peer.connection
        assert connection is not None
        open_question = connection.call(ask)
        while not old.waiting:
            await asyncio.sleep(0)
        draining = asyncio.get_running_loop().create_task(server.drain())
        await asyncio.sleep(0)
        # The same listening socket in another process; here only another object with its own descriptor.
        copy = listener.dup()
        successor = Server(copy, TABLES, new)
        while peer.connection is not None:
            await asyncio.sleep(0)
        assert await peer.call(ask, expect=AliasExpansion) == AliasExpansion("new")
        assert not draining.done()
        old.waiting.pop()(AliasExpansion("old, late"))
        assert await open_question == AliasExpansion("old, late")
        await asyncio.wait_for(draining, 5)
        assert peer.connection is not None
        server.close()
        peer.close()
        successor.close()
        copy.close()

    listener = make_socket(str(tmp_path / "sock"), None, 0o600)
    asyncio.run(story(listener))
    listener.close()


def test_a_flood_of_questions_across_a_replacement_loses_none(tmp_path: Path) -> None:
    async def story(listener: socket.socket) -> None:
        old = Server(listener, TABLES, Answering("old"))
        peer = Peer(str(tmp_path / "sock"), TABLES)
        answers: list[str | None] = []

        async def ask_many() -> None:
            for number in range(300):
                address = Address(f"user{number}")
                connection = peer.connection or await peer.connect()
                answers.append((await connection.call(LookupAlias(address.local_part))).value)

        asking = [asyncio.get_running_loop().create_task(ask_many()) for _ in range(5)]
        while len(answers) < 300:
            await asyncio.sleep(0)
        copy = listener.dup()
        new = Server(copy, TABLES, Answering("new"))
        await asyncio.wait_for(old.drain(), 5)
        old.close()
        await asyncio.gather(*asking)
        assert len(answers) == 1500
        assert {"old", "new"} == set(answers)
        peer.close()
        new.close()
        copy.close()

    listener = make_socket(str(tmp_path / "sock"), None, 0o600)
    asyncio.run(story(listener))
    listener.close()
