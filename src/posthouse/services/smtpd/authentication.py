"""AUTH (RFC 4954): base64 lines between the client and the auth process, which alone knows what they mean."""

from typing import TYPE_CHECKING

from posthouse.core.reply import MailError, Reply
from posthouse.protocol.sasl import lines as sasl
from posthouse.protocol.smtp import replies
from posthouse.protocol.smtp.events import Auth, AuthResponse
from posthouse.protocol.smtp.states import Verb
from posthouse.runtime.schema import AuthChallenge, Authenticate, AuthFailure, AuthSuccess, CancelAuth, ContinueAuth
from posthouse.services.smtpd.loglines import AuthRefused
from posthouse.services.smtpd.questions import count

if TYPE_CHECKING:
    from posthouse.services.smtpd.colleagues import Answer
    from posthouse.services.smtpd.session import Session

NO_REASON = "(reason unavailable)"
NO_SERVER = "Connection lost to authentication server"
BAD_MECHANISM = "Invalid authentication mechanism"
_LOGGED_OCTETS = 100
NEEDS_ENCRYPTION = Reply.of(504, "5.5.4", "Encryption required for requested authentication mechanism")


def on_auth(session: "Session", event: Auth) -> None:
    session.began(Verb.AUTH)
    listening, client = session.listening, session.client
    assert client is not None
    if not listening.offers_auth or not client.may_authenticate:
        session.answer(replies.NO_AUTH)
        return
    is_secure = session.core.is_secure
    if not is_secure and listening.auth_needs_tls:
        session.answer(NEEDS_ENCRYPTION)
        return
    session.mechanism = event.mechanism
    session.claimed_user = ""
    if not listening.knows_mechanisms:
        session.emit(AuthRefused(session.shown, session.mechanism, NO_SERVER, ""))
        session.answer(Reply.of(454, "4.7.0", f"Temporary authentication failure: {NO_SERVER}"))
        return
    if event.mechanism not in listening.mechanisms[is_secure]:
        _failed(session, BAD_MECHANISM)
        return
    limit = session.limits.auth_rate
    count(session, "auth", limit, ("AUTH command", "too many AUTH commands"), lambda: _start(session, event))


def _note_user(session: "Session", response: bytes) -> None:
    """Who somebody claims to be, for the log of failures."""
    name = b""
    if session.mechanism == "PLAIN":
        fields = response.split(b"\0")
        name = fields[1] if len(fields) == 3 else b""
    elif session.mechanism == "LOGIN" and not session.claimed_user:
        name = response
    if name:
        session.claimed_user = name[:_LOGGED_OCTETS].decode("utf-8", "replace")


def _start(session: "Session", event: Auth) -> None:
    session.claimed_user = ""
    if event.response is not None:
        _note_user(session, event.response)
    session.auth_number = session.colleagues.next_session_number()
    request = Authenticate(
        session=session.auth_number,
        mechanism=event.mechanism,
        response=event.response,
        service="smtp",
        remote=session.facts.client_address,
        local=_local_address(session),
        secured=session.core.is_secure,
    )
    session.ask(session.colleagues.auth, request, lambda answer: _answered(session, answer))


def _local_address(session: "Session") -> str:
    name = session.transport.get_extra_info("sockname") if session.transport is not None else None
    return str(name[0]) if name else ""


def on_response(session: "Session", event: AuthResponse) -> None:
    if event.data is None:
        session.colleagues.auth.notify(CancelAuth(session.auth_number))
        session.answer(replies.AUTH_ABORTED)
        return
    _note_user(session, event.data)
    request = ContinueAuth(session.auth_number, event.data)
    session.ask(session.colleagues.auth, request, lambda answer: _answered(session, answer))


def _answered(session: "Session", answer: "Answer") -> None:
    match answer:
        case AuthChallenge(data):
            session.answer(sasl.challenge_reply(data))
        case AuthSuccess(user):
            session.facts.sasl_username = user
            session.sasl_method = session.mechanism
            session.succeeded(Verb.AUTH)
            session.answer(replies.AUTHENTICATED)
        case AuthFailure() if not answer.temporary:
            _failed(session, answer.reason or NO_REASON)
        case _:
            reason = answer.reason if isinstance(answer, AuthFailure) else NO_SERVER
            session.emit(AuthRefused(session.shown, session.mechanism, reason or NO_SERVER, session.claimed_user))
            # RFC 4954 s4: a temporary failure, or a user's program would ask for another password.
            session.answer(Reply.of(454, "4.7.0", f"Temporary authentication failure: {_public(answer)}"))
    session.pump()


def _public(answer: "Answer") -> str:
    return NO_SERVER if isinstance(answer, MailError) else NO_REASON


def _failed(session: "Session", reason: str) -> None:
    """The reason is for the log; the client learns whether its mechanism was at fault, no more."""
    session.emit(AuthRefused(session.shown, session.mechanism, reason, session.claimed_user))
    shown = reason if reason == BAD_MECHANISM else NO_REASON
    session.answer(Reply.of(535, "5.7.8", f"Error: authentication failed: {shown}"))
