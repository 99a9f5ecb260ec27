"""TLS: STARTTLS (RFC 3207) and connections that begin with it (RFC 8314 s3.3)."""

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

from posthouse.core.reply import Reply
from posthouse.protocol.smtp import replies
from posthouse.protocol.smtp.events import StartTls
from posthouse.protocol.smtp.states import Verb
from posthouse.runtime.schema import CountEvent, Counts
from posthouse.runtime.tls import describe
from posthouse.services.smtpd.loglines import SmtpdWarning, TlsEstablished, TlsFailed

if TYPE_CHECKING:
    from posthouse.services.smtpd.colleagues import Answer
    from posthouse.services.smtpd.session import Session


def on_starttls(session: "Session", event: StartTls) -> None:  # noqa: ARG001 - a Handler's signature
    session.began(Verb.STARTTLS)
    listening = session.listening
    if not listening.offers_tls:
        session.answer(replies.NOT_IMPLEMENTED)
        return
    if listening.tls is None:
        session.answer(replies.NO_TLS)
        return
    client, limit = session.client, session.limits.tls_rate
    assert client is not None
    if not limit or client.is_exempt:
        _begin(session)
        return

    def counted(answer: "Answer") -> None:
        if isinstance(answer, Counts) and answer.rate > limit:
            words = f"New TLS session rate limit exceeded: {answer.rate} from {session.shown}"
            session.emit(SmtpdWarning(f"{words} for service {listening.name}"))
            words = f"Error: too many new TLS sessions from {session.shown}"
            session.answer(Reply.of(454, "4.7.0", words))
            session.pump()
        else:
            _begin(session)
            session.pump()

    session.ask(session.colleagues.control, CountEvent(listening.name, client.address, "newtls"), counted)


def _begin(session: "Session") -> None:
    session.succeeded(Verb.STARTTLS)
    session.end_transaction()
    session.facts.helo = ""
    session.facts.sasl_username = ""
    session.sasl_method = ""
    # RFC 3207 s4.2: nothing that comes in clear text from here on may be taken for a command.
    session.pause()
    session.answer(replies.READY_FOR_TLS)
    session.house.run(upgrade(session))


async def upgrade(session: "Session") -> None:
    """TLS from here on. What the client sent before is gone already."""
    transport, context = session.transport, session.listening.tls
    if transport is None or context is None:
        return
    try:
        secured: Any = await asyncio.get_running_loop().start_tls(
            transport,
            session,
            context,
            server_side=True,
            ssl_handshake_timeout=session.limits.handshake_timeout_s,
        )
    except OSError as error:
        _failed(session, error)
        return
    if session.transport is None:
        secured.abort()
        return
    handshaken(session, secured)


async def handshake_first(session: "Session", sock: socket.socket) -> None:
    """TLS before anything else. The transport is made with it, so that no octet is read by anybody else."""
    context = session.listening.tls
    if context is None:
        words = f"Wrapper-mode request dropped from {session.shown} for service {session.listening.name}"
        session.emit(SmtpdWarning(f"{words}. TLS context initialization failed. For details see earlier warnings"))
        sock.close()
        session.close()
        return
    try:
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: session, sock, ssl=context, ssl_handshake_timeout=session.limits.handshake_timeout_s
        )
    except OSError as error:
        _failed(session, error)


def handshaken(session: "Session", transport: Any) -> None:
    what = describe(transport.get_extra_info("ssl_object"))
    if session.listening.log_tls:
        session.emit(TlsEstablished(session.shown, what))
    session.secured(transport, what)


def _failed(session: "Session", error: OSError) -> None:
    # ssl.SSLError, TimeoutError and ConnectionError are OSErrors.
    session.emit(TlsFailed(session.shown, _words(error)))
    session.lost()


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, TimeoutError):
        return "Connection timed out"
    return error.strerror or "lost connection"
