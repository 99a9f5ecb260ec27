"""Logins under way: from the first message of an exchange to the answer, whoever asks.

A refusal leaves auth_failure_delay after the attempt; a client with wrong logins waits before its next one is looked
at; what a mechanism needs of a stored password is answered after a fixed time, so that it does not tell who exists.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Final, cast

import msgspec

from posthouse.auth.databases.prefetch import prefetched
from posthouse.auth.exchange import DelayedAnswers, Exchange, Exchanges
from posthouse.auth.failures import Failures
from posthouse.auth.loglines import AnonymousLogin, LoginError, LoginFailed, WrongLogins
from posthouse.auth.passdb import PassDb, Verdict
from posthouse.auth.policy import Attempt, Decision, Policy
from posthouse.auth.tickets import Tickets
from posthouse.core.logline import LogLine
from posthouse.protocol.sasl.known import SERVER_MECHANISMS, offered
from posthouse.protocol.sasl.mechanism import (
    Anonymous,
    Challenge,
    Claim,
    Credentials,
    NeedSecret,
    Proven,
    Said,
    SaslError,
    Secret,
    SecretMechanism,
    Surroundings,
    Token,
    Wrong,
)
from posthouse.runtime.ipc import Responder, SchemaError
from posthouse.runtime.schema import (
    AuthChallenge,
    Authenticate,
    AuthFailure,
    AuthSuccess,
    CancelAuth,
    ContinueAuth,
    Record,
)

MAILBOX_SERVICES: Final = frozenset({"imap", "pop3", "sieve"})
"""Services whose sessions take place in a mailbox process. They alone get tickets, and their passwords in clear text
are ours to refuse on open connections; smtpd has smtpd_tls_auth_only for that."""
SECRET_FLOOR_S: Final = 0.02
"""After which the challenge leaves that is made of a stored password: longer than making it takes."""


class Terms(msgspec.Struct, frozen=True):
    """What the configuration says about logins."""

    mechanisms: tuple[str, ...]
    refuses_plaintext: bool
    failure_delay_s: float
    is_verbose: bool
    exchange_limit: int
    exchange_timeout_s: float
    hostname: str
    realms: tuple[str, ...]
    anonymous_user: str
    needs_certificate: bool


class Logins:
    """`busy` counts the tasks of the process; `logged_in` hears of every login (the service, and the password if it was
    shown). Exchanges belong to the connection they came by (`Exchanges`)."""

    def __init__(
        self,
        *,
        tickets: Tickets,
        failures: Failures,
        emit: Callable[[LogLine], None],
        monotonic: Callable[[], float],
        busy: Callable[[], int],
        logged_in: Callable[[Verdict, str, bytes | None], None],
    ) -> None:
        self.tickets = tickets
        self.failures = failures
        self.terms: Terms
        self.passdb: PassDb
        self.policy: Policy | None = None
        self.delayed = DelayedAnswers(monotonic)
        self._emit = emit
        self._monotonic = monotonic
        self._busy = busy
        self._logged_in = logged_in
        self._held = 0
        self._put_off = 0

    def mechanisms(self) -> Mapping[str, tuple[str, ...]]:
        """For servers that ask about their own clients: name → Dovecot's flags."""
        names = offered(self.terms.mechanisms, knows_tokens=self.passdb.knows_tokens)
        return {name: SERVER_MECHANISMS[name].flags for name in names}

    def take_put_off(self) -> int:
        """Logins that were put off since the last call, because too many were waiting."""
        count, self._put_off = self._put_off, 0
        return count

    def on_record(
        self,
        exchanges: Exchanges,
        record: Record,
        respond: Responder | None,
        *,
        services: Collection[str] = (),
        is_foreign: bool = False,
    ) -> None:
        """`services`: those of MAILBOX_SERVICES for which this client may get tickets."""
        match record, respond:
            case Authenticate(), respond if respond is not None:
                self._begin(exchanges, record, respond, services, is_foreign)
            case ContinueAuth(session, response), respond if respond is not None:
                exchange = exchanges.take(session)
                if exchange is None:
                    respond(AuthFailure(False, "no such exchange, or it took too long", protocol_error=True))
                else:
                    self._step(exchanges, exchange, response, respond)
            case CancelAuth(session), None:
                exchanges.take(session)
            case _:
                raise SchemaError(f"unexpected {type(record).__name__}")

    # ── one exchange ──

    def _begin(
        self,
        exchanges: Exchanges,
        request: Authenticate,
        respond: Responder,
        services: Collection[str],
        is_foreign: bool,
    ) -> None:
        terms, name = self.terms, request.mechanism.upper()
        bindings = dict(request.bindings)
        usable = offered(
            terms.mechanisms,
            knows_tokens=self.passdb.knows_tokens,
            has_bindings=bool(bindings),
            certified=request.certified,
        )
        if name not in usable:
            respond(AuthFailure(False, f"unsupported mechanism {request.mechanism}", protocol_error=True))
            return
        is_mailbox = request.service in MAILBOX_SERVICES and not is_foreign
        if is_mailbox and request.service not in services:
            respond(AuthFailure(False, f"not the place to log in for {request.service}", protocol_error=True))
            return
        kind = SERVER_MECHANISMS[name]
        if is_mailbox and kind.is_plaintext and terms.refuses_plaintext and not request.secured:
            respond(AuthFailure(False, "plaintext authentication is disabled", protocol_error=True))
            return
        if terms.needs_certificate and is_mailbox and not request.has_certificate:
            # As Dovecot: auth_ssl_require_client_cert is for its own protocols.
            respond(AuthFailure(False, "client didn't present valid SSL certificate", protocol_error=True))
            return
        if max(len(exchanges), self._busy(), self._held) >= terms.exchange_limit:
            respond(AuthFailure(True, "too many exchanges are open"))
            return
        # A binding that no mechanism of ours uses was not offered, and its absence is no downgrade.
        has_plus = any(SERVER_MECHANISMS[one].is_bound for one in usable)
        around = Surroundings(
            secrets.token_urlsafe(24),
            terms.hostname,
            bindings if has_plus else {},
            request.certified,
            terms.realms,
        )
        now_s = self._monotonic()
        exchange = Exchange(request, kind.make(around), now_s, terms.exchange_timeout_s, opens_mailbox=is_mailbox)
        penalty_s = 0.0 if request.no_penalty else self.failures.penalty_s(request.remote)
        if penalty_s:
            self._held += 1
            asyncio.get_running_loop().call_later(penalty_s, self._release, exchanges, exchange, respond)
        else:
            self._step(exchanges, exchange, request.response, respond)

    def _release(self, exchanges: Exchanges, exchange: Exchange, respond: Responder) -> None:
        """A login that had to wait for the failures before it."""
        self._held -= 1
        self._step(exchanges, exchange, exchange.request.response, respond)

    def _step(self, exchanges: Exchanges, exchange: Exchange, response: bytes | None, respond: Responder) -> None:
        if exchange.refused is not None:
            # The client has taken note of what was wrong with its token.
            self._refuse(exchange, exchange.refused, respond)
            return
        try:
            said = exchange.mechanism.step(response)
        except SaslError as error:
            self._refuse(exchange, AuthFailure(False, str(error), protocol_error=True), respond)
            return
        self._go_on(exchanges, exchange, said, respond)

    def _go_on(self, exchanges: Exchanges, exchange: Exchange, said: Said, respond: Responder) -> None:
        policy = self.policy
        if (
            policy is None
            or exchange.attempt is not None
            or not isinstance(said, Credentials | NeedSecret | Token | Claim)
        ):
            self._look_up(exchanges, exchange, said, respond)
            return
        password = said.password if isinstance(said, Credentials) else None
        attempt = exchange.attempt = Attempt(exchange.request.certified or said.authcid, password, exchange.question)

        def decided(decision: Decision) -> None:
            if decision is Decision.GO_ON:
                self._look_up(exchanges, exchange, said, respond)
            else:
                self._reject(exchanges, exchange, Verdict(attempt.login), decision, respond)

        policy.before(attempt, decided)

    def _look_up(self, exchanges: Exchanges, exchange: Exchange, said: Said, respond: Responder) -> None:
        question = exchange.question

        def judged(verdict: Verdict, password: bytes | None = None) -> None:
            self._on_verdict(exchanges, exchange, verdict, respond, password)

        # The delay of a refusal counts from the last message: before it, the client was the slow one.
        exchange.begun_s = self._monotonic()
        if isinstance(said, Credentials | NeedSecret) and exchange.request.certified:
            said = msgspec.structs.replace(said, authcid=exchange.request.certified)
        match said:
            case Challenge(data):
                self._challenge(exchanges, exchange, data, respond)
            case Credentials():
                self.passdb.check(said, question, lambda verdict: judged(verdict, said.password))
            case NeedSecret():
                self.passdb.secret(
                    said,
                    question,
                    lambda verdict, secret: self._on_secret(exchanges, exchange, verdict, secret, respond),
                )
            case Proven():
                judged(exchange.verdict)
            case Wrong(reason):
                known = exchange.verdict
                reason = reason or ("Password mismatch" if known.is_right else known.reason)
                judged(msgspec.structs.replace(known, is_right=False, reason=reason or "refused", fields={}))
            case Token():
                self.passdb.token(said, question, judged)
            case Claim():
                self.passdb.claim(said, question, judged)
            case Anonymous(trace):
                self._emit(AnonymousLogin(exchange.request.remote, exchange.request.log_session, trace))
                judged(Verdict(self.terms.anonymous_user, is_right=True, database="anonymous"))

    def _challenge(
        self, exchanges: Exchanges, exchange: Exchange, data: bytes, respond: Responder, at_s: float = 0.0
    ) -> None:
        exchange.until_s = self._monotonic() + self.terms.exchange_timeout_s
        exchanges.put(exchange)
        if at_s:
            asyncio.get_running_loop().call_later(max(0.0, at_s - self._monotonic()), respond, AuthChallenge(data))
        else:
            respond(AuthChallenge(data))

    def _on_secret(
        self,
        exchanges: Exchanges,
        exchange: Exchange,
        verdict: Verdict,
        secret: Secret,
        respond: Responder,
    ) -> None:
        if verdict.is_temporary:
            self._on_verdict(exchanges, exchange, verdict, respond)
            return
        exchange.verdict = verdict
        said = cast(SecretMechanism, exchange.mechanism).secret(secret)  # it has asked for one
        if isinstance(said, Proven) and not verdict.is_right:
            said = Wrong()
        if isinstance(said, Challenge):
            self._challenge(exchanges, exchange, said.data, respond, exchange.begun_s + SECRET_FLOOR_S)
        else:
            self._go_on(exchanges, exchange, said, respond)

    def _on_verdict(
        self,
        exchanges: Exchanges,
        exchange: Exchange,
        verdict: Verdict,
        respond: Responder,
        password: bytes | None = None,
    ) -> None:
        """`password` as the client showed it, if it did."""
        policy, attempt = self.policy, exchange.attempt
        if policy is None or attempt is None or verdict.is_temporary:
            self._finish(exchanges, exchange, verdict, respond, password)
            return

        def decided(decision: Decision) -> None:
            if decision is Decision.GO_ON or not verdict.is_right:
                # Of a wrong password there is nothing more to refuse.
                policy.report(attempt, success=verdict.is_right, policy_reject=decision is not Decision.GO_ON)
                self._finish(exchanges, exchange, verdict, respond, password)
            else:
                self._reject(exchanges, exchange, verdict, decision, respond)

        policy.after(attempt, success=verdict.is_right, answer=decided)

    def _reject(
        self, exchanges: Exchanges, exchange: Exchange, verdict: Verdict, decision: Decision, respond: Responder
    ) -> None:
        """The policy server will not have it, or cannot be asked. Either says nothing about the password."""
        attempt = exchange.attempt
        if decision is Decision.UNKNOWN:
            respond(AuthFailure(True, "the policy server cannot be asked"))
            return
        if self.policy is not None and attempt is not None:
            self.policy.report(attempt, success=False, policy_reject=True)
        refused = Verdict(verdict.user, reason="refused by the policy server", database="policy")
        self._finish(exchanges, exchange, refused, respond, by_policy=True)

    def _finish(
        self,
        exchanges: Exchanges,
        exchange: Exchange,
        verdict: Verdict,
        respond: Responder,
        password: bytes | None = None,
        *,
        by_policy: bool = False,
    ) -> None:
        request = exchange.request
        if verdict.is_right:
            self.failures.succeeded(request.remote, verdict.user)
            self._logged_in(verdict, request.service, password)
            ticket = b""
            if exchange.opens_mailbox:
                fields = prefetched(verdict.fields)
                ticket = self.tickets.issue(verdict.user, request.service, self._monotonic(), fields)
            respond(AuthSuccess(verdict.user, ticket))
            return
        if verdict.is_temporary:
            if verdict.error:
                self._emit(
                    LoginError(verdict.database, verdict.user, request.remote, request.log_session, verdict.error)
                )
            else:
                self._put_off += 1
            # At once: this says nothing about the password, and nobody should wait longer for bad news of ours.
            respond(AuthFailure(True, verdict.reason))
            return
        if self.terms.is_verbose:
            self._emit(LoginFailed(verdict.database, verdict.user, request.remote, request.log_session, verdict.reason))
        if not request.no_penalty and not by_policy:
            self.failed(request.remote, request.service, verdict, password)
        failure = AuthFailure(False, verdict.reason, disabled=verdict.is_disabled)
        told: bytes = getattr(exchange.mechanism, "refusal", b"")
        if told:
            # RFC 7628 s3.2.2: the client hears why as a challenge, and answers before the exchange fails.
            exchange.refused = failure
            self._challenge(exchanges, exchange, told, respond)
        else:
            self._refuse(exchange, failure, respond)

    def failed(self, remote: str, service: str, verdict: Verdict, password: bytes | None = None) -> None:
        """Counts, and is a line for ban tools when it is enough."""
        suspicion = self.failures.failed(remote, verdict.user, password, service, verdict.reason or "Password mismatch")
        if suspicion is not None:
            self._emit(WrongLogins(*msgspec.structs.astuple(suspicion)))

    def _refuse(self, exchange: Exchange, answer: AuthFailure, respond: Responder) -> None:
        self.delayed.add(exchange.begun_s + self.terms.failure_delay_s, respond, answer)
