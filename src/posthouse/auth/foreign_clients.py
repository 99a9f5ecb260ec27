"""Servers of others that ask whether a password is right: Dovecot's protocol on unix_listeners of `service auth`.

Who may connect is said by the socket's owner and mode. They get a yes or a no, never a ticket for a mailbox.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Mapping
from typing import cast

from posthouse.protocol import dovecot_auth as wire
from posthouse.runtime.schema import (
    AuthChallenge,
    Authenticate,
    AuthFailure,
    AuthSuccess,
    CancelAuth,
    ContinueAuth,
    Note,
    Record,
    Request,
)

Ask = Callable[["ForeignClient", Request | Note, Callable[[Record], None] | None], None]
_numbers = itertools.count(1)


class ForeignClient(asyncio.Protocol):
    """One connection. `ask` is the service; `ended` is called once, with the reason if the client broke the rules."""

    def __init__(
        self,
        mechanisms: Mapping[str, tuple[str, ...]],
        pid: int,
        ask: Ask,
        began: Callable[["ForeignClient"], None],
        ended: Callable[["ForeignClient", str], None],
    ) -> None:
        self._mechanisms = mechanisms
        self._pid = pid
        self._ask = ask
        self._began = began
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._input = b""
        self._is_greeted = False
        self._why = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's
        self._began(self)
        greeting = wire.greeting(
            self._mechanisms, pid=self._pid, connection=next(_numbers), cookie=secrets.token_hex(16)
        )
        self._transport.write(greeting)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        self._ended(self, self._why)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        lines = (self._input + data).split(b"\n")
        self._input = lines.pop()
        try:
            for one in lines:
                if len(one) > wire.MAXIMAL_LINE:
                    raise wire.BadLine("a line is too long")
                self._take(wire.parse(one))
            if len(self._input) > wire.MAXIMAL_LINE:
                raise wire.BadLine("a line is too long")
        except wire.BadLine as error:
            self._why = str(error)
            self.close()

    def _take(self, line: wire.Line) -> None:
        match line:
            case wire.Version(major, _):
                if major != wire.MAJOR:
                    raise wire.BadLine(f"version {major} of the protocol")
                self._is_greeted = True
            case wire.ClientPid() | None:
                pass
            case wire.Auth() if self._is_greeted:
                self._authenticate(line)
            case wire.Continue(number, response) if self._is_greeted:
                self._ask(self, ContinueAuth(number, response), lambda record: self._answer(number, record))
            case wire.Cancel(number):
                self._ask(self, CancelAuth(number), None)
            case _:
                raise wire.BadLine("VERSION comes first")

    def _authenticate(self, line: wire.Auth) -> None:
        parameters = line.parameters
        request = Authenticate(
            line.number,
            line.mechanism,
            line.response,
            line.service,
            parameters.get("rip", ""),
            parameters.get("lip", ""),
            "secured" in parameters,
            parameters.get("session", ""),
            "no-penalty" in parameters,
        )
        self._ask(self, request, lambda record: self._answer(line.number, record))

    def _answer(self, number: int, record: Record) -> None:
        if self._transport is None:
            return
        match record:
            case AuthSuccess(user):
                self._transport.write(wire.ok(number, user))
            case AuthChallenge(data):
                self._transport.write(wire.challenge(number, data))
            case AuthFailure(temporary, reason, disabled, protocol_error):
                words = reason if protocol_error else ""
                self._transport.write(wire.fail(number, temporary=temporary, disabled=disabled, reason=words))
            case _:
                self._transport.write(wire.fail(number, temporary=True))
