"""Courier's programs that ask who a user is and whether a password is right: authdaemon's protocol on a Unix socket.

Who may connect is said by the socket's owner and mode. The answers tell where the mail is, and never a hash:
courier-imap and sqwebmail leave the comparing to us.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from posthouse.auth.databases.lookup import DatabaseError
from posthouse.auth.enquiries import Enquiries
from posthouse.protocol import courier_authdaemon as wire
from posthouse.runtime.schema import UserEntry

REQUEST_TIMEOUT_S: Final = 30.0
"""In which a request has to be complete; Courier's own writes it at once."""
ANSWER_CHUNK: Final = 500
"""Users of ENUMERATE in one write."""


class CourierClient(asyncio.Protocol):
    """One connection, one request."""

    def __init__(
        self,
        enquiries: Enquiries,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        trouble: Callable[[str, str], None],
        opened: Callable[["CourierClient"], bool],
        closed: Callable[["CourierClient"], None],
    ) -> None:
        """`opened` says whether there is room for one more."""
        self._enquiries = enquiries
        self._spawn = spawn
        self._trouble = trouble
        self._opened = opened
        self._closed = closed
        self._parser: wire.Parser | None = wire.Parser()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's
        if not self._opened(self):
            self.close()
            return
        self._timer = asyncio.get_running_loop().call_later(REQUEST_TIMEOUT_S, self.close)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._stop_timer()
        self._closed(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            return
        try:
            request = self._parser.receive_data(data)
        except wire.BadRequest as error:
            self._trouble("authdaemon", f"a client does not speak authdaemon's protocol: {error}")
            self._parser = None
            self.close()
            return
        if request is not None:
            self._parser = None
            self._stop_timer()
            self._spawn(self._answer(request))

    async def _answer(self, request: wire.Request) -> None:
        try:
            await self._answered(request)
        except DatabaseError as error:
            # No answer is a temporary failure.
            self._trouble("authdaemon", str(error))
        finally:
            self.close()

    async def _answered(self, request: wire.Request) -> None:
        ask = self._enquiries
        match request:
            case wire.Pre(service, user):
                self._write_account(await ask.user(user, service))
            case wire.Login(service, user, password, remote):
                name = await ask.login(service, user, password, remote)
                self._write_account(await ask.user(name, service) if name is not None else None)
            case wire.Exchange(service, "CRAM-MD5", challenge, response, remote):
                name = await ask.cram_md5(service, challenge, response, remote)
                self._write_account(await ask.user(name, service) if name is not None else None)
            case wire.Exchange():
                self._write(wire.FAIL)
            case wire.ChangePassword(service, user, old, new, remote):
                done = await ask.change_password(service, user, old, new, remote)
                self._write(wire.OK if done else wire.FAIL)
            case wire.Enumerate():
                await self._enumerate()

    async def _enumerate(self) -> None:
        names = await self._enquiries.users()
        for start in range(0, len(names), ANSWER_CHUNK):
            rows = []
            for name in names[start : start + ANSWER_CHUNK]:
                entry = await self._enquiries.user(name, "")
                if entry is not None:
                    rows.append((entry.user, entry.uid, entry.gid, entry.home, _maildir(entry), ""))
            self._write(wire.enumerated(rows))
        self._write(wire.END)

    def _write_account(self, entry: UserEntry | None) -> None:
        if entry is None:
            self._write(wire.FAIL)
            return
        fields = {
            "UID": str(entry.uid),
            "GID": str(entry.gid),
            "HOME": entry.home,
            "ADDRESS": entry.user,
            "MAILDIR": _maildir(entry),
            "QUOTA": f"{entry.quota_octets}S" if entry.quota_octets else "",
        }
        self._write(wire.account(fields))

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _maildir(entry: UserEntry) -> str:
    form, _, rest = entry.mail.partition(":")
    return rest.partition(":")[0] if form == "maildir" else ""
