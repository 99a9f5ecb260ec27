"""What each command does, but for content, AUTH and STARTTLS."""

from typing import TYPE_CHECKING, Final

from posthouse.core.envelope import Recipient
from posthouse.core.reply import LOCAL_ERROR, Reply
from posthouse.protocol.smtp import replies
from posthouse.protocol.smtp.events import Etrn, Hello, Help, Mail, Noop, Quit, Rcpt, Refusal, Reset, Unknown, Vrfy
from posthouse.protocol.smtp.paths import BadPath, parse_path
from posthouse.protocol.smtp.states import Verb
from posthouse.runtime.schema import Done, Flush, Lookup, LookupResult
from posthouse.services.smtpd.loglines import ProtocolError, SmtpdWarning
from posthouse.services.smtpd.questions import count, decide
from posthouse.services.smtpd.reception import assign_queue_id
from posthouse.services.smtpd.transaction import MAXIMAL_SEALED, Transaction

if TYPE_CHECKING:
    from posthouse.services.smtpd.colleagues import Answer
    from posthouse.services.smtpd.session import Session

HELP: Final = Reply.of(
    214,
    "2.0.0",
    "Commands: HELO EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY ETRN HELP QUIT STARTTLS AUTH",
    "See RFC 5321.",
)
HELP_LMTP: Final = Reply.of(
    214, "2.0.0", "Commands: LHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT STARTTLS AUTH", "See RFC 2033."
)
CANNOT_FLUSH: Final = Reply.of(458, "4.3.0", "Unable to queue messages")
FLUSHING: Final = Reply.of(250, "2.0.0", "Queuing started")


def on_hello(session: "Session", event: Hello) -> None:
    session.began(event.verb)
    session.end_transaction()
    facts = session.facts
    facts.helo = event.name

    def decided(refusal: Reply | None) -> None:
        if refusal is not None:
            facts.helo = ""
            session.reject(refusal)
            return
        session.succeeded(event.verb)
        listening, client = session.listening, session.client
        assert client is not None
        if event.verb is Verb.HELO:
            session.answer(Reply(250, "", (listening.hostname,)))
            return
        reply, wire = listening.hello(
            is_secure=session.core.is_secure,
            may_authenticate=client.may_authenticate,
            is_authenticated=session.core.is_authenticated,
        )
        session.answer(reply, wire)

    decide(session, session.listening.policy.at_helo, decided)


def _lacks_tls(session: "Session") -> bool:
    if session.listening.requires_tls and not session.core.is_secure:
        session.answer(replies.NEED_TLS)
        return True
    return False


def on_mail(session: "Session", event: Mail) -> None:
    session.began(Verb.MAIL)
    if _lacks_tls(session):
        return
    if session.limits.message_rate:
        limit = session.limits.message_rate
        count(session, "message", limit, ("Message delivery request", "too much mail"), lambda: _sender(session, event))
    else:
        _sender(session, event)


def _sender(session: "Session", event: Mail) -> None:
    sender = event.sender
    if sender is not None and not sender.domain and sender.local_part:
        sender = sender.with_domain(session.listening.origin)
    session.facts.sender = sender

    def decided(refusal: Reply | None) -> None:
        if refusal is not None:
            session.reject(refusal)
            session.facts.sender = None
            return
        session.transaction = Transaction(
            sender,
            event.parameters,
            session.house.clock.now(),
            is_strict=session.listening.options.requires_smtputf8,
        )
        session.succeeded(Verb.MAIL)
        session.answer(replies.SENDER_OK)

    decide(session, session.listening.policy.at_mail, decided)


def on_rcpt(session: "Session", event: Rcpt) -> None:
    session.began(Verb.RCPT)
    if session.limits.recipient_rate:
        limit = session.limits.recipient_rate
        count(
            session,
            "recipient",
            limit,
            ("Recipient address", "too many recipients"),
            lambda: _recipient(session, event),
        )
    else:
        _recipient(session, event)


def _recipient(session: "Session", event: Rcpt) -> None:
    facts = session.facts
    facts.recipient = event.recipient
    facts.resolution = session.colleagues.recipient(event.recipient)

    def decided(refusal: Reply | None) -> None:
        transaction = session.transaction
        assert transaction is not None
        if refusal is not None:
            session.reject(refusal)
            return
        if not transaction.queue_id and not assign_queue_id(session, transaction):
            session.reject(LOCAL_ERROR)
            return
        given = event.recipient
        address = facts.resolution.recipient if facts.resolution is not None else given
        original = event.original or ("" if address == given else str(given))
        transaction.recipients.append(Recipient(address, original, event.notify))
        if facts.resolution is not None and facts.resolution.sealed and len(transaction.sealed) < MAXIMAL_SEALED:
            transaction.sealed.append(facts.resolution.sealed)
        if transaction.first_recipient is None:
            transaction.first_recipient = given
        facts.recipient_count += 1
        session.succeeded(Verb.RCPT)
        session.answer(replies.RECIPIENT_OK)

    decide(session, session.listening.policy.at_rcpt, decided)


def on_reset(session: "Session", event: Reset) -> None:  # noqa: ARG001 - a Handler's signature
    session.began(Verb.RSET)
    session.end_transaction()
    session.succeeded(Verb.RSET)
    session.junk()
    session.answer(replies.OK)


def on_noop(session: "Session", event: Noop) -> None:  # noqa: ARG001 - a Handler's signature
    session.began(Verb.NOOP)
    session.succeeded(Verb.NOOP)
    session.junk()
    session.answer(replies.OK)


def on_help(session: "Session", event: Help) -> None:  # noqa: ARG001 - a Handler's signature
    session.began(Verb.HELP)
    session.succeeded(Verb.HELP)
    session.junk()
    session.answer(HELP_LMTP if session.listening.is_lmtp else HELP)


def on_quit(session: "Session", event: Quit) -> None:  # noqa: ARG001 - a Handler's signature
    session.began(Verb.QUIT)
    session.succeeded(Verb.QUIT)
    session.answer(replies.BYE)


def on_vrfy(session: "Session", event: Vrfy) -> None:
    """RFC 5321 s3.5.3: 252 says that delivery would be tried. It is evaluated as RCPT is, and tells no more."""
    session.began(Verb.VRFY)
    session.junk()
    if _lacks_tls(session):
        return
    if session.listening.disables_vrfy:
        session.answer(replies.VRFY_DISABLED)
        return
    try:
        address, rest = parse_path(event.address)
    except BadPath:
        address, rest = None, ""
    if address is None or rest.strip():
        session.answer(replies.BAD_RECIPIENT)
        return
    facts = session.facts
    facts.recipient = address
    facts.resolution = session.colleagues.recipient(address)

    def decided(refusal: Reply | None) -> None:
        if refusal is not None:
            session.reject(refusal)
        else:
            session.succeeded(Verb.VRFY)
            session.answer(Reply.of(252, "2.0.0", event.address))
        facts.recipient = None

    decide(session, session.listening.policy.for_vrfy, decided)


def on_etrn(session: "Session", event: Etrn) -> None:
    """RFC 1985: the client asks for what waits for its domain; only for domains we keep mail for."""
    session.began(Verb.ETRN)
    session.junk()
    if _lacks_tls(session):
        return
    domain = event.domain.lstrip("@#")
    session.facts.etrn_domain = domain
    session.facts.recipient = None

    def decided(refusal: Reply | None) -> None:
        if refusal is not None:
            session.reject(refusal)
        else:
            session.ask(session.colleagues.tables, Lookup("fast_flush_domains", domain.lower()), listed)

    def listed(answer: "Answer") -> None:
        if not isinstance(answer, LookupResult):
            session.answer(CANNOT_FLUSH)
        elif answer.value is None:
            session.answer(Reply.of(459, "4.7.0", f"<{event.domain}>: service unavailable"))
        else:
            session.ask(session.colleagues.queue, Flush(domain.lower()), flushed)
            return
        session.pump()

    def flushed(answer: "Answer") -> None:
        if isinstance(answer, Done):
            session.succeeded(Verb.ETRN)
            session.answer(FLUSHING)
        else:
            session.answer(CANNOT_FLUSH)
        session.pump()

    decide(session, session.listening.policy.at_etrn, decided)


def on_unknown(session: "Session", event: Unknown) -> None:
    session.began(Verb.UNKNOWN)
    if session.listening.is_forbidden(event.word, event.line):
        words = f"non-{session.protocol} command from {session.shown}: {event.line}"
        session.emit(SmtpdWarning(words))
        session.answer(replies.RULE_BREAKER)
        session.close()
    elif event.word.upper() in session.listening.noop_commands:
        session.junk()
        session.answer(replies.OK)
    else:
        session.emit(ProtocolError("UNKNOWN", session.shown, str(replies.NOT_RECOGNIZED), event.line))
        session.answer(replies.NOT_RECOGNIZED)


def on_refusal(session: "Session", event: Refusal) -> None:
    """What the core refuses: syntax, order, size. Only what is about a message is a reject in the log."""
    reply = event.reply
    if event.verb is Verb.RESPONSE:
        session.answer(reply)
        return
    session.began(event.verb)
    if reply is replies.TOO_MANY_RECIPIENTS:
        session.overshoot += 1
        session.reject(reply, is_error=session.overshoot > session.limits.recipient_overshoot)
    elif reply is session.core.bare_line_end or reply.status == "5.3.4":
        session.reject(reply)
    else:
        session.emit(ProtocolError(event.verb.value, session.shown, str(reply), event.line))
        session.answer(reply)
