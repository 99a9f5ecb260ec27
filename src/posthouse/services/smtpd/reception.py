"""The content of a message: from the client to the queue, and the answer when it is on stable storage."""

from typing import TYPE_CHECKING, Final

from posthouse.core.envelope import Arrival, Envelope
from posthouse.core.reply import LOCAL_ERROR, MailError, Reply, TempFail
from posthouse.core.result import DeliveryStatus, RecipientResult
from posthouse.intake import check_octets, prepare, received_from_client
from posthouse.protocol.smtp import replies
from posthouse.protocol.smtp.events import Chunk, ContentPiece, Data, EndOfContent
from posthouse.protocol.smtp.states import Verb
from posthouse.runtime.schema import Done, Outcomes, Submit, Transact
from posthouse.services.smtpd.colleagues import Question
from posthouse.services.smtpd.loglines import ClientOf
from posthouse.services.smtpd.questions import decide
from posthouse.services.smtpd.transaction import Stream, Transaction

if TYPE_CHECKING:
    from posthouse.services.smtpd.colleagues import Answer
    from posthouse.services.smtpd.session import Session

_CODES: Final = {"2": 250, "4": 451, "5": 550}
_AFTER_CONTENT: Final = Verb.CONTENT.value


def on_data(session: "Session", event: Data) -> None:  # noqa: ARG001 - a Handler's signature
    session.began(Verb.DATA)

    def decided(refusal: Reply | None) -> None:
        if refusal is None:
            session.content_octets = 0
            session.answer(replies.SEND_CONTENT)
        else:
            session.reject(refusal)

    decide(session, session.listening.policy.at_data, decided)


def on_chunk(session: "Session", event: Chunk) -> None:
    session.began(Verb.BDAT)
    session.succeeded(Verb.BDAT)
    session.answer(Reply.of(250, "2.0.0", f"Ok: {event.octets} bytes"))


def on_piece(session: "Session", event: ContentPiece) -> None:
    """A part of a large message. The first one has the whole header."""
    transaction = session.transaction
    assert transaction is not None
    stream = transaction.stream
    if transaction.failure is not None:
        return
    try:
        data = check_octets(session.listening.rules, event.data)
        if stream is None:
            _make_current(session, transaction)
            connection = session.colleagues.queue.connection
            if connection is None:
                transaction.failure = LOCAL_ERROR
                return
            data = _prepared(session, transaction, data, is_whole=False)
            stream = transaction.stream = Stream(connection, session.room_again)
    except MailError as error:
        transaction.failure = error.reply
        transaction.abandon()
        return
    stream.append(data)


def on_end(session: "Session", event: EndOfContent) -> None:
    if event.verb is Verb.BDAT:
        session.began(Verb.BDAT)
    session.after = _AFTER_CONTENT
    transaction = session.transaction
    assert transaction is not None
    refusal = event.refusal or transaction.failure
    if refusal is not None:
        _refused(session, event.verb, refusal)
        return
    if session.listening.policy.looks_at_end_of_data:

        def decided(reply: Reply | None) -> None:
            if reply is None:
                _hand_over(session, transaction, event)
            else:
                _refused(session, event.verb, reply)

        decide(session, session.listening.policy.at_end_of_data, decided)
        return
    _hand_over(session, transaction, event)


def _refused(session: "Session", verb: Verb, refusal: Reply) -> None:
    session.after = verb.value
    transaction = session.transaction
    if session.listening.is_lmtp and transaction is not None:
        # RFC 2033 s4.2: one reply for each recipient.
        for _ in transaction.recipients[1:]:
            session.also_answer(refusal)
    session.reject(refusal)
    session.after = _AFTER_CONTENT
    session.end_transaction()


def _hand_over(session: "Session", transaction: Transaction, event: EndOfContent) -> None:
    stream = transaction.stream
    verb = event.verb
    try:
        data = check_octets(session.listening.rules, event.data)
        if stream is None:
            _make_current(session, transaction)
            content = _prepared(session, transaction, data, is_whole=True)
            _submit(session, transaction, content, len(content), 0, verb)
            return
    except MailError as error:
        _refused(session, verb, error.reply)
        return
    stream.append(data)
    session.waiting()

    def written() -> None:
        if stream.failure is not None:
            _refused(session, verb, stream.failure)
        elif stream.connection is not session.colleagues.queue.connection:
            _refused(session, verb, LOCAL_ERROR)
        else:
            handle, stream.handle = stream.handle, 0
            _submit(session, transaction, b"", stream.size, handle, verb)
        session.pump()

    stream.finish(written)


def _make_current(session: "Session", transaction: Transaction) -> None:
    """The queue id must be of the lease that the queue knows now; after its restart that is another one."""
    ids = session.colleagues.ids
    if ids is None:
        raise TempFail(LOCAL_ERROR)
    if transaction.ids is not ids:
        assign_queue_id(session, transaction)


def assign_queue_id(session: "Session", transaction: Transaction) -> bool:
    """A queue id for this message, and the log line that ties it to the client. False while the queue is away."""
    ids = session.colleagues.ids
    if ids is None:
        return False
    transaction.ids = ids
    transaction.queue_id = ids.next(session.house.clock.now())
    session.emit(ClientOf(transaction.queue_id, session.shown, session.sasl_method, session.facts.sasl_username))
    return True


def _completes(session: "Session") -> bool:
    """Are missing header fields added for this client (local_header_rewrite_clients)?"""
    facts, classes = session.facts, session.listening.completes
    return (
        (facts.is_own_address and "permit_inet_interfaces" in classes)
        or (facts.is_in_mynetworks and "permit_mynetworks" in classes)
        or (bool(facts.sasl_username) and "permit_sasl_authenticated" in classes)
    )


def _prepared(session: "Session", transaction: Transaction, content: bytes, *, is_whole: bool) -> bytes:
    listening, facts = session.listening, session.facts
    recipients = transaction.recipients
    received = received_from_client(
        listening.rules,
        helo=session.core.hello,
        client_name=facts.client_name,
        client_address=facts.client_address,
        protocol=_transmission_type(session, transaction),
        queue_id=transaction.queue_id,
        at_s=transaction.started_s,
        recipient=transaction.first_recipient if len(recipients) == 1 else None,
        tls=session.tls if listening.received_shows_tls else "",
        authenticated=facts.sasl_username if listening.received_shows_user else "",
    )
    prepared = prepare(
        listening.rules,
        content,
        received=received,
        queue_id=transaction.queue_id,
        at_s=transaction.started_s,
        sender=transaction.sender,
        add_missing=_completes(session),
        is_whole=is_whole,
    )
    transaction.message_id = prepared.message_id
    return prepared.content


def _transmission_type(session: "Session", transaction: Transaction) -> str:
    """RFC 3848, RFC 6531 s4.3."""
    core = session.core
    base = session.protocol
    if base == "SMTP":
        return base
    suffix = ("S" if core.is_secure else "") + ("A" if session.facts.sasl_username else "")
    if transaction.needs_smtputf8:
        return f"UTF8{base.removeprefix('E')}{suffix}"
    return base + suffix


def _submit(session: "Session", transaction: Transaction, content: bytes, size: int, handle: int, verb: Verb) -> None:
    connection = session.colleagues.queue.connection
    if connection is None:
        _refused(session, verb, LOCAL_ERROR)
        return
    facts, parameters = session.facts, transaction.parameters
    envelope = Envelope(
        transaction.sender,
        tuple(transaction.recipients),
        parameters.body,
        transaction.needs_smtputf8,
        parameters.ret,
        parameters.envid,
    )
    is_lmtp = session.listening.is_lmtp
    arrival = Arrival(
        transaction.started_s,
        "lmtp" if is_lmtp else "smtp",
        facts.client_name,
        facts.client_address,
        session.core.hello,
        session.protocol,
        session.sasl_method,
        facts.sasl_username,
        -1,
        transaction.message_id,
    )
    request = (Transact if is_lmtp else Submit)(
        transaction.queue_id, envelope, arrival, size, content, handle, tuple(transaction.sealed)
    )

    def answered(answer: "Answer") -> None:
        session.waited()
        if is_lmtp:
            _transacted(session, transaction, answer, verb)
        else:
            _submitted(session, transaction, answer, verb)
        session.pump()

    session.wait_for(Question(connection.call(request), answered))


def _submitted(session: "Session", transaction: Transaction, answer: "Answer", verb: Verb) -> None:
    if not isinstance(answer, Done):
        _refused(session, verb, answer.reply if isinstance(answer, MailError) else LOCAL_ERROR)
        return
    session.succeeded(verb)
    session.tally.delivered()
    session.end_transaction()
    session.answer(Reply(250, "2.0.0", (f"Ok: queued as {transaction.queue_id}",)))


def _transacted(session: "Session", transaction: Transaction, answer: "Answer", verb: Verb) -> None:
    if not isinstance(answer, Outcomes) or len(answer.results) != len(transaction.recipients):
        _refused(session, verb, answer.reply if isinstance(answer, MailError) else LOCAL_ERROR)
        return
    # RFC 2033 s4.2: in the order of the RCPT commands.
    results = sorted(answer.results, key=lambda one: one.index)
    told = [_outcome_reply(transaction, one) for one in results]
    if any(reply.code < 400 for reply in told):
        session.succeeded(verb)
        session.tally.delivered()
    session.end_transaction()
    for reply in told[:-1]:
        session.also_answer(reply)
    session.answer(told[-1], is_error=False)


def _outcome_reply(transaction: Transaction, result: RecipientResult) -> Reply:
    recipient = transaction.recipients[result.index].address
    if result.status is DeliveryStatus.SENT:
        return Reply.of(250, "2.0.0", f"<{recipient}> {transaction.queue_id} Saved")
    digit = "4" if result.status is DeliveryStatus.DEFERRED else "5"
    status = result.dsn if result.dsn.startswith(f"{digit}.") else f"{digit}.0.0"
    words = "".join(one if one.isprintable() else " " for one in result.text)[:400]
    return Reply.of(_CODES[digit], status, f"<{recipient}> {words}")
