"""From a host to a connection that takes messages: greeting, EHLO, STARTTLS, login, each as the policy wants it."""

import base64
from collections.abc import Callable

from posthouse.delivery.outbound.destination import Destination
from posthouse.delivery.outbound.hosts import Host
from posthouse.delivery.outbound.session import Session, SessionError
from posthouse.delivery.outbound.settings import AgentSettings
from posthouse.delivery.outbound.tls import TlsContexts, TlsPolicy, certificate_matches, expected_names
from posthouse.protocol.sasl.known import CLIENT_MECHANISMS, PLAINTEXT_MECHANISMS
from posthouse.protocol.sasl.mechanism import SaslError
from posthouse.protocol.smtp.client_features import Features
from posthouse.protocol.smtp.client_reply import ServerReply
from posthouse.protocol.smtp.client_transaction import Stage


class Opener:
    """Opens connections of one transport. `note` logs a line; `watch` gets each session, to keep its time limits."""

    def __init__(
        self,
        settings: AgentSettings,
        contexts: TlsContexts,
        now: Callable[[], float],
        note: Callable[[str], None],
        watch: Callable[[Session], None],
    ) -> None:
        self._settings = settings
        self._contexts = contexts
        self._now = now
        self._note = note
        self._watch = watch

    async def open(
        self, host: Host, destination: Destination, policy: TlsPolicy, credentials: tuple[str, str] | None
    ) -> Session:
        """Raises SessionError."""
        try:
            return await self._open(host, destination, policy, credentials)
        except SessionError as error:
            if not error.plain_may_work or policy.required:
                raise
            # RFC 7435 s3: opportunistic means that broken encryption is no reason to keep the mail.
            self._note(f"{error.words} with {host.relay}; trying without TLS")
            return await self._open(host, destination, TlsPolicy("none"), credentials)

    async def _open(
        self, host: Host, destination: Destination, policy: TlsPolicy, credentials: tuple[str, str] | None
    ) -> Session:
        session = Session(host, destination, self._settings, self._now)
        await session.connect()
        self._watch(session)
        try:
            if self._settings.tls_wrapper:
                await self._tls(session, policy if policy.required else TlsPolicy("encrypt"))
            await self._greet(session)
            features = await self._hello(session)
            if not session.tls:
                features = await self._maybe_tls(session, policy, features)
            if credentials is not None and features.mechanisms:
                await self._login(session, features, credentials)
        except BaseException:
            session.abort()
            raise
        return session

    # ── greeting and EHLO ──

    async def _greet(self, session: Session) -> None:
        reply = await session.greeting()
        if not reply.positive:
            dsn = reply.status
            if reply.code >= 500 and self._settings.skip_5xx_greeting:
                dsn = f"4{dsn[1:]}"
            raise self._refused(session, reply, dsn)
        session.client.features = Features(esmtp="ESMTP" in reply.lines[0].upper())

    def _refused(self, session: Session, reply: ServerReply, dsn: str = "") -> SessionError:
        if not reply.code >= 400:
            dsn = "4.5.0"
        return SessionError(
            dsn or reply.status, f"host {session.host.label} refused to talk to me: {reply.text}", reply=reply
        )

    async def _hello(self, session: Session) -> Features:
        settings = self._settings
        client = session.client
        if settings.lmtp:
            reply = await session.ask(client.hello(settings.helo_name, Stage.LHLO))
            if not reply.positive:
                raise self._refused(session, reply)
            return client.learn(reply, settings.discard_keywords)
        if not settings.never_ehlo and (settings.always_ehlo or client.features.esmtp):
            reply = await session.ask(client.hello(settings.helo_name, Stage.EHLO))
            if reply.positive:
                self._check_loop(session, reply)
                return client.learn(reply, settings.discard_keywords)
            if client.closing:
                raise self._refused(session, reply)
        reply = await session.ask(client.hello(settings.helo_name, Stage.HELO))
        if not reply.positive:
            raise self._refused(session, reply)
        client.forget_features()
        return client.features

    def _check_loop(self, session: Session, reply: ServerReply) -> None:
        """A server on port 25 with our own name is ourselves behind some translator (as in Postfix)."""
        words = reply.lines[0].split()
        if words and words[0].lower() == self._settings.myhostname and session.host.port == 25:
            self._note(
                f"warning: host {session.host.relay} replied to HELO/EHLO with my own hostname "
                f"{self._settings.myhostname}"
            )
            if session.host.best:
                raise SessionError("5.4.6", f"mail for {session.destination.host} loops back to myself")

    # ── TLS ──

    async def _maybe_tls(self, session: Session, policy: TlsPolicy, features: Features) -> Features:
        if policy.level == "none":
            if features.starttls and self._settings.tls_note_offer:
                self._note(f"Host offered STARTTLS: [{session.host.name}]")
            return features
        if not features.starttls:
            if policy.required:
                raise SessionError("4.7.4", f"TLS is required, but was not offered by host {session.host.label}")
            return features
        reply = await session.ask(session.client.starttls())
        if reply.code != 220:
            if policy.required:
                raise SessionError(
                    "4.7.5",
                    f"TLS is required, but host {session.host.label} refused to start TLS: {reply.text}",
                    reply=reply,
                )
            return features
        await self._tls(session, policy)
        return await self._hello(session)

    async def _tls(self, session: Session, policy: TlsPolicy) -> None:
        names = expected_names(policy, session.destination, session.host.name)
        server_name: str | None = policy.servername or None
        if policy.servername in ("hostname", "nexthop"):
            server_name = session.host.name if policy.servername == "hostname" else session.destination.host
        elif policy.verified and not server_name:
            server_name = next((name for name in names if not name.startswith(".")), None)
        await session.start_tls(self._contexts.of(policy), server_name)
        if policy.verified and not certificate_matches(session.peer_certificate(), names):
            raise SessionError("4.7.5", "Server certificate not verified")
        if self._settings.tls_loglevel >= 1:
            trust = "Verified" if policy.verified else "Untrusted"
            self._note(f"{trust} TLS connection established to {session.host.relay}: {session.tls}")

    # ── SASL (RFC 4954) ──

    async def _login(self, session: Session, features: Features, credentials: tuple[str, str]) -> None:
        settings = self._settings
        plain = settings.sasl_plain_allowed_in_tls if session.tls else settings.sasl_plain_allowed
        usable = [
            name
            for name in CLIENT_MECHANISMS
            if name in features.mechanisms
            and (not settings.sasl_mechanisms or name in settings.sasl_mechanisms)
            and (plain or name not in PLAINTEXT_MECHANISMS)
        ]
        server = f"server {session.host.label}"
        if not usable:
            raise SessionError(
                "4.7.0", f"SASL authentication failed; cannot authenticate to {server}: no mechanism available"
            )
        try:
            mechanism = CLIENT_MECHANISMS[usable[0]](*credentials)
        except SaslError as error:
            raise SessionError("4.7.0", f"SASL authentication failed; cannot log in to {server}: {error}") from error
        initial = mechanism.initial()
        command = f"AUTH {usable[0]}"
        if initial is not None:
            # RFC 4954 s4: an empty initial response is "=".
            command += f" {base64.b64encode(initial).decode() or '='}"
        reply = await session.ask(session.client.auth(command))
        for _ in range(8):
            if reply.code != 334:
                break
            try:
                challenge = base64.b64decode(reply.lines[-1], validate=True)
                response = base64.b64encode(mechanism.step(challenge)).decode()
            except (ValueError, SaslError):
                # RFC 4954 s4: "*" cancels an exchange that makes no sense.
                response = "*"
            reply = await session.ask(session.client.auth(response))
        if reply.code == 235 and not mechanism.may_succeed:
            # RFC 5802 s5: a server that did not show that it knows the password is not ours.
            raise SessionError("4.7.0", f"SASL authentication failed; {server} did not prove to know the password")
        if reply.code != 235:
            dsn = reply.status if reply.code >= 400 else "4.7.0"
            if settings.sasl_soft_bounce and dsn.startswith("5"):
                dsn = f"4{dsn[1:]}"
            raise SessionError(dsn, f"SASL authentication failed; {server} said: {reply.text}", reply=reply)
