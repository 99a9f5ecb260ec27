"""NAME
    smtpd - SMTP and LMTP server
SYNOPSIS
    smtpd [started by master]
DESCRIPTION
    Receives mail from the network on every smtpd and lmtpd entry of master.cf, thousands of sessions in one process.
    Each session performs zero or more transactions. Recipients are resolved and restrictions evaluated during RCPT;
    what is accepted gets its Received: field and is handed to the queue, and 250 is said when the queue has it on
    stable storage. Messages above smtpd_inline_content_limit go there piece by piece while they come in. LMTP delivers
    at once and answers for each recipient.

    Passwords are checked by the auth process. Names of clients are looked up in the DNS, without the name service
    switch; loopback addresses are localhost.
STANDARDS
    RFC 5321 (SMTP), RFC 2033 (LMTP), RFC 1870 (SIZE), RFC 1985 (ETRN), RFC 2034 (enhanced status codes)
    RFC 2920 (PIPELINING), RFC 3030 (CHUNKING), RFC 3207 (STARTTLS), RFC 3461 (DSN), RFC 4954 (AUTH)
    RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8), RFC 8314 (implicit TLS)
SECURITY
    Talks to hostile clients. Runs with no privilege, jailed; opens no file after start: content leaves through the
    queue's socket only. Only CRLF.CRLF ends a message. Everything that came in before TLS is forgotten when TLS
    begins. Every buffer is bounded, every wait has a deadline.
DIAGNOSTICS
    Lines in Postfix's format under the listener's syslog_name. A restriction that is not supported is answered 451
    4.3.5, and named by "posthouse check".
BUGS
    check_*_access tables, DNS lists, policy services, milters, XCLIENT and smtpd_proxy_filter are not supported yet.
    A list of networks that names tables is asked for under its parameter in main.cf: -o overrides of such a list count
    only where they name networks themselves.
SEE ALSO
    queue(8), tables(8), auth(8), access(5)
"""

import asyncio
from typing import Final

from posthouse.config.foreign_auth_place import foreign_auth_place
from posthouse.config.parameters import smtpd as parameters
from posthouse.config.parameters.master import SYSLOG_NAME
from posthouse.core.reply import MailError
from posthouse.runtime.dns import Resolver
from posthouse.runtime.dns_config import DnsConfig
from posthouse.runtime.process import Context, Listener, ProcessMain
from posthouse.runtime.schema import AskMechanisms, Mechanisms
from posthouse.services.smtpd.accepting import Acceptor
from posthouse.services.smtpd.colleagues import Colleagues
from posthouse.services.smtpd.house import House
from posthouse.services.smtpd.listening import Listening, TlsContexts, own_mechanisms
from posthouse.services.smtpd.session import Session

BACKLOG: Final = 4096
_ASK_AGAIN_S: Final = 30.0
_ASK_SOON_S: Final = 1.0
"""Between two questions for the mechanisms of a foreign auth server."""
_FIRST_LEASE_S: Final = 30.0
"""How long to wait for the queue before serving clients that would only hear 451."""


class SmtpdProcess(ProcessMain):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._listenings: list[tuple[Listener, Listening]] = []
        self._servers: list[asyncio.Server | Acceptor] = []
        self._house: House | None = None
        self._asks_mechanisms = False
        self._asking: asyncio.Task[None] | None = None

    def before_jail(self) -> None:
        """Certificates, keys, lists in files, the resolver's files."""
        settings = self.context.settings
        self._dns = DnsConfig.read(settings)
        contexts = TlsContexts()
        self._asks_mechanisms = bool(foreign_auth_place(self.context.configuration))
        for listener in self.context.listeners:
            listening = Listening(listener, self.context.emit, settings[SYSLOG_NAME], contexts)
            if not self._asks_mechanisms:
                listening.set_mechanisms(own_mechanisms(self.context.configuration.dovecot))
            self._listenings.append((listener, listening))

    async def start(self) -> None:
        context, settings = self.context, self.context.settings
        colleagues = Colleagues(context, settings[parameters.SMTPD_RESOLVE_CACHE_TTL])
        self._house = house = House(
            context, colleagues, Resolver(self._dns, context.clock), settings[parameters.SMTPD_SESSION_LIMIT]
        )
        colleagues.start()
        house.start()
        if self._asks_mechanisms:
            self._asking = asyncio.get_running_loop().create_task(self._ask_mechanisms(colleagues))
        await colleagues.wait_for_queue(_FIRST_LEASE_S)
        loop = asyncio.get_running_loop()
        for listener, listening in self._listenings:
            if listening.implicit_tls:
                self._servers.append(Acceptor(house, listening, listener.sock))
                continue
            server = await loop.create_server(_Factory(house, listening), sock=listener.sock, backlog=BACKLOG)
            self._servers.append(server)

    async def _ask_mechanisms(self, colleagues: Colleagues) -> None:
        """The server that checks the passwords is another one, and may come, go and change. Without it no AUTH is
        offered."""
        while True:
            known: dict[str, tuple[str, ...]] = {}
            try:
                answer = await colleagues.auth.call(AskMechanisms(), expect=Mechanisms)
                known = dict(answer.mechanisms)
            except MailError:
                pass
            for _, listening in self._listenings:
                listening.set_mechanisms(known)
            await asyncio.sleep(_ASK_AGAIN_S if known else _ASK_SOON_S)

    async def drain(self) -> None:
        """Nobody new; those who are here stay until they leave, or until `stop`."""
        self._close_servers()
        if self._house is not None:
            await self._house.drain()

    async def stop(self) -> None:
        self._close_servers()
        if self._asking is not None:
            self._asking.cancel()
        if self._house is not None:
            self._house.close()
            self._house.colleagues.close()
        # A turn of the loop for the farewells that were written.
        await asyncio.sleep(0)

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()


class _Factory:
    """asyncio asks for a protocol per connection."""

    __slots__ = ("_house", "_listening")

    def __init__(self, house: House, listening: Listening) -> None:
        self._house = house
        self._listening = listening

    def __call__(self) -> Session:
        return self._house.session(self._listening)
