"""What the settings say about one listener, worked out once, before the jail closes."""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from posthouse.config.interfaces import addresses, select
from posthouse.config.parameter import Settings
from posthouse.config.parameters import general
from posthouse.config.parameters import intake as intake_parameters
from posthouse.config.parameters import smtpd as own
from posthouse.config.parameters.auth import AUTH_MECHANISMS, can_check_tokens
from posthouse.config.parameters.master import SYSLOG_NAME
from posthouse.core.logline import Level, LogLine, Message
from posthouse.core.reply import Reply
from posthouse.intake import Rules
from posthouse.policy import Policy
from posthouse.protocol.sasl.known import SERVER_MECHANISMS, offered
from posthouse.protocol.smtp.options import Options
from posthouse.routing.resolution import origin_of
from posthouse.runtime import tls
from posthouse.runtime.process import Listener
from posthouse.services.smtpd.clients import ClientLists
from posthouse.services.smtpd.loglines import SmtpdWarning
from posthouse.services.smtpd.networks import NameList, NetworkList
from posthouse.tables.file import read_source
from posthouse.tables.opening import Tables
from posthouse.tables.table import Table

Emit = Callable[[LogLine], None]


def own_mechanisms(dovecot: Settings) -> dict[str, tuple[str, ...]]:
    """Of our own auth process."""
    names = offered(dovecot[AUTH_MECHANISMS], knows_tokens=can_check_tokens(dovecot))
    return {name: SERVER_MECHANISMS[name].flags for name in names}


_FORBIDS: Final = {
    "noplaintext": "plaintext",
    "noactive": "active",
    "nodictionary": "dictionary",
    "noanonymous": "anonymous",
}
"""Words of smtpd_sasl_security_options, and the flag of a mechanism that each leaves out."""
_LABEL: Final = re.compile(r"[A-Za-z0-9-]+:")


@dataclass(slots=True)
class Limits:
    timeout_s: float
    per_request: bool
    min_data_rate: int
    handshake_timeout_s: float
    internal_timeout_s: float
    error_sleep_s: float
    soft_errors: int
    hard_errors: int
    junk_commands: int
    recipient_overshoot: int
    connections: int
    connection_rate: int
    message_rate: int
    recipient_rate: int
    tls_rate: int
    auth_rate: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        return cls(
            settings[own.SMTPD_TIMEOUT],
            settings[own.SMTPD_PER_REQUEST_DEADLINE],
            settings[own.SMTPD_MIN_DATA_RATE],
            settings[own.SMTPD_STARTTLS_TIMEOUT],
            settings[own.SMTPD_INTERNAL_TIMEOUT],
            settings[own.SMTPD_ERROR_SLEEP_TIME],
            settings[own.SMTPD_SOFT_ERROR_LIMIT],
            settings[own.SMTPD_HARD_ERROR_LIMIT],
            settings[own.SMTPD_JUNK_COMMAND_LIMIT],
            settings[own.SMTPD_RECIPIENT_OVERSHOOT_LIMIT],
            settings[own.SMTPD_CLIENT_CONNECTION_COUNT_LIMIT],
            settings[own.SMTPD_CLIENT_CONNECTION_RATE_LIMIT],
            settings[own.SMTPD_CLIENT_MESSAGE_RATE_LIMIT],
            settings[own.SMTPD_CLIENT_RECIPIENT_RATE_LIMIT],
            settings[own.SMTPD_CLIENT_NEW_TLS_SESSION_RATE_LIMIT],
            settings[own.SMTPD_CLIENT_AUTH_RATE_LIMIT],
        )


class TlsContexts:
    """One context for all listeners with the same certificates and versions."""

    def __init__(self) -> None:
        self._made: dict[tuple[tuple[tuple[str, str], ...], str], ssl.SSLContext] = {}

    def of(self, pairs: tuple[tuple[str, str], ...], minimum: str) -> ssl.SSLContext:
        """`pairs` are files of certificates and keys, at least one. Raises TlsError."""
        made = self._made.get((pairs, minimum))
        if made is None:
            made = tls.server_context(pairs[0][0], pairs[0][1], minimum=minimum)
            for certificate, key in pairs[1:]:
                tls.add_certificate(made, certificate, key)
            self._made[pairs, minimum] = made
        return made


class Listening:
    """`emit` writes lines under the listener's own name (-o syslog_name=postfix/submission)."""

    def __init__(self, listener: Listener, emit: Emit, syslog_name: str, contexts: "TlsContexts") -> None:
        settings = listener.settings
        self.is_lmtp = listener.service == "lmtpd"
        if self.is_lmtp:
            # Whoever hands mail over by LMTP wants it delivered here; nothing is relayed.
            settings = settings.overlay({"smtpd_relay_restrictions": "reject_unauth_destination"})
        self.settings = settings
        self.name = listener.name
        self.emit = _emitter(emit, settings[SYSLOG_NAME], syslog_name, "lmtpd" if self.is_lmtp else "smtpd")
        self.hostname = settings[general.MYHOSTNAME]
        self.limits = Limits.of(settings)
        self.policy = Policy(settings)
        self.rules = Rules.of(settings)
        self.greeting = Reply.of(220, "", settings[own.SMTPD_BANNER])
        self.disables_vrfy = settings[own.DISABLE_VRFY_COMMAND]
        self.noop_commands = frozenset(word.upper() for word in settings[own.SMTPD_NOOP_COMMANDS])
        self.shows_port = settings[own.SMTPD_CLIENT_PORT_LOGGING]
        self.forbids_pipelining = settings[own.SMTPD_FORBID_UNAUTH_PIPELINING]
        self.log_tls = settings[own.SMTPD_TLS_LOGLEVEL] >= 1
        self.received_shows_tls = settings[own.SMTPD_TLS_RECEIVED_HEADER]
        self.received_shows_user = settings[own.SMTPD_SASL_AUTHENTICATED_HEADER]
        self.completes = frozenset(settings[intake_parameters.LOCAL_HEADER_REWRITE_CLIENTS])
        self.inline_limit = max(settings[own.SMTPD_INLINE_CONTENT_LIMIT], self.rules.section_size_limit)
        self.origin = self._origin()
        self.message_size_limit = settings[general.MESSAGE_SIZE_LIMIT]
        self._forbidden = self._forbidden_commands()
        self._discarded = frozenset(word.lower() for word in settings[own.SMTPD_DISCARD_EHLO_KEYWORDS])
        self.lists = self._lists()
        # TLS
        level = settings[own.SMTPD_TLS_SECURITY_LEVEL]
        if not level:
            older = "may" if settings[own.SMTPD_USE_TLS] else "none"
            level = "encrypt" if settings[own.SMTPD_ENFORCE_TLS] else older
        self.implicit_tls = listener.implicit_tls or settings[own.SMTPD_TLS_WRAPPERMODE]
        self.requires_tls = level == "encrypt" and not self.implicit_tls
        self.wants_tls = level != "none" or self.implicit_tls
        self.offers_tls = level != "none" and "starttls" not in self._discarded
        self.tls = self._tls_context(contexts) if self.wants_tls else None
        # AUTH
        self.offers_auth = settings[own.SMTPD_SASL_AUTH_ENABLE] and "auth" not in self._discarded
        self.auth_needs_tls = settings[own.SMTPD_TLS_AUTH_ONLY]
        self.mechanisms: dict[bool, tuple[str, ...]] = {}
        self.knows_mechanisms = False
        """Not while the server that checks the passwords is away."""
        self.options = self._options()
        self._hello_replies: dict[tuple[bool, bool, bool], tuple[Reply, bytes]] = {}
        if self.policy.lacks_protection and not self.is_lmtp:
            words = "neither smtpd_relay_restrictions nor smtpd_recipient_restrictions says who may relay"
            self.emit(
                SmtpdWarning(f"{words}; using permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination")
            )

    def set_mechanisms(self, known: Mapping[str, tuple[str, ...]]) -> None:
        """What auth can do (names and their flags), without what security options leave out."""
        self._hello_replies.clear()
        self.knows_mechanisms = bool(known)
        for secure, parameter in (
            (False, own.SMTPD_SASL_SECURITY_OPTIONS),
            (True, own.SMTPD_SASL_TLS_SECURITY_OPTIONS),
        ):
            options = self.settings[parameter]
            kept = [
                name
                for name, flags in known.items()
                if not any(option in _FORBIDS and _FORBIDS[option] in flags for option in options)
                and not ("mutual_auth" in options and "mutual-auth" not in flags)
                and name != "EXTERNAL"  # as Postfix's smtpd_sasl_mechanism_filter has it
            ]
            self.mechanisms[secure] = tuple(kept)

    def offers_auth_now(self, is_secure: bool) -> bool:
        return self.offers_auth and (is_secure or not self.auth_needs_tls) and bool(self.mechanisms.get(is_secure))

    def hello(self, *, is_secure: bool, may_authenticate: bool, is_authenticated: bool) -> tuple[Reply, bytes]:
        """The answer to EHLO, and the same as octets: it is long and always one of a few."""
        key = (is_secure, may_authenticate, is_authenticated)
        found = self._hello_replies.get(key)
        if found is None:
            reply = Reply(250, "", tuple(self._hello_lines(is_secure, may_authenticate and not is_authenticated)))
            found = self._hello_replies[key] = (reply, reply.encode())
        return found

    def _hello_lines(self, is_secure: bool, may_authenticate: bool) -> list[str]:
        lines = ["PIPELINING", f"SIZE {self.message_size_limit}" if self.message_size_limit else "SIZE"]
        if not self.disables_vrfy:
            lines.append("VRFY")
        if not self.is_lmtp:
            lines.append("ETRN")
        if self.tls is not None and self.offers_tls and not is_secure:
            lines.append("STARTTLS")
        if may_authenticate and self.offers_auth_now(is_secure):
            mechanisms = " ".join(self.mechanisms[is_secure])
            lines.append(f"AUTH {mechanisms}")
            if self.settings[own.BROKEN_SASL_AUTH_CLIENTS]:
                lines.append(f"AUTH={mechanisms}")
        lines += ["ENHANCEDSTATUSCODES", "8BITMIME", "DSN"]
        if self.settings[general.SMTPUTF8_ENABLE]:
            lines.append("SMTPUTF8")
        lines.append("CHUNKING")
        kept = [line for line in lines if re.split(r"[ =]", line, maxsplit=1)[0].lower() not in self._discarded]
        return [self.hostname, *kept]

    def is_forbidden(self, word: str, line: str) -> bool:
        """Spoken by something that is no mail client: a browser's request, a header field."""
        return _LABEL.fullmatch(word) is not None or any(
            one.lookup(line) is not None if isinstance(one, Table) else one == word.upper() for one in self._forbidden
        )

    def _options(self) -> Options:
        settings = self.settings
        discarded = self._discarded
        mail = {"SIZE", "BODY"} - ({"SIZE"} if "size" in discarded else set())
        mail -= {"BODY"} if "8bitmime" in discarded else set()
        if settings[general.SMTPUTF8_ENABLE] and "smtputf8" not in discarded:
            mail.add("SMTPUTF8")
        # RFC 4954 s5: servers that do not offer AUTH never see it; Postfix takes it from anybody, and so do we.
        mail.add("AUTH")
        has_dsn = "dsn" not in discarded
        code = settings[own.SMTPD_FORBID_BARE_NEWLINE_REJECT_CODE]
        return Options(
            is_lmtp=self.is_lmtp,
            command_limit=settings[own.LINE_LENGTH_LIMIT],
            auth_line_limit=settings[own.SMTPD_SASL_RESPONSE_LIMIT],
            size_limit=self.message_size_limit,
            recipient_limit=settings[own.SMTPD_RECIPIENT_LIMIT],
            inline_limit=self.inline_limit,
            hello_required=settings[own.SMTPD_HELO_REQUIRED],
            strict_paths=settings[own.STRICT_RFC821_ENVELOPES],
            requires_smtputf8=settings[own.STRICT_SMTPUTF8] or not settings[general.SMTPUTF8_ENABLE],
            offers_chunking="chunking" not in discarded,
            offers_etrn=not self.is_lmtp and "etrn" not in discarded,
            bare_line_end=Reply.of(code, "5.5.2", f"{self.hostname} Error: bare <CR> or <LF> received"),
            mail_parameters=frozenset(mail | ({"RET", "ENVID"} if has_dsn else set())),
            rcpt_parameters=frozenset({"NOTIFY", "ORCPT"} if has_dsn else set()),
        )

    def _origin(self) -> str:
        try:
            return origin_of(self.settings[general.MYORIGIN], read_source)
        except OSError as error:
            self.emit(SmtpdWarning(f"myorigin: {error}"))
            return self.hostname

    def _forbidden_commands(self) -> list[str | Table]:
        tables = Tables(lambda: 0.0, lambda words: self.emit(SmtpdWarning(words)))
        return [
            tables.open(word) if ":" in word else word.upper() for word in self.settings[own.SMTPD_FORBIDDEN_COMMANDS]
        ]

    def _lists(self) -> ClientLists:
        settings = self.settings

        def networks(parameter: str, words: tuple[str, ...]) -> NetworkList:
            made = NetworkList(parameter, words)
            for problem in made.problems:
                self.emit(SmtpdWarning(f"{parameter}: {problem}"))
            return made

        own_addresses = frozenset(
            str(one.ip) for one in select(addresses(), settings[general.INET_INTERFACES], ("all",))
        )
        exceptions = "smtpd_client_event_limit_exceptions"
        rejects_bare = settings[own.SMTPD_FORBID_BARE_NEWLINE] == "reject"
        excluded = settings[own.SMTPD_FORBID_BARE_NEWLINE_EXCLUSIONS] if rejects_bare else ("0.0.0.0/0", "::/0")
        return ClientLists(
            networks("mynetworks", settings[general.MYNETWORKS]),
            networks("smtpd_forbid_bare_newline_exclusions", excluded),
            networks("smtpd_sasl_exceptions_networks", settings[own.SMTPD_SASL_EXCEPTIONS_NETWORKS]),
            NameList(exceptions, settings[own.SMTPD_CLIENT_EVENT_LIMIT_EXCEPTIONS]),
            own_addresses,
            settings[own.SMTPD_PEERNAME_LOOKUP],
        )

    def _tls_context(self, contexts: "TlsContexts") -> ssl.SSLContext | None:
        settings = self.settings
        requires = self.requires_tls or self.implicit_tls
        minimum = settings[own.SMTPD_TLS_MANDATORY_PROTOCOLS if requires else own.SMTPD_TLS_PROTOCOLS]
        chains = settings[own.SMTPD_TLS_CHAIN_FILES]
        pairs = [(file, file) for file in chains] or [
            (settings[certificate], settings[key])
            for certificate, key in (
                (own.SMTPD_TLS_CERT_FILE, own.SMTPD_TLS_KEY_FILE),
                (own.SMTPD_TLS_ECCERT_FILE, own.SMTPD_TLS_ECKEY_FILE),
            )
            if settings[certificate] not in ("", "none")
        ]
        if not pairs:
            self.emit(SmtpdWarning("No server certs available. TLS won't be enabled"))
            return None
        try:
            return contexts.of(tuple(pairs), minimum)
        except tls.TlsError as error:
            self.emit(SmtpdWarning(f"{error}; TLS won't be enabled"))
            return None


def _emitter(emit: Emit, ours: str, base: str, program: str) -> Emit:
    """Lines of a listener with its own syslog_name carry what that adds: postfix/submission/smtpd."""
    prefix = ours.removeprefix(base + "/") if ours.startswith(base + "/") else ""
    name = f"{prefix}/{program}" if prefix else program
    if name == "smtpd":
        return emit

    def emit_as(line: LogLine) -> None:
        level = line.severity if isinstance(line, Message) else line.level
        emit(Message(Level(level), name, line.text()))

    return emit_as
