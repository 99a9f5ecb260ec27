"""Passwords of SMTP clients that another server checks: a foreign Dovecot's auth socket (smtpd_sasl_path).

smtpd asks us as always; the messages of an exchange pass through. While the other server is away, slow or talks
nonsense, every answer is a temporary failure: it never lets anybody in, and refuses nobody.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Hashable
from typing import Final, cast

from posthouse.protocol import dovecot_auth_client as wire
from posthouse.runtime.ipc import Responder, SchemaError
from posthouse.runtime.schema import (
    AskMechanisms,
    AuthChallenge,
    Authenticate,
    AuthFailure,
    AuthSuccess,
    CancelAuth,
    ContinueAuth,
    Mechanisms,
    Record,
)

RETRY_S: Final = 2.0
GREETING_TIMEOUT_S: Final = 10.0
AWAY: Final = "the authentication server of smtpd_sasl_path does not answer"


class _Client(asyncio.Protocol):
    """One connection with the other server."""

    def __init__(self, owner: "ForeignAuth") -> None:
        self._owner = owner
        self._input = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's
        self._owner.connected(self)

    def data_received(self, data: bytes) -> None:
        lines = (self._input + data).split(b"\n")
        self._input = lines.pop()
        try:
            if max(map(len, (*lines, self._input))) > wire.MAXIMAL_LINE:
                raise wire.BadLine("a line is too long")
            for one in lines:
                self._owner.said(wire.parse(one))
        except wire.BadLine as error:
            self._owner.trouble(f"it does not speak Dovecot's auth protocol: {error}")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._owner.lost(self, str(exc) if exc else "")

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class ForeignAuth:
    """`place` is "/path" or "inet:host:port". A socket may belong to others: `ask_master` asks master to open it, whose
    answer comes to `opened`."""

    def __init__(
        self,
        place: str,
        *,
        pid: int,
        timeout_s: float,
        limit: int,
        ask_master: Callable[[], None],
        report: Callable[[str], None],
    ) -> None:
        self.place = place
        self._pid = pid
        self._timeout_s = timeout_s
        self._limit = limit
        self._ask_master = ask_master
        self._report = report
        self._client: _Client | None = None
        self._is_greeted = False
        self._heard: list[wire.Mechanism] = []
        self._mechanisms: tuple[tuple[str, tuple[str, ...]], ...] = ()
        self._numbers = 0
        self._exchanges: dict[int, tuple[tuple[Hashable, int], Responder | None, asyncio.TimerHandle]] = {}
        self._numbers_of: dict[tuple[Hashable, int], int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def start(self) -> None:
        self._timer = None
        if self.place.startswith("inet:"):
            self._run(self._connect_inet())
        else:
            self._ask_master()

    def close(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        if self._client is not None:
            self._client.close()
        self._fail_all()

    # ── the connection ──

    def opened(self, descriptor: int, error: str) -> None:
        """Master's answer; the descriptor (-1 with an error) is ours."""
        if error:
            self.trouble(error)
            self._later()
            return
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        self._run(self._connect_unix(sock))

    async def _connect_unix(self, sock: socket.socket) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: _Client(self), sock=sock)

    async def _connect_inet(self) -> None:
        host, _, port = self.place.removeprefix("inet:").rpartition(":")
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Client(self), host or "127.0.0.1", int(port))
        except (OSError, ValueError) as error:
            self.trouble(str(error))
            self._later()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _later(self) -> None:
        if not self._is_closed and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self.start)

    def connected(self, client: _Client) -> None:
        self._client, self._is_greeted, self._heard = client, False, []
        assert client.transport is not None
        client.transport.write(wire.hello(self._pid))
        asyncio.get_running_loop().call_later(GREETING_TIMEOUT_S, self._check_greeted, client)

    def _check_greeted(self, client: _Client) -> None:
        if self._client is client and not self._is_greeted:
            self.trouble("no greeting")
            client.close()

    def lost(self, client: _Client, why: str) -> None:
        if self._client is not client:
            return
        self._client, self._is_greeted = None, False
        if not self._is_closed:
            self.trouble(f"the connection ended {why}".rstrip())
            self._fail_all()
            self._later()

    def trouble(self, words: str) -> None:
        self._report(f"smtpd_sasl_path {self.place}: {words}")

    def _fail_all(self) -> None:
        for number in list(self._exchanges):
            self._answer(number, AuthFailure(True, AWAY))

    # ── exchanges ──

    def on_record(self, connection: Hashable, record: Record, respond: Responder | None) -> None:
        match record, respond:
            case AskMechanisms(), respond if respond is not None:
                respond(Mechanisms(self._mechanisms if self._is_greeted else ()))
            case Authenticate(), respond if respond is not None:
                self._begin(connection, record, respond)
            case ContinueAuth(session, response), respond if respond is not None:
                number = self._numbers_of.get((connection, session))
                if number is None:
                    respond(AuthFailure(False, "no such exchange, or it took too long", protocol_error=True))
                else:
                    self._put(number, (connection, session), respond)
                    self._send(wire.go_on(number, response))
            case CancelAuth(session), None:
                number = self._numbers_of.get((connection, session))
                if number is not None:
                    self._forget(number)
                    self._send(wire.cancel(number))
            case _:
                raise SchemaError(f"unexpected {type(record).__name__}")

    def _begin(self, connection: Hashable, request: Authenticate, respond: Responder) -> None:
        if self._client is None or not self._is_greeted:
            respond(AuthFailure(True, AWAY))
            return
        if len(self._exchanges) >= self._limit:
            respond(AuthFailure(True, "too many exchanges are open"))
            return
        self._numbers = self._numbers % 0x7FFFFFFF + 1
        number = self._numbers
        self._put(number, (connection, request.session), respond)
        self._send(
            wire.authenticate(
                number,
                request.mechanism,
                request.service,
                remote=request.remote,
                local=request.local,
                is_secured=request.secured,
                response=request.response,
            )
        )

    def _put(self, number: int, key: tuple[Hashable, int], respond: Responder | None) -> None:
        known = self._exchanges.get(number)
        if known is not None:
            known[2].cancel()
        timer = asyncio.get_running_loop().call_later(self._timeout_s, self._too_late, number)
        self._exchanges[number] = (key, respond, timer)
        self._numbers_of[key] = number

    def _too_late(self, number: int) -> None:
        self._send(wire.cancel(number))
        self._answer(number, AuthFailure(True, AWAY))

    def _forget(self, number: int) -> Responder | None:
        key, respond, timer = self._exchanges.pop(number)
        timer.cancel()
        self._numbers_of.pop(key, None)
        return respond

    def _answer(self, number: int, answer: Record) -> None:
        if number in self._exchanges and (respond := self._forget(number)) is not None:
            respond(answer)

    def _send(self, data: bytes) -> None:
        if self._client is not None and self._client.transport is not None:
            self._client.transport.write(data)

    def said(self, said: wire.Said) -> None:
        match said:
            case wire.Mechanism():
                if len(self._heard) >= wire.MAXIMAL_MECHANISMS:
                    raise wire.BadLine("too many mechanisms")
                self._heard.append(said)
            case wire.Done():
                self._is_greeted = True
                self._mechanisms = tuple((one.name, one.flags) for one in self._heard)
            case wire.Ok(number, user, data) if self._is_open(number):
                if data:
                    # SMTP has no place for it in a success; the client answers a challenge with nothing.
                    self._challenge_before(number, user, data)
                else:
                    self._answer(number, AuthSuccess(user))
            case wire.Challenge(number, data) if self._is_open(number):
                key, respond, _ = self._exchanges[number]
                self._put(number, key, None)
                assert respond is not None
                respond(AuthChallenge(data))
            case wire.Fail(number, is_temporary, is_disabled, reason) if self._is_open(number):
                words = reason or ("temporary failure" if is_temporary else "authentication failure")
                self._answer(number, AuthFailure(is_temporary, words, is_disabled))
            case _:
                pass

    def _challenge_before(self, number: int, user: str, data: bytes) -> None:
        # We never say that we take it with the success ("final-resp-ok"), so this is nonsense.
        del user, data
        self.trouble("a success with data that was not asked for")
        self._answer(number, AuthFailure(True, AWAY))

    def _is_open(self, number: int) -> bool:
        """Is somebody waiting for the answer?"""
        found = self._exchanges.get(number)
        return found is not None and found[1] is not None
