"""From the connection to the greeting: who is there, are there too many of them, TLS that comes first, 220."""

from typing import TYPE_CHECKING

from posthouse.core.reply import Reply
from posthouse.runtime.schema import CountConnect, Counts
from posthouse.services.smtpd.clients import Client
from posthouse.services.smtpd.encryption import handshake_first
from posthouse.services.smtpd.loglines import Connected, SmtpdWarning
from posthouse.services.smtpd.questions import decide

if TYPE_CHECKING:
    from posthouse.services.smtpd.colleagues import Answer
    from posthouse.services.smtpd.session import Session


def arrive(session: "Session") -> None:
    if not session.peer:  # gone already
        session.close()
        return
    address = str(session.peer[0]).partition("%")[0]
    if address.startswith("::ffff:"):
        address = address.removeprefix("::ffff:")
    if session.house.is_full:
        session.farewell("Error: too many connections", "4.3.2")
        return
    client = session.house.clients_of(session.listening).known(address)
    if client is not None:
        _identified(session, client)
    else:
        session.house.run(_identify(session, address))


async def _identify(session: "Session", address: str) -> None:
    client = await session.house.clients_of(session.listening).find(address)
    if session.is_alive:
        _identified(session, client)


def _identified(session: "Session", client: Client) -> None:
    session.client = client
    facts = session.facts
    facts.client_name = client.name
    facts.client_address = client.address
    facts.reverse_name = client.reverse_name
    facts.is_in_mynetworks = client.is_in_mynetworks
    facts.is_own_address = client.is_own_address
    session.core.normalizes = client.normalizes
    session.emit(Connected(session.shown))
    limits = session.limits
    if client.is_exempt or not (limits.connections or limits.connection_rate):
        _admitted(session)
        return
    session.is_counted = True
    request = CountConnect(session.listening.name, client.address)
    session.ask(session.colleagues.control, request, lambda answer: _counted(session, answer))


def _counted(session: "Session", answer: "Answer") -> None:
    # Without an answer there is no limit: mail matters more than counting (as in Postfix).
    if isinstance(answer, Counts):
        limits = session.limits
        words = ""
        if limits.connections and answer.connections > limits.connections:
            words = f"Connection concurrency limit exceeded: {answer.connections}"
        elif limits.connection_rate and answer.rate > limits.connection_rate:
            words = f"Connection rate limit exceeded: {answer.rate}"
        if words:
            session.emit(SmtpdWarning(f"{words} from {session.shown} for service {session.listening.name}"))
            session.farewell(f"Error: too many connections from {session.facts.client_address}", "4.7.0")
            return
    _admitted(session)


def _admitted(session: "Session") -> None:
    sock = session.take_socket()
    if sock is not None:
        session.house.run(handshake_first(session, sock))
    else:
        greet(session)


def greet(session: "Session") -> None:
    def decided(refusal: Reply | None) -> None:
        if refusal is None:
            session.answer(session.listening.greeting)
        else:
            session.deny()
            session.reject(refusal)
        session.pump()

    decide(session, session.listening.policy.at_connect, decided)
