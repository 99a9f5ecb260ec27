"""Decisions that may have to ask somebody first: restrictions, and rates per client."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from posthouse.core.reply import Reply
from posthouse.policy import Facts, Unanswered
from posthouse.runtime.schema import CountEvent, Counts, Resolution, Resolve
from posthouse.services.smtpd.loglines import SmtpdWarning

if TYPE_CHECKING:
    from posthouse.services.smtpd.colleagues import Answer
    from posthouse.services.smtpd.session import Session

Check = Callable[[Facts], Reply | None]


def decide(session: "Session", check: Check, then: Callable[[Reply | None], None]) -> None:
    """Evaluates restrictions, as often as it takes until all their questions are answered."""
    facts = session.facts
    try:
        refusal = check(facts)
    except Unanswered as unanswered:
        request = unanswered.request

        def answered(answer: "Answer") -> None:
            facts.answers[request] = answer
            if isinstance(request, Resolve) and request.for_delivery and isinstance(answer, Resolution):
                session.colleagues.remember(request.recipient, answer)
                if request.recipient == facts.recipient:
                    facts.resolution = answer
            decide(session, check, then)
            session.pump()

        session.ask(session.colleagues.tables, request, answered)
        return
    if facts.answers:
        facts.answers.clear()
    then(refusal)


def count(session: "Session", event: str, limit: int, words: tuple[str, str], then: Callable[[], None]) -> None:
    """One more of these events by this client; `then` unless that is too many per anvil_rate_time_unit. `words` are for
    the log and for the client."""
    client = session.client
    assert client is not None
    if not limit or client.is_exempt:
        then()
        return

    def counted(answer: "Answer") -> None:
        if isinstance(answer, Counts) and answer.rate > limit:
            service = session.listening.name
            what = f"{words[0]} rate limit exceeded: {answer.rate} from {session.shown} for service {service}"
            session.emit(SmtpdWarning(what))
            session.answer(Reply.of(450, "4.7.1", f"Error: {words[1]} from {client.address}"))
        else:
            then()
        session.pump()

    session.ask(session.colleagues.control, CountEvent(session.listening.name, client.address, event), counted)
