"""What main.cf and master.cf say about one transport of the SMTP or LMTP client, read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from posthouse.config.configuration import Configuration
from posthouse.config.parameter import BadValue, Settings
from posthouse.config.parameters import general
from posthouse.config.parameters import smtp as own
from posthouse.protocol.smtp.client_transaction import Stage

SERVICES: Final = {"smtp": 25, "lmtp": 24, "submission": 587, "submissions": 465, "smtps": 465, "urd": 465}
"""Names of ports; /etc/services is not read, a jailed process cannot."""
COMMANDS: Final = ("smtp", "lmtp")


def port_number(text: str) -> int:
    """Raises BadValue."""
    if text.lower() in SERVICES:
        return SERVICES[text.lower()]
    if text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536:
        return int(text)
    raise BadValue(f"a port number or one of {', '.join(SERVICES)} is expected, not {text!r}")


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """`timeouts` by what we wait for. `lookup` is empty if the DNS must not be asked for mail servers."""

    lmtp: bool
    program: str
    myhostname: str
    helo_name: str
    timeouts: Mapping[Stage, float]
    connect_timeout_s: float
    port: int
    mx_address_limit: int
    mx_session_limit: int
    randomize: bool
    address_preference: str
    versions: tuple[int, ...]
    lookup: tuple[str, ...]
    use_mx: bool
    ignore_mx_errors: bool
    defer_without_address: bool
    fallback_relays: tuple[str, ...]
    relayhost: str
    queue_directory: str
    bind: Mapping[int, str]
    always_ehlo: bool
    never_ehlo: bool
    discard_keywords: tuple[str, ...]
    skip_5xx_greeting: bool
    skip_quit_response: bool
    line_length_limit: int
    recipient_batch: int
    reply_line_limit: int
    cache_on_demand: bool
    cache_destinations: frozenset[str]
    cache_time_s: float
    reuse_time_s: float
    reuse_count: int
    tls_level: str
    tls_policies: bool
    tls_wrapper: bool
    tls_loglevel: int
    tls_note_offer: bool
    tls_verify_match: tuple[str, ...]
    tls_secure_match: tuple[str, ...]
    tls_servername: str
    sasl: bool
    sasl_by_sender: bool
    sasl_mechanisms: tuple[str, ...]
    sasl_plain_allowed: bool
    sasl_plain_allowed_in_tls: bool
    sasl_soft_bounce: bool

    @classmethod
    def read(cls, settings: Settings, *, lmtp: bool) -> Self:
        """Raises BadValue."""
        hello = settings[own.HELO_TIMEOUT.of(lmtp)]
        data_done = settings[own.DATA_DONE_TIMEOUT.of(lmtp)]
        level = settings[own.TLS_SECURITY_LEVEL.of(lmtp)]
        protocols = {word.lower() for word in settings[general.INET_PROTOCOLS]}
        versions = tuple(one for one in (4, 6) if "all" in protocols or f"ipv{one}" in protocols)
        dns = settings[own.DNS_SUPPORT_LEVEL.of(lmtp)] != "disabled" and not settings[own.DISABLE_DNS_LOOKUPS]
        lookup = tuple(word.lower() for word in settings[own.HOST_LOOKUP.of(lmtp)])
        return cls(
            lmtp=lmtp,
            program="lmtp" if lmtp else "smtp",
            myhostname=settings[general.MYHOSTNAME].lower(),
            helo_name=settings[own.HELO_NAME.of(lmtp)],
            timeouts={
                Stage.GREETING: hello,
                Stage.EHLO: hello,
                Stage.HELO: hello,
                Stage.LHLO: hello,
                Stage.STARTTLS: settings[own.STARTTLS_TIMEOUT.of(lmtp)],
                Stage.AUTH: hello,
                Stage.MAIL: settings[own.MAIL_TIMEOUT.of(lmtp)],
                Stage.RCPT: settings[own.RCPT_TIMEOUT.of(lmtp)],
                Stage.DATA: settings[own.DATA_INIT_TIMEOUT.of(lmtp)],
                Stage.CONTENT: settings[own.DATA_XFER_TIMEOUT.of(lmtp)],
                Stage.END_OF_DATA: data_done,
                Stage.RSET: settings[own.RSET_TIMEOUT.of(lmtp)],
                Stage.QUIT: settings[own.QUIT_TIMEOUT.of(lmtp)],
            },
            connect_timeout_s=settings[own.CONNECT_TIMEOUT.of(lmtp)],
            port=port_number(settings[own.TCP_PORT.of(lmtp)]),
            mx_address_limit=settings[own.MX_ADDRESS_LIMIT.of(lmtp)],
            mx_session_limit=settings[own.MX_SESSION_LIMIT.of(lmtp)],
            randomize=settings[own.RANDOMIZE_ADDRESSES.of(lmtp)],
            address_preference=settings[own.ADDRESS_PREFERENCE.of(lmtp)],
            versions=versions,
            lookup=tuple(word for word in lookup if dns or word != "dns") or ("native",),
            use_mx=dns and "dns" in lookup and not lmtp,
            ignore_mx_errors=settings[own.IGNORE_MX_LOOKUP_ERROR],
            defer_without_address=settings[own.DEFER_IF_NO_MX_ADDRESS_FOUND.of(lmtp)],
            fallback_relays=settings[own.FALLBACK_RELAY.of(lmtp)],
            relayhost=settings.text("relayhost").strip(),
            queue_directory=settings[general.QUEUE_DIRECTORY],
            bind={
                version: address
                for version, address in (
                    (4, settings[own.BIND_ADDRESS.of(lmtp)]),
                    (6, settings[own.BIND_ADDRESS6.of(lmtp)].strip("[]")),
                )
                if address
            },
            always_ehlo=settings[own.SMTP_ALWAYS_SEND_EHLO],
            never_ehlo=settings[own.SMTP_NEVER_SEND_EHLO],
            discard_keywords=settings[own.DISCARD_KEYWORDS.of(lmtp)],
            skip_5xx_greeting=settings[own.SKIP_5XX_GREETING.of(lmtp)],
            skip_quit_response=settings[own.SKIP_QUIT_RESPONSE.of(lmtp)],
            line_length_limit=settings[own.LINE_LENGTH_LIMIT.of(lmtp)],
            recipient_batch=settings[own.RECIPIENT_BATCH.of(lmtp)],
            reply_line_limit=settings[own.REPLY_LINE_LIMIT.of(lmtp)],
            cache_on_demand=settings[own.CONNECTION_CACHE_ON_DEMAND.of(lmtp)],
            cache_destinations=frozenset(one.lower() for one in settings[own.CONNECTION_CACHE_DESTINATIONS.of(lmtp)]),
            cache_time_s=settings[own.CONNECTION_CACHE_TIME_LIMIT.of(lmtp)],
            reuse_time_s=settings[own.CONNECTION_REUSE_TIME_LIMIT.of(lmtp)],
            reuse_count=settings[own.CONNECTION_REUSE_COUNT_LIMIT.of(lmtp)],
            tls_level=level or "none",
            tls_policies=bool(settings[own.TLS_POLICY_MAPS.of(lmtp)]),
            tls_wrapper=settings[own.TLS_WRAPPERMODE.of(lmtp)],
            tls_loglevel=settings[own.TLS_LOGLEVEL.of(lmtp)],
            tls_note_offer=settings[own.TLS_NOTE_STARTTLS_OFFER.of(lmtp)],
            tls_verify_match=settings[own.TLS_VERIFY_CERT_MATCH.of(lmtp)],
            tls_secure_match=settings[own.TLS_SECURE_CERT_MATCH.of(lmtp)],
            tls_servername=settings[own.TLS_SERVERNAME.of(lmtp)],
            sasl=settings[own.SASL_AUTH_ENABLE.of(lmtp)],
            sasl_by_sender=not lmtp and settings[own.SMTP_SENDER_DEPENDENT_AUTHENTICATION],
            sasl_mechanisms=tuple(word.upper() for word in settings[own.SASL_MECHANISM_FILTER.of(lmtp)]),
            sasl_plain_allowed=_plain_allowed(settings[own.SASL_SECURITY_OPTIONS.of(lmtp)]),
            sasl_plain_allowed_in_tls=_plain_allowed(settings[own.SASL_TLS_SECURITY_OPTIONS.of(lmtp)]),
            sasl_soft_bounce=settings[own.SASL_AUTH_SOFT_BOUNCE.of(lmtp)],
        )


def _plain_allowed(options: tuple[str, ...]) -> bool:
    return "noplaintext" not in {word.lower() for word in options}


def overlaid(configuration: Configuration, transport: str) -> tuple[Settings, bool]:
    """main.cf with the options of the transport's master.cf entry on top, and whether it speaks LMTP."""
    for entry in configuration.master:
        if entry.endpoint == transport and entry.kind == "unix" and entry.command in COMMANDS:
            settings = configuration.main.overlay(entry.options) if entry.options else configuration.main
            return settings, entry.command == "lmtp"
    return configuration.main, transport == "lmtp"
