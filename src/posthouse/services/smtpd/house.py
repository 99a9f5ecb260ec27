"""What all sessions of one process share: colleagues, clients, the clock, the list of sessions and their deadlines."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from posthouse.core.clock import Clock
from posthouse.protocol.smtp import events
from posthouse.runtime.dns import Resolver
from posthouse.runtime.process import Context
from posthouse.services.smtpd import authentication, commands, encryption, reception
from posthouse.services.smtpd.clients import Clients
from posthouse.services.smtpd.colleagues import Colleagues
from posthouse.services.smtpd.listening import Listening
from posthouse.services.smtpd.session import Handler, Session

SWEEP_S: Final = 0.5
"""How late a deadline may be noticed. One look at a thousand sessions takes a tenth of a millisecond."""

HANDLERS: Final[Mapping[type[events.Event], Handler]] = {
    events.Hello: commands.on_hello,
    events.Mail: commands.on_mail,
    events.Rcpt: commands.on_rcpt,
    events.Data: reception.on_data,
    events.Chunk: reception.on_chunk,
    events.ContentPiece: reception.on_piece,
    events.EndOfContent: reception.on_end,
    events.Reset: commands.on_reset,
    events.Noop: commands.on_noop,
    events.Help: commands.on_help,
    events.Quit: commands.on_quit,
    events.Vrfy: commands.on_vrfy,
    events.Etrn: commands.on_etrn,
    events.StartTls: encryption.on_starttls,
    events.Auth: authentication.on_auth,
    events.AuthResponse: authentication.on_response,
    events.Refusal: commands.on_refusal,
    events.Unknown: commands.on_unknown,
}


class House:
    """Made inside the loop."""

    def __init__(self, context: Context, colleagues: Colleagues, resolver: Resolver, session_limit: int) -> None:
        self.context = context
        self.colleagues = colleagues
        self.clock: Clock = context.clock
        self.sessions: set[Session] = set()
        self._resolver = resolver
        self._session_limit = session_limit
        self._clients: dict[Listening, Clients] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._emptied = asyncio.Event()
        self._sweeper: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in list(self._tasks):
            task.cancel()
        for session in list(self.sessions):
            session.dismiss()

    def session(self, listening: Listening) -> Session:
        return Session(self, listening, HANDLERS)

    def clients_of(self, listening: Listening) -> Clients:
        clients = self._clients.get(listening)
        if clients is None:
            clients = self._clients[listening] = Clients(
                listening.lists, self._resolver, self.clock, listening.emit, self.colleagues.is_in_list
            )
        return clients

    @property
    def is_full(self) -> bool:
        return len(self.sessions) > self._session_limit

    def entered(self, session: Session) -> None:
        self.sessions.add(session)

    def left(self, session: Session) -> None:
        self.sessions.discard(session)
        if not self.sessions:
            self._emptied.set()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """For what cannot be done by callback: look-ups of names, TLS handshakes."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ran)

    def _ran(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.context.report("a session", error)

    def _sweep(self) -> None:
        now = self._loop.time()
        for session in [one for one in self.sessions if one.deadline < now]:
            session.expire()
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    async def drain(self) -> None:
        """A reload keeps connections: clients go on until they leave or are silent for smtpd_timeout; those who are
        still there when the time is up are told so by `stop`."""
        while self.sessions:
            self._emptied.clear()
            await self._emptied.wait()
