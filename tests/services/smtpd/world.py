"""The smtpd process in a thread, on real sockets; queue, tables, auth and control are played by the test."""

import asyncio
import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

import posthouse.config.parameters  # noqa: F401 - fills the registry
from posthouse.config.configuration import Configuration
from posthouse.config.parameter import DOVECOT, MAIN, Settings
from posthouse.core.address import Address
from posthouse.core.logline import LogLine
from posthouse.core.reply import Reply
from posthouse.core.result import DeliveryStatus, RecipientResult
from posthouse.runtime.certificates import CertificateFiles
from posthouse.runtime.clock import SystemClock
from posthouse.runtime.ipc import Connection, Responder, Server
from posthouse.runtime.process import Context, Listener
from posthouse.runtime.schema import (
    AUTH_LOGIN,
    CONTROL,
    QUEUE_INTAKE,
    TABLES,
    AbortContent,
    AppendContent,
    AuthChallenge,
    Authenticate,
    AuthFailure,
    AuthSuccess,
    CancelAuth,
    ContentHandle,
    ContinueAuth,
    CountConnect,
    CountDisconnect,
    CountEvent,
    Counts,
    Done,
    Endpoint,
    Failure,
    Flush,
    Lease,
    LeaseQueueIds,
    Lookup,
    LookupResult,
    OpenContent,
    Outcomes,
    Record,
    Resolution,
    Resolve,
    Submit,
    Transact,
)
from posthouse.services.smtpd import SmtpdProcess

PATIENCE_S = 10.0
LOCAL = {"alice@example.test", "bob@example.test", "postmaster@example.test", "grüße@example.test"}


class World:
    """`settings` are main.cf's; listeners: "smtp", "submission" (AUTH), "submissions" (TLS first), "lmtp"."""

    def __init__(self, directory: Path, certificates: CertificateFiles, settings: dict[str, str]) -> None:
        self._run = directory
        self.certificates = certificates
        values = {
            "compatibility_level": "3.6",
            "smtpd_error_sleep_time": "0",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_cert_file": str(certificates.certificate),
            "smtpd_tls_key_file": str(certificates.key),
            **settings,
        }
        main = Settings(MAIN, values, {"myhostname": "mail.example.test", "mydomain": "example.test"})
        auth = {"smtpd_sasl_auth_enable": "yes"}
        overrides: dict[str, tuple[str, dict[str, str], bool]] = {
            "smtp": ("smtpd", {}, False),
            "submission": ("smtpd", {**auth, "syslog_name": "postfix/submission"}, False),
            "submissions": ("smtpd", auth, True),
            "lmtp": ("lmtpd", {}, False),
        }
        self.ports: dict[str, int] = {}
        listeners = []
        for name, (service, more, implicit_tls) in overrides.items():
            sock = socket.create_server(("127.0.0.1", 0))
            self.ports[name] = sock.getsockname()[1]
            listeners.append(Listener(service, name, sock, main.overlay(more), implicit_tls))
        self.lines: list[LogLine] = []
        self.context = Context(
            process="smtpd",
            worker=0,
            workers={},
            configuration=Configuration("", main, Settings(DOVECOT, {}, {})),
            listeners=tuple(listeners),
            ipc_listeners=(),
            run_directory=str(directory),
            clock=SystemClock(),
            emit=self.lines.append,
        )
        # What the others say, and what they heard.
        self.submitted: list[Submit] = []
        self.transacted: list[Transact] = []
        self.contents: dict[int, bytes] = {}
        self.flushed: list[str] = []
        self.refusal: Reply | None = None
        self.fate: Callable[[int], DeliveryStatus] = lambda _: DeliveryStatus.SENT
        self.is_silent = False
        self.tables_fail = False
        self.known = set(LOCAL)
        self.listed: set[tuple[str, str]] = set()
        self.questions = 0
        self.connections = 0
        self.rates: dict[str, int] = {}
        self.leases = 0
        self.asked_auth: list[Authenticate] = []
        self._queue_connections: list[Connection] = []
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._live, daemon=True)

    # ── life ──

    def __enter__(self) -> "World":
        self._thread.start()
        assert self._started.wait(PATIENCE_S)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _live(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._run_all())
        except BaseException as error:
            self._failure = error
            self._started.set()

    async def _run_all(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self.servers = [
            self._serve(QUEUE_INTAKE, self._queue),
            self._serve(TABLES, self._tables),
            self._serve(AUTH_LOGIN, self._auth),
            self._serve(CONTROL, self._control),
        ]
        self.process = SmtpdProcess(self.context)
        self.process.before_jail()
        await self.process.start()
        self._started.set()
        await self._end.wait()
        await self.process.stop()
        await asyncio.sleep(0.01)
        for server in self.servers:
            server.close()
            server._listener.close()
        for listener in self.context.listeners:
            listener.sock.close()

    def _serve(self, endpoint: Endpoint, handler: object) -> Server:
        directory = self._run / f"{endpoint.server}.0"
        directory.mkdir(exist_ok=True)
        path = directory / f"{endpoint.name}.smtpd"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        return Server(listener, endpoint, handler, on_error=self.context.report)  # type: ignore[arg-type]

    def call(self, function: Callable[[], None]) -> None:
        """In the loop's thread."""
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self.loop.call_soon_threadsafe(run)
        assert done.wait(PATIENCE_S)

    def restart_queue(self) -> None:
        def restart() -> None:
            self.servers[0].close()
            self.servers[0]._listener.close()
            self.servers[0] = self._serve(QUEUE_INTAKE, self._queue)

        self.call(restart)

    # ── the others ──

    def _queue(self, connection: Connection, record: Record, _: list[int], respond: Responder | None) -> None:
        match record:
            case LeaseQueueIds():
                self.leases += 1
                assert respond is not None
                respond(Lease(self.leases))
            case Submit() | Transact() if self.is_silent:
                pass
            case Submit():
                assert respond is not None
                if self.refusal is not None:
                    respond(Failure(self.refusal))
                    return
                self.submitted.append(record)
                respond(Done())
            case Transact():
                assert respond is not None
                self.transacted.append(record)
                texts = {
                    DeliveryStatus.SENT: "2.0.0",
                    DeliveryStatus.DEFERRED: "4.2.0",
                    DeliveryStatus.BOUNCED: "5.2.2",
                }
                results = [(index, self.fate(index)) for index in range(len(record.envelope.recipients))]
                respond(Outcomes(tuple(RecipientResult(n, fate, texts[fate], "the words") for n, fate in results)))
            case OpenContent():
                assert respond is not None
                handle = len(self.contents) + 1
                self.contents[handle] = b""
                respond(ContentHandle(handle))
            case AppendContent(handle, data):
                self.contents[handle] += data
                assert respond is not None
                if self.refusal is not None:
                    respond(Failure(self.refusal))
                else:
                    self.loop.call_later(0.001, respond, Done())
            case AbortContent(handle):
                self.contents.pop(handle, None)
            case Flush(site):
                self.flushed.append(site)
                assert respond is not None
                respond(Done())

    def _tables(self, _: Connection, record: Record, __: list[int], respond: Responder | None) -> None:
        assert respond is not None
        self.questions += 1
        if self.tables_fail:
            respond(Failure(Reply.of(451, "4.3.0", "Temporary lookup failure")))
            return
        match record:
            case Resolve(recipient):
                address = recipient if recipient.domain else recipient.with_domain("example.test")
                sealed = f"seal of {address.key}".encode() if record.for_delivery else b""
                if address.domain.lower() != "example.test":
                    is_wide = address.domain == "wide.test"
                    found = Resolution("default", "smtp", address.domain, address, whole_domain=is_wide, sealed=sealed)
                    respond(found)
                    return
                known = address.key in self.known
                respond(Resolution("virtual_mailbox", "virtual", "example.test", address, known, sealed=sealed))
            case Lookup(maps, key):
                respond(LookupResult("" if (maps, key) in self.listed else None))

    def _auth(self, _: Connection, record: Record, __: list[int], respond: Responder | None) -> None:
        match record:
            case Authenticate(mechanism="PLAIN"):
                self.asked_auth.append(record)
                assert respond is not None
                if record.response is None:
                    respond(AuthChallenge(b""))
                else:
                    respond(self._verdict(record.response))
            case Authenticate():
                self.asked_auth.append(record)
                assert respond is not None
                self._user = record.response or b""
                respond(AuthChallenge(b"Password:" if self._user else b"Username:"))
            case ContinueAuth(_, response):
                assert respond is not None
                if b"\0" in response:
                    respond(self._verdict(response))
                elif not self._user:
                    self._user = response
                    respond(AuthChallenge(b"Password:"))
                else:
                    respond(self._verdict(b"\0" + self._user + b"\0" + response))
            case CancelAuth():
                pass

    @staticmethod
    def _verdict(message: bytes) -> Record:
        _, user, password = message.split(b"\0")
        if password == b"down":
            return AuthFailure(temporary=True, reason="database is down")
        if password == b"secret":
            return AuthSuccess(user.decode())
        return AuthFailure(temporary=False, reason="Password mismatch")

    def _control(self, _: Connection, record: Record, __: list[int], respond: Responder | None) -> None:
        match record:
            case CountConnect():
                self.connections += 1
                assert respond is not None
                respond(Counts(self.connections, self.rates.get("connect", 0)))
            case CountDisconnect():
                self.connections -= 1
            case CountEvent(_, __, event):
                assert respond is not None
                self.rates[event] = self.rates.get(event, 0) + 1
                respond(Counts(1, self.rates[event]))

    # ── the test's side ──

    def log(self) -> list[str]:
        return [line.text() for line in list(self.lines)]

    def wait_for_log(self, pattern: str) -> str:
        give_up = time.monotonic() + PATIENCE_S
        while True:
            for text in self.log():
                if re.search(pattern, text):
                    return text
            assert time.monotonic() < give_up, f"no line like {pattern!r} in\n" + "\n".join(self.log())
            time.sleep(0.005)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up
            time.sleep(0.005)

    def tls_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.certificates.authority))
        context.check_hostname = False
        return context

    def connect(self, name: str = "smtp") -> "Raw":
        return Raw(self.ports[name])


class Raw:
    """A client that sends octets, not commands."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._read = b""

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reply(self) -> str:
        """One reply; "" when the server has closed."""
        lines: list[str] = []
        while True:
            line, newline, rest = self._read.partition(b"\r\n")
            if newline:
                self._read = rest
                lines.append(line.decode())
                if line[3:4] == b" ":
                    return "\n".join(lines)
                continue
            data = b""
            with contextlib.suppress(ConnectionResetError):
                data = self.sock.recv(65536)
            if not data:
                return "\n".join(lines)
            self._read += data

    def ask(self, line: str) -> str:
        self.send(line.encode() + b"\r\n")
        return self.reply()

    def greeted(self) -> "Raw":
        assert self.reply().startswith("220 ")
        assert self.ask("EHLO client.example").startswith("250")
        return self

    def in_data(self, sender: str = "s@example.org", recipient: str = "alice@example.test") -> "Raw":
        self.greeted()
        assert self.ask(f"MAIL FROM:<{sender}>").startswith("250")
        assert self.ask(f"RCPT TO:<{recipient}>").startswith("250")
        assert self.ask("DATA").startswith("354")
        return self

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.sock = context.wrap_socket(self.sock, server_hostname="mail.example.test")


def address(text: str) -> Address:
    return Address.split(text)
