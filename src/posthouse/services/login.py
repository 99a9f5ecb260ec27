"""NAME
    login - greeting, TLS and authentication for IMAP and POP3
SYNOPSIS
    login [started by master]
DESCRIPTION
    What Dovecot calls imap-login and pop3-login. Holds every connection until its user is known: sends the
    greeting, negotiates TLS, passes SASL messages to auth, and gives the connection to the mailbox process that owns
    the user's mail, with the one-time ticket that auth issued. A plain connection's socket itself changes hands; a TLS
    connection stays here, and what is in it goes to and fro over a socket pair.

    A thousand silent connections cost a few megabytes and no time. At login_max_connections the oldest connection
    that is not logged in is dropped. Nobody has longer than login_timeout to log in.
STANDARDS
    RFC 3501 (IMAP4rev1), RFC 4959 (SASL-IR), RFC 2971 (ID), RFC 7888 (LITERAL+)
    RFC 1939 (POP3), RFC 2449 (CAPA), RFC 2595 (STLS), RFC 5034 (AUTH)
    RFC 8314 (implicit TLS)
SECURITY
    Talks to hostile clients. Runs with no privilege, jailed; opens no file after start. Sees passwords, but no
    mailbox, no hash and no key file. Everything that came in before TLS is forgotten when TLS begins.
DIAGNOSTICS
    One line per login and one per connection that ends without, in Dovecot's words.
BUGS
    The TLS session tickets of one worker are not known to the others.
SEE ALSO
    auth(8), mailbox(8)
"""

import asyncio
import ipaddress
import resource
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final

from posthouse.access.login.connection import LoginConnection
from posthouse.access.login.door import Door, DoorListener, Network
from posthouse.config.parameter import BadValue, Settings
from posthouse.config.parameters import auth as auth_parameters
from posthouse.config.parameters import login as parameters
from posthouse.core.logline import Level, Message
from posthouse.protocol.imap.login import ImapLogin
from posthouse.protocol.login import Channel, LoginCore, LoginOptions
from posthouse.protocol.pop3.login import Pop3Login
from posthouse.protocol.sasl.known import SERVER_MECHANISMS
from posthouse.runtime import tls
from posthouse.runtime.process import Context, Listener, ProcessMain
from posthouse.runtime.schema import AUTH_LOGIN, MAILBOX_HANDOVER

PROTOCOLS: Final[Mapping[str, tuple[str, Callable[..., LoginCore]]]] = {
    "imap-login": ("imap", ImapLogin),
    "pop3-login": ("pop3", Pop3Login),
}
BACKLOG: Final = 4096
RESERVED_DESCRIPTORS: Final = 128
"""For listeners, other processes, the log, and connections that are changing hands."""
ACCEPTS_PER_TURN: Final = 64
ACCEPT_PAUSE_S: Final = 1.0


class LoginProcess(ProcessMain):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._listeners: list[tuple[Listener, DoorListener]] = []
        self._servers: list[asyncio.Server | TlsServer] = []
        self._tls: dict[tuple[str, str, str, str], ssl.SSLContext] = {}

    def before_jail(self) -> None:
        """Certificates and keys are read here; nobody can later."""
        self._listeners = [(one, self._door_listener(one)) for one in self.context.listeners]

    async def start(self) -> None:
        context = self.context
        auth = context.peer(AUTH_LOGIN)
        mailboxes = tuple(
            context.peer(MAILBOX_HANDOVER, worker=worker) for worker in range(context.workers.get("mailbox", 1))
        )
        self._peers = (auth, *mailboxes)
        self._door = Door(
            clock=context.clock,
            emit=context.emit,
            report=context.report,
            auth=auth,
            mailboxes=mailboxes,
            max_connections=context.configuration.dovecot[parameters.LOGIN_MAX_CONNECTIONS],
            max_descriptors=max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_DESCRIPTORS),
        )
        loop = asyncio.get_running_loop()
        for listener, door_listener in self._listeners:
            if door_listener.implicit_tls:
                self._servers.append(TlsServer(loop, listener.sock, self._door, door_listener))
            else:
                factory = _Factory(self._door, door_listener)
                self._servers.append(await loop.create_server(factory, sock=listener.sock, backlog=BACKLOG))
        self._door.start()
        for peer in self._peers:
            # So that the first client need not wait for it.
            self._door.run(_connect(peer))

    async def drain(self) -> None:
        """Nobody new; those who are here finish, TLS sessions included."""
        self._close_servers()
        await self._door.emptied()

    async def stop(self) -> None:
        self._close_servers()
        self._door.stop()
        for peer in self._peers:
            peer.close()
        # One turn of the loop for the farewells that were written.
        await asyncio.sleep(0)

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    # ── settings ──

    def _door_listener(self, listener: Listener) -> DoorListener:
        settings = listener.settings
        protocol, make_core = PROTOCOLS[listener.service]
        context = self._tls_context(listener)
        options = LoginOptions(
            greeting=settings[parameters.LOGIN_GREETING],
            mechanisms=tuple(
                name.upper() for name in settings[auth_parameters.AUTH_MECHANISMS] if name.upper() in SERVER_MECHANISMS
            ),
            knows_tokens=auth_parameters.can_check_tokens(settings),
            offers_tls=context is not None,
            requires_tls=settings[parameters.SSL] == "required",
            refuses_plaintext=settings[auth_parameters.DISABLE_PLAINTEXT_AUTH],
            line_limit=settings[parameters.LOGIN_LINE_LIMIT],
            literal_limit=settings[parameters.LOGIN_LITERAL_LIMIT],
            max_bad_commands=settings[parameters.LOGIN_MAX_BAD_COMMANDS],
            max_commands=settings[parameters.LOGIN_MAX_COMMANDS],
            id_fields=_id_fields(settings[parameters.IMAP_ID_SEND]),
        )
        return DoorListener(
            protocol=protocol,
            make_core=make_core,
            options=options,
            tls=context,
            implicit_tls=listener.implicit_tls,
            trusted=self._trusted(settings),
            channel_of=self._channel_of(settings),
            timeout_s=settings[parameters.LOGIN_TIMEOUT],
            handshake_timeout_s=settings[parameters.LOGIN_HANDSHAKE_TIMEOUT],
            input_limit=options.line_limit + options.literal_limit,
            relay_buffer=settings[parameters.LOGIN_PROXY_BUFFER],
        )

    def _tls_context(self, listener: Listener) -> ssl.SSLContext | None:
        settings = listener.settings
        certificate, key = settings[parameters.SSL_CERT], settings[parameters.SSL_KEY]
        if settings[parameters.SSL] == "no" or not certificate:
            if listener.implicit_tls or settings[parameters.SSL] == "required":
                # The other listeners can still be of use.
                words = f"Error: listener {listener.name}: TLS is required, but ssl_cert is not set"
                self.context.emit(Message(Level.ERROR, listener.service, words, is_dovecot=True))
            return None
        minimum = settings[parameters.SSL_MIN_PROTOCOL]
        authorities = settings[parameters.SSL_CA] if settings[parameters.SSL_VERIFY_CLIENT_CERT] else ""
        wanted = (certificate, key, minimum, authorities)
        if wanted not in self._tls:
            self._tls[wanted] = tls.server_context(
                tls.from_file(certificate),
                tls.from_file(key),
                minimum=minimum,
                client_ca=tls.from_file(authorities),
            )
        return self._tls[wanted]

    def _channel_of(self, settings: Settings) -> Callable[[ssl.SSLObject], Channel]:
        """Reads the certificate now, if a mechanism wants its hash."""
        names = [name.upper() for name in settings[auth_parameters.AUTH_MECHANISMS]]
        certificate = settings[parameters.SSL_CERT]
        binds = bool(certificate) and any(
            name in SERVER_MECHANISMS and SERVER_MECHANISMS[name].is_bound for name in names
        )
        end_point = tls.end_point(tls.from_file(certificate)) if binds else b""
        verifies = settings[parameters.SSL_VERIFY_CLIENT_CERT]
        takes_name = verifies and settings[auth_parameters.AUTH_SSL_USERNAME_FROM_CERT]
        field = settings[parameters.SSL_CERT_USERNAME_FIELD]

        def channel_of(connection: ssl.SSLObject) -> Channel:
            return Channel(
                tls.bindings(connection, end_point) if binds else (),
                tls.certified_name(connection, field) if takes_name else "",
                verifies and bool(connection.getpeercert()),
            )

        return channel_of

    def _trusted(self, settings: Settings) -> tuple[Network, ...]:
        networks: list[Network] = []
        for word in settings[parameters.LOGIN_TRUSTED_NETWORKS]:
            try:
                networks.append(ipaddress.ip_network(word, strict=False))
            except ValueError as error:
                raise BadValue(f"login_trusted_networks: {word!r} is not a network") from error
        return tuple(networks)


class TlsServer:
    """Accepts on a listener where TLS comes first. asyncio's own server shows a connection only after its handshake,
    and until then nobody would count it or could drop it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, door: Door, listener: DoorListener
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._door = door
        self._listener = listener
        sock.setblocking(False)
        sock.listen(BACKLOG)
        loop.add_reader(sock.fileno(), self._on_acceptable)

    def _on_acceptable(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors or memory: those who are here come first; the backlog waits.
                self._door.report(f"accept: {error.strerror}", None)
                self._loop.remove_reader(self._sock.fileno())
                self._loop.call_later(ACCEPT_PAUSE_S, self._resume)
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            LoginConnection(self._door, self._listener).accept_tls(sock)

    def _resume(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock.fileno(), self._on_acceptable)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()


class _Factory:
    """asyncio asks for a protocol per connection; cheaper than a lambda that looks both up again."""

    __slots__ = ("_door", "_listener")

    def __init__(self, door: Door, listener: DoorListener) -> None:
        self._door = door
        self._listener = listener

    def __call__(self) -> LoginConnection:
        return LoginConnection(self._door, self._listener)


def _id_fields(text: str) -> tuple[tuple[str, str], ...]:
    """imap_id_send: name and value in turn, * for our own."""
    words = text.split()
    ours = {"name": "Posthouse"}
    pairs = zip(words[::2], words[1::2], strict=False)
    return tuple(
        (name, ours.get(name, "") if value == "*" else value)
        for name, value in pairs
        if not set(name + value) & set('"\\') and (value != "*" or name in ours)
    )


async def _connect(peer: Any) -> None:
    try:
        await peer.connect()
    except Exception:  # noqa: S110 - the first client tries again, and its failure is the one that is told
        pass
