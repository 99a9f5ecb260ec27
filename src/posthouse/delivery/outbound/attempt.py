"""One job, seen through: an idle connection if there is one, else host after host until every recipient has an answer
(RFC 5321 s5.1).

The short way (an idle connection, an answer for everybody) has no task and no timer. Everything else is `_go_on`: a
coroutine that walks through destinations and hosts, with Postfix's rules for what is tried elsewhere: temporary
failures are, refusals for good are not.
"""

from posthouse.config.parameter import BadValue
from posthouse.core.reply import MailError
from posthouse.delivery.outbound.destination import Destination
from posthouse.delivery.outbound.hosts import Host, NoHost
from posthouse.delivery.outbound.job import Job
from posthouse.delivery.outbound.loglines import LmtpDelivery, SmtpDelivery
from posthouse.delivery.outbound.pool import Key
from posthouse.delivery.outbound.session import Session, SessionError
from posthouse.delivery.outbound.surroundings import Respond, Surroundings
from posthouse.delivery.outbound.tls import TlsPolicy, parse_policy, policy_keys
from posthouse.delivery.outbound.transport import Transport
from posthouse.protocol.smtp.client_transaction import Transaction


class Attempt:
    def __init__(self, around: Surroundings, job: Job, transport: Transport, key: Key, respond: Respond) -> None:
        self._around = around
        self._job = job
        self._transport = transport
        self._settings = transport.settings
        self._key = key
        self._respond = respond
        self._error: SessionError | None = None
        """Why the last host did not do."""
        self._error_host: Host | None = None

    def begin(self) -> None:
        self._around.pool.job_begins(self._key)
        self._job.refuse_unsafe()
        if not self._job.pending:
            self._end()
            return
        session = self._around.pool.take(self._key)
        if session is None:
            self._around.start(self._go_on(frozenset()))
        else:
            self._over(session)

    # ── the short way ──

    def _over(self, session: Session) -> None:
        job = self._job
        job.refuse_impossible(session.client.features, session.host)
        if job.pending:
            session.deliver(job.transaction(), job.content, self._over_done)
        else:
            self._around.pool.give_back(self._key, session)
            self._end()

    def _over_done(self, session: Session, transaction: Transaction, error: SessionError | None) -> None:
        job = self._job
        job.take(transaction, session.client.features, session.host)
        self._around.pool.give_back(self._key, session)
        if not job.pending:
            self._end()
        elif error is not None and session.heard_nothing:
            # The connection had died while it waited; the server has seen nothing of this message.
            self._around.start(self._go_on(frozenset()))
        else:
            self._error, self._error_host = error, session.host
            self._around.start(self._go_on(frozenset({session.host.address})))

    # ── the long way ──

    async def _go_on(self, tried: frozenset[str]) -> None:
        try:
            await self._try_everybody(tried)
        except Exception as error:  # the edge: a bug here costs a retry, never the message
            self._around.report("delivering", error)
            self._error = SessionError("4.3.0", "internal error")
        self._job.end(self._error, self._error_host)
        self._end()

    async def _try_everybody(self, tried: frozenset[str]) -> None:
        settings = self._settings
        nexthops = self._job.request.nexthop.replace(",", " ").split()
        for number, text in enumerate((*nexthops, *settings.fallback_relays)):
            is_fallback = number >= len(nexthops)
            try:
                destination = Destination.parse(text, settings.port)
                hosts = await self._around.finder.find(destination, settings)
            except BadValue as error:
                self._failed(SessionError("4.3.5", f"bad destination {text}: {error}", connect=True), None)
                continue
            except NoHost as error:
                self._failed(self._no_host(error, text, is_fallback), None)
                continue
            if await self._try_hosts(destination, [one for one in hosts if one.address not in tried]):
                return

    def _no_host(self, error: NoHost, text: str, is_fallback: bool) -> SessionError:
        dsn = error.dsn
        parameter = "smtp_fallback_relay" if is_fallback else "relayhost" if text == self._settings.relayhost else ""
        if parameter and dsn.startswith("5"):
            # Our own configuration is wrong; nobody's mail shall bounce for that.
            self._note(f"warning: {parameter} configuration problem: {error.words}")
            dsn = f"4{dsn[1:]}"
        return SessionError(dsn, error.words, connect=True)

    async def _try_hosts(self, destination: Destination, hosts: list[Host]) -> bool:
        """True: nothing is left to be tried, at other destinations neither."""
        settings = self._settings
        job = self._job
        if settings.mx_address_limit:
            hosts = hosts[: settings.mx_address_limit]
        if not hosts:
            return not job.pending
        try:
            policy = await self._policy(destination)
        except MailError as error:
            self._failed(SessionError("4.7.5", f"TLS policy of {destination.text}: {error}", connect=True), None)
            return False
        except SessionError as error:
            self._failed(error, None)
            return False
        sessions = 0
        for host in hosts:
            self._note_skipped()
            try:
                session = await self._open(host, destination, policy)
            except SessionError as error:
                self._failed(error, host)
                if error.hard:
                    return True
                continue
            sessions += 1
            job.connected_s = self._around.clock.monotonic() - job.started
            if await self._transact(session):
                return True
            if sessions == settings.mx_session_limit:
                break
        return not job.pending

    async def _open(self, host: Host, destination: Destination, policy: TlsPolicy) -> Session:
        credentials = await self._credentials(host, destination) if self._settings.sasl else None
        opener = self._around.opener(self._transport)
        return await opener.open(host, destination, policy, credentials)

    async def _transact(self, session: Session) -> bool:
        """True: every recipient has its answer."""
        job = self._job
        job.refuse_impossible(session.client.features, session.host)
        error: SessionError | None = None
        if job.pending:
            finished = self._around.future()

            def done(_: Session, transaction: Transaction, why: SessionError | None) -> None:
                job.take(transaction, session.client.features, session.host)
                if not finished.done():
                    finished.set_result(why)

            session.deliver(job.transaction(), job.content, done)
            error = await finished
        self._around.pool.give_back(self._key, session)
        if error is not None:
            self._failed(error, session.host)
        return not job.pending

    async def _policy(self, destination: Destination) -> TlsPolicy:
        settings = self._settings
        if not settings.tls_policies:
            return self._transport.policy
        for key in policy_keys(destination):
            value = await self._around.lookup(f"{settings.program}_tls_policy_maps", key)
            if value is not None:
                try:
                    return parse_policy(value, settings)
                except BadValue as error:
                    self._note(f"warning: {settings.program}_tls_policy_maps, entry {key}: {error}")
                    raise SessionError("4.7.5", "client TLS configuration problem") from error
        return self._transport.policy

    async def _credentials(self, host: Host, destination: Destination) -> tuple[str, str] | None:
        """By sender (if asked for), by the server's name, by the nexthop as it was given (SASL_README)."""
        settings = self._settings
        sender = self._job.sender
        keys = [host.name, destination.text]
        if settings.sasl_by_sender and sender:
            keys = [sender, f"@{sender.rpartition('@')[2]}", *keys]
        try:
            for key in keys:
                value = await self._around.lookup(f"{settings.program}_sasl_password_maps", key)
                if value is not None:
                    user, _, password = value.partition(":")
                    return user, password
        except MailError as error:
            raise SessionError("4.3.0", f"password lookup for {destination.text} failed", connect=True) from error
        return None

    # ── words and ends ──

    def _failed(self, error: SessionError, host: Host | None) -> None:
        self._error, self._error_host = error, host
        if error.connect and host is not None:
            self._note(error.words)

    def _note_skipped(self) -> None:
        """Before another host is tried: why the one before did not do, which no delivery line will say."""
        queue_id = self._job.request.queue_id
        words = dict.fromkeys(one.text for one in self._job.soft.values())
        if self._error is not None and not self._error.connect:
            words[self._error.words] = None
        for text in words:
            self._note(f"{queue_id}: {text}")

    def _note(self, words: str) -> None:
        self._around.note(self._settings, words)

    def _end(self) -> None:
        job = self._job
        done_s = self._around.clock.monotonic() - job.started
        self._around.pool.job_ends(self._key)
        for line in job.lines(LmtpDelivery if self._settings.lmtp else SmtpDelivery, done_s):
            self._around.emit(line)
        job.close()
        self._respond(job.outcomes(done_s))
