"""Any octets from another process of ours that somebody else has taken over, cut anywhere.

What holds: each frame becomes a record of the endpoint or ends the connection; what was decoded and is encoded again is
the same record; a question of ours is answered or fails; no descriptor is left behind.
"""

import asyncio
import os
import socket
from typing import Final

import msgspec

from fuzz.target import Target
from posthouse.core.reply import MailError
from posthouse.runtime import schema
from posthouse.runtime.ipc import MAX_FRAME_OCTETS, Codec, Connection, Responder
from posthouse.runtime.schema import Done, Endpoint, Record, Request

ENDPOINTS: Final = tuple(
    one for _, one in sorted(vars(schema).items(), key=lambda item: item[0]) if isinstance(one, Endpoint)
)
_encoder: Final = msgspec.msgpack.Encoder()


def check(data: bytes) -> None:
    if len(data) < 3:
        return
    endpoint = ENDPOINTS[data[0] % len(ENDPOINTS)]
    asyncio.run(_run(endpoint, bool(data[1] & 1), data[2] + 1, _framed(data[3:]) if data[1] & 2 else data[3:]))


def _framed(octets: bytes) -> bytes:
    """Pieces between 0xc1 (which msgpack never uses) as frames: sequence number, kind, then the body."""
    return b"".join(
        len(piece[2:]).to_bytes(4, "big") + b"\0\0\0" + piece[:1] + bytes([piece[1] % 4]) + b"\0" + piece[2:]
        for piece in octets.split(b"\xc1")
        if len(piece) >= 2
    )


async def _run(endpoint: Endpoint, is_server: bool, cut: int, octets: bytes) -> None:
    before = len(os.listdir("/proc/self/fd"))
    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    ours, theirs = socket.socketpair()

    def handle(connection: Connection, record: Record, descriptors: list[int], respond: Responder | None) -> None:
        assert (respond is not None) == isinstance(record, Request)
        assert not descriptors
        codec = connection._codec.incoming
        assert codec is not None
        assert codec.decode(_encoder.encode(record)) == record or "nan" in repr(record)
        if respond:
            respond(Done())

    codec = Codec.for_server(endpoint) if is_server else Codec.for_client(endpoint)
    errors: list[BaseException | None] = []
    connection = Connection(
        ours, codec, handle, descriptors=endpoint.descriptors, on_error=lambda _, error: errors.append(error)
    )
    asked = [connection.call(schema.LeaseQueueIds()) for _ in range(2)]
    for at in range(0, len(octets), max(cut, len(octets) // 20)):
        if connection.closed.done():
            break
        try:
            theirs.sendall(octets[at : at + max(cut, len(octets) // 20)])
        except OSError:
            break
        await asyncio.sleep(0)
        assert len(connection._input) <= MAX_FRAME_OCTETS + 16
    try:
        theirs.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    await asyncio.wait_for(asyncio.shield(connection.closed), 30)
    theirs.close()
    for future in asked:
        assert future.done()
        if (error := future.exception()) is not None:
            assert isinstance(error, MailError)
        else:
            assert isinstance(future.result(), Record)
    assert not problems, problems
    assert not [error for error in errors if isinstance(error, AssertionError)], errors
    assert len(os.listdir("/proc/self/fd")) <= before


def _seeds() -> tuple[bytes, ...]:
    seeds = [
        b"\0\1\x09" + b"\0\0\0\x02\0\0\0\1\x01\0\x91\xa0",
        b"\0\2\xff\1\2" + _encoder.encode(schema.Lease(7)) + b"\xc1\2\2" + _encoder.encode(Done()),
        b"\0\2\xff\0\3\xc1\1\2" + _encoder.encode(Done()),
    ]
    for number, endpoint in enumerate(ENDPOINTS):
        for is_server, kinds in ((True, endpoint.accepts), (False, endpoint.issues)):
            pieces = [bytes([0, 1 if issubclass(kind, Request) else 0]) + _plain(kind) for kind in kinds]
            if pieces:
                seeds.append(bytes([number, 3 if is_server else 2, 255]) + b"\xc1".join(pieces))
    return tuple(seeds)


def _plain(kind: type[Record]) -> bytes:
    """A record with the plainest value for each field, as octets."""
    return _encoder.encode([kind.__name__, *(_value(field.type) for field in msgspec.structs.fields(kind))])


def _value(kind: object) -> object:
    try:
        found = msgspec.inspect.type_info(kind)
    except TypeError:
        return None
    return _of(found)


def _of(found: msgspec.inspect.Type) -> object:
    match found:
        case msgspec.inspect.StrType():
            return "x"
        case msgspec.inspect.IntType():
            return 1
        case msgspec.inspect.FloatType():
            return 1.5
        case msgspec.inspect.BoolType():
            return True
        case msgspec.inspect.BytesType():
            return b"y"
        case msgspec.inspect.DictType():
            return {}
        case msgspec.inspect.UnionType():
            return _of(found.types[0])
        case msgspec.inspect.VarTupleType() | msgspec.inspect.ListType():
            return [_of(found.item_type)]
        case msgspec.inspect.TupleType():
            return [_of(one) for one in found.item_types]
        case msgspec.inspect.StructType():
            tag = [found.tag] if found.tag is not None else []
            return [*tag, *(_of(field.type) for field in found.fields)]
        case _:
            return None


TARGET = Target(
    check,
    seeds=_seeds(),
    words=(
        *sorted({_encoder.encode(kind.__name__) for one in ENDPOINTS for kind in (*one.accepts, *one.issues)}),
        b"\x90", b"\x91", b"\xc0", b"\xc2", b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc1\0\1", b"\xcb\x7f\xf8\0\0\0\0\0\0", b"\xff\xff\xff\xff", b"\xa1\xff", b"\xa1\0"),
    separator=b"\xc1",
    max_octets=4000,
)  # fmt: skip
