"""Programs that ask who a user is: Dovecot's master protocol on auth-userdb and auth-master sockets.

Of passwords they learn nothing: PASS says which user it is and what else the passdb knows, as far as that is no secret.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from posthouse.auth.databases.lookup import DatabaseError
from posthouse.auth.enquiries import Enquiries
from posthouse.protocol import dovecot_master as wire
from posthouse.protocol.dovecot_auth import BadLine
from posthouse.runtime.schema import UserEntry

ANSWER_CHUNK: Final = 500
"""Users of LIST in one write."""


class MasterClient(asyncio.Protocol):
    """One connection. `is_master`: may it ask passdbs and flush the cache? `may_see`: of which uid may it learn?"""

    def __init__(
        self,
        enquiries: Enquiries,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        trouble: Callable[[str, str], None],
        opened: Callable[["MasterClient"], bool],
        closed: Callable[["MasterClient"], None],
        *,
        pid: int,
        is_master: bool,
        may_see: Callable[[Any], Callable[[int], bool]],
    ) -> None:
        """`opened` says whether there is room for one more; `may_see` is asked with the socket."""
        self._enquiries = enquiries
        self._spawn = spawn
        self._trouble = trouble
        self._opened = opened
        self._closed = closed
        self._pid = pid
        self._is_master = is_master
        self._may_see_of = may_see
        self._may_see: Callable[[int], bool] = lambda _: False
        self._transport: asyncio.Transport | None = None
        self._input = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's
        if not self._opened(self):
            self.close()
            return
        self._may_see = self._may_see_of(self._transport.get_extra_info("socket"))
        self._transport.write(wire.greeting(self._pid))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._closed(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        lines = (self._input + data).split(b"\n")
        self._input = lines.pop()
        try:
            for one in lines:
                if len(one) > wire.MAXIMAL_LINE:
                    raise BadLine("a line is too long")
                self._take(wire.parse(one))
            if len(self._input) > wire.MAXIMAL_LINE:
                raise BadLine("a line is too long")
        except BadLine as error:
            self._trouble("auth-master", f"a client was cut off: {error}")
            self.close()

    def _take(self, request: wire.Request) -> None:
        match request:
            case wire.Version(major):
                if major != wire.MAJOR:
                    raise BadLine(f"version {major} of the protocol")
            case wire.LookUp(of_password=True) if not self._is_master:
                raise BadLine("PASS on a socket for userdb look-ups")
            case wire.LookUp():
                self._spawn(self._look_up(request))
            case wire.ListUsers():
                self._spawn(self._list(request))
            case wire.FlushCache(number, users):
                if not self._is_master:
                    raise BadLine("CACHE-FLUSH on a socket for userdb look-ups")
                self._write(wire.flushed(number, self._enquiries.flush(users)))
            case wire.Unknown(name):
                raise BadLine(f"unknown command {name}")

    async def _look_up(self, request: wire.LookUp) -> None:
        try:
            if request.of_password:
                found = await self._enquiries.passdb(request.user, request.service)
                self._write(wire.not_found(request.number) if found is None else wire.password(request.number, *found))
                return
            entry = await self._enquiries.user(request.user, request.service)
        except DatabaseError as error:
            self._trouble("auth-master", str(error))
            self._write(wire.failed(request.number))
            return
        if entry is None:
            self._write(wire.not_found(request.number))
        elif not self._may_see(entry.uid):
            self._write(wire.failed(request.number, "no permission to look up users with another uid"))
        else:
            self._write(wire.user(request.number, entry.user, _fields(entry)))

    async def _list(self, request: wire.ListUsers) -> None:
        try:
            names = await self._enquiries.users()
        except DatabaseError as error:
            self._trouble("auth-master", str(error))
            self._write(wire.done(request.number, failed=True))
            return
        wanted = [name for name in names if request.has(name)]
        for start in range(0, len(wanted), ANSWER_CHUNK):
            self._write(b"".join(wire.listed(request.number, name) for name in wanted[start : start + ANSWER_CHUNK]))
            await asyncio.sleep(0)
        self._write(wire.done(request.number, failed=False))

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _fields(entry: UserEntry) -> dict[str, str]:
    fields = {"uid": str(entry.uid), "gid": str(entry.gid), "home": entry.home, "mail": entry.mail}
    if entry.quota_octets:
        fields["quota_rule"] = f"*:bytes={entry.quota_octets}"
    return {name: value for name, value in fields.items() if value}
