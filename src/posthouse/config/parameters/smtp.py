"""The outbound SMTP and LMTP client, and DNS.

Nearly every parameter exists twice, as smtp_NAME and lmtp_NAME; `Both` holds the two and gives the one that fits.
"""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from posthouse.config.parameter import Kind, Param, boolean, declare, duration, integer, one_of, text, words

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Both(Generic[T]):
    """One parameter of the SMTP and one of the LMTP client."""

    smtp: Param[T]
    lmtp: Param[T]

    def of(self, lmtp: bool) -> Param[T]:
        return self.lmtp if lmtp else self.smtp


def _both(
    name: str, kind: Kind[T], default: str, doc: str, *, lmtp_default: str | None = None, **bounds: float
) -> Both[T]:
    other = (default if lmtp_default is None else lmtp_default).replace("$smtp_", "$lmtp_")
    return Both(
        declare(Param(f"smtp_{name}", kind, default, doc, **bounds)),  # type: ignore[arg-type]  # minimum, maximum
        declare(Param(f"lmtp_{name}", kind, other, doc, **bounds)),  # type: ignore[arg-type]  # minimum, maximum
    )


# ── time limits (RFC 5321 s4.5.3.2) ─────────────────────────────────────────────────────────────────────────────────

CONNECT_TIMEOUT: Final = _both(
    "connect_timeout",
    duration,
    "30s",
    "How long one connection attempt may take; 0 leaves it to the operating system.",
    lmtp_default="0s",
)
SMTP_HELO_TIMEOUT: Final = declare(
    Param(
        "smtp_helo_timeout",
        duration,
        "300s",
        "How long to wait for the greeting and for the answer to EHLO.",
        minimum=1,
    )
)
LMTP_LHLO_TIMEOUT: Final = declare(
    Param(
        "lmtp_lhlo_timeout",
        duration,
        "300s",
        "How long to wait for the greeting and for the answer to LHLO.",
        minimum=1,
    )
)
HELO_TIMEOUT: Final = Both(SMTP_HELO_TIMEOUT, LMTP_LHLO_TIMEOUT)
STARTTLS_TIMEOUT: Final = _both(
    "starttls_timeout", duration, "300s", "How long STARTTLS and the TLS handshake may take.", minimum=1
)
MAIL_TIMEOUT: Final = _both("mail_timeout", duration, "300s", "How long to wait for the answer to MAIL.", minimum=1)
RCPT_TIMEOUT: Final = _both("rcpt_timeout", duration, "300s", "How long to wait for the answer to RCPT.", minimum=1)
DATA_INIT_TIMEOUT: Final = _both(
    "data_init_timeout", duration, "120s", "How long to wait for the answer to DATA.", minimum=1
)
DATA_XFER_TIMEOUT: Final = _both(
    "data_xfer_timeout", duration, "180s", "How long the content may stand still while it is sent.", minimum=1
)
DATA_DONE_TIMEOUT: Final = _both(
    "data_done_timeout",
    duration,
    "600s",
    "How long to wait for the answer to the final dot; shorter makes second copies: the peer may have taken it.",
    minimum=1,
)
RSET_TIMEOUT: Final = _both(
    "rset_timeout",
    duration,
    "20s",
    "How long to wait for the answer to RSET on a connection that is used again.",
    minimum=1,
)
QUIT_TIMEOUT: Final = _both("quit_timeout", duration, "300s", "How long to wait for the answer to QUIT.", minimum=1)

# ── the destination ─────────────────────────────────────────────────────────────────────────────────────────────────

TCP_PORT: Final = _both(
    "tcp_port",
    text,
    "smtp",
    "The port where no nexthop names one: a number or smtp, lmtp, submission, smtps.",
    lmtp_default="24",
)
MX_ADDRESS_LIMIT: Final = _both(
    "mx_address_limit", integer, "5", "The most addresses tried for one delivery; 0 means all.", minimum=0
)
MX_SESSION_LIMIT: Final = _both(
    "mx_session_limit",
    integer,
    "2",
    "The most sessions that got as far as a greeting in one delivery; 0 means no limit.",
    minimum=0,
)
RANDOMIZE_ADDRESSES: Final = _both(
    "randomize_addresses", boolean, "yes", "Whether hosts of equal preference are tried in random order."
)
ADDRESS_PREFERENCE: Final = _both(
    "address_preference",
    one_of("any", "ipv4", "ipv6"),
    "any",
    "Which protocol to try first where preferences are equal.",
)
HOST_LOOKUP: Final = _both(
    "host_lookup", words, "dns", "Where addresses of hosts come from, in order: dns, native (the hosts file)."
)
DNS_SUPPORT_LEVEL: Final = _both(
    "dns_support_level",
    one_of("disabled", "enabled", "dnssec", ""),
    "",
    "Whether mail servers are looked up in the DNS; dnssec asks for validated answers as well; empty means enabled.",
)
DISABLE_DNS_LOOKUPS: Final = declare(
    Param(
        "disable_dns_lookups", boolean, "no", "Never ask the DNS; the older form of smtp_dns_support_level = disabled."
    )
)
IGNORE_MX_LOOKUP_ERROR: Final = declare(
    Param(
        "ignore_mx_lookup_error",
        boolean,
        "no",
        "Whether a failing MX look-up counts as no MX (delivery to the address record) rather than as a deferral.",
    )
)
DEFER_IF_NO_MX_ADDRESS_FOUND: Final = _both(
    "defer_if_no_mx_address_found",
    boolean,
    "no",
    "Whether a domain whose mail servers all have no address is tried again later rather than bounced.",
)
FALLBACK_RELAY: Final = _both(
    "fallback_relay",
    words,
    "$fallback_relay",
    "Hosts to hand mail to when the destination cannot be reached or does not exist.",
    lmtp_default="",
)
BIND_ADDRESS: Final = _both("bind_address", text, "", "The IPv4 address that connections are made from.")
BIND_ADDRESS6: Final = _both("bind_address6", text, "", "The IPv6 address that connections are made from.")

# ── the conversation ────────────────────────────────────────────────────────────────────────────────────────────────

SMTP_HELO_NAME: Final = declare(
    Param("smtp_helo_name", text, "$myhostname", "The name this system gives in EHLO and HELO.")
)
LMTP_LHLO_NAME: Final = declare(Param("lmtp_lhlo_name", text, "$myhostname", "The name this system gives in LHLO."))
HELO_NAME: Final = Both(SMTP_HELO_NAME, LMTP_LHLO_NAME)
SMTP_ALWAYS_SEND_EHLO: Final = declare(
    Param("smtp_always_send_ehlo", boolean, "yes", "Send EHLO even if the greeting does not say ESMTP.")
)
SMTP_NEVER_SEND_EHLO: Final = declare(
    Param("smtp_never_send_ehlo", boolean, "no", "Send HELO only; no extension is used then.")
)
DISCARD_EHLO_KEYWORDS_SMTP: Final = declare(
    Param(
        "smtp_discard_ehlo_keywords",
        words,
        "",
        "EHLO keywords of the peer that are not believed, such as pipelining or starttls.",
    )
)
DISCARD_LHLO_KEYWORDS_LMTP: Final = declare(
    Param("lmtp_discard_lhlo_keywords", words, "", "LHLO keywords of the peer that are not believed.")
)
DISCARD_KEYWORDS: Final = Both(DISCARD_EHLO_KEYWORDS_SMTP, DISCARD_LHLO_KEYWORDS_LMTP)
SKIP_5XX_GREETING: Final = _both(
    "skip_5xx_greeting",
    boolean,
    "yes",
    "Whether a server that greets with 5xx is passed over for the next one rather than believed.",
)
SKIP_QUIT_RESPONSE: Final = _both(
    "skip_quit_response", boolean, "yes", "Whether to close without waiting for the answer to QUIT.", lmtp_default="no"
)
LINE_LENGTH_LIMIT: Final = _both(
    "line_length_limit",
    integer,
    "998",
    "Longer lines of content are broken by CRLF and a space (RFC 5322 s2.1.1); 0 sends them as they are.",
    minimum=0,
)
RECIPIENT_BATCH: Final = _both(
    "pipelined_recipient_limit",
    integer,
    "100",
    "The most RCPT commands sent without waiting; more could fill both sides' buffers and stop the conversation.",
    minimum=1,
)
REPLY_LINE_LIMIT: Final = _both(
    "reply_line_limit",
    integer,
    "100",
    "The most lines in one reply of a peer; more ends the conversation.",
    minimum=10,
)

# ── connections used again ──────────────────────────────────────────────────────────────────────────────────────────

CONNECTION_CACHE_ON_DEMAND: Final = _both(
    "connection_cache_on_demand",
    boolean,
    "yes",
    "Whether a connection is kept open for a moment after a delivery, for the next mail to the same destination.",
)
CONNECTION_CACHE_DESTINATIONS: Final = _both(
    "connection_cache_destinations",
    words,
    "",
    "Destinations whose connections are always kept for a moment, whatever connection_cache_on_demand says.",
)
CONNECTION_CACHE_TIME_LIMIT: Final = _both(
    "connection_cache_time_limit", duration, "2s", "How long an idle connection is kept.", minimum=0, maximum=60
)
CONNECTION_REUSE_TIME_LIMIT: Final = _both(
    "connection_reuse_time_limit",
    duration,
    "300s",
    "How long one connection is used for new deliveries; servers dislike clients that never leave.",
    minimum=0,
)
CONNECTION_REUSE_COUNT_LIMIT: Final = _both(
    "connection_reuse_count_limit",
    integer,
    "0",
    "How many deliveries one connection is used for; 0 means no limit.",
    minimum=0,
)

# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

TLS_SECURITY_LEVEL: Final = _both(
    "tls_security_level",
    one_of("none", "may", "encrypt", "verify", "secure", ""),
    "",
    "none, may (use it if offered), encrypt (never without), verify and secure (only with a valid certificate).",
)
TLS_POLICY_MAPS: Final = _both(
    "tls_policy_maps", words, "", "Tables from destination to a TLS security level of its own with optional attributes."
)
TLS_WRAPPERMODE: Final = _both(
    "tls_wrappermode",
    boolean,
    "no",
    "TLS from the first octet, as on port 465; needs tls_security_level encrypt or higher.",
)
TLS_LOGLEVEL: Final = _both("tls_loglevel", integer, "0", "1 logs a line for each TLS handshake.", minimum=0, maximum=4)
TLS_NOTE_STARTTLS_OFFER: Final = _both(
    "tls_note_starttls_offer", boolean, "no", "Log servers that offer STARTTLS while TLS is not used."
)
TLS_CAFILE: Final = _both(
    "tls_CAfile", text, "", "Certificates of the authorities whose servers are trusted, in one file."
)
TLS_CAPATH: Final = _both("tls_CApath", text, "", "A directory of certificates of trusted authorities.")
TLS_CERT_FILE: Final = _both("tls_cert_file", text, "", "The client certificate; usually none is needed.")
TLS_KEY_FILE: Final = _both("tls_key_file", text, "$smtp_tls_cert_file", "The key of the client certificate.")
TLS_PROTOCOLS: Final = _both(
    "tls_protocols", words, ">=TLSv1", "Protocol versions for opportunistic TLS: >=TLSv1.2, <=TLSv1.3, !TLSv1."
)
TLS_MANDATORY_PROTOCOLS: Final = _both(
    "tls_mandatory_protocols", words, ">=TLSv1", "Protocol versions where TLS is required."
)
TLS_VERIFY_CERT_MATCH: Final = _both(
    "tls_verify_cert_match",
    words,
    "hostname",
    "Which name the certificate must have at level verify: hostname, nexthop, dot-nexthop.",
)
TLS_SECURE_CERT_MATCH: Final = _both(
    "tls_secure_cert_match",
    words,
    "nexthop, dot-nexthop",
    "Which name the certificate must have at level secure; names from the DNS are not proof.",
    lmtp_default="nexthop",
)
TLS_SERVERNAME: Final = _both(
    "tls_servername",
    text,
    "",
    "The server name sent in the TLS handshake (SNI): a name, hostname, nexthop, or nothing.",
)

# ── SASL ────────────────────────────────────────────────────────────────────────────────────────────────────────────

SASL_AUTH_ENABLE: Final = _both(
    "sasl_auth_enable", boolean, "no", "Whether to log in at servers that sasl_password_maps has a password for."
)
SASL_PASSWORD_MAPS: Final = _both(
    "sasl_password_maps",
    words,
    "",
    "Tables from nexthop or host name to user:password; keep them readable to root only.",
)
SASL_MECHANISM_FILTER: Final = _both(
    "sasl_mechanism_filter", words, "", "Mechanisms that may be used; empty means all we know."
)
SASL_SECURITY_OPTIONS: Final = _both(
    "sasl_security_options",
    words,
    "noplaintext, noanonymous",
    "What mechanisms may not do; noplaintext forbids PLAIN and LOGIN, unless the TLS variant allows them.",
)
SASL_TLS_SECURITY_OPTIONS: Final = _both(
    "sasl_tls_security_options",
    words,
    "$smtp_sasl_security_options",
    "The same inside TLS; set to noanonymous so that passwords may be sent there.",
)
SASL_AUTH_SOFT_BOUNCE: Final = _both(
    "sasl_auth_soft_bounce",
    boolean,
    "yes",
    "Whether mail waits, rather than bounces, when a server refuses our password for good.",
)
SMTP_SENDER_DEPENDENT_AUTHENTICATION: Final = declare(
    Param(
        "smtp_sender_dependent_authentication",
        boolean,
        "no",
        "Whether the sender address is looked up in smtp_sasl_password_maps first; such connections are not shared.",
    )
)

# ── DNS ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

DNS_SERVERS: Final = declare(
    Param(
        "dns_servers",
        words,
        "",
        "Name servers to ask, as address or address:port; empty takes those of /etc/resolv.conf.",
    )
)
DNS_TIMEOUT: Final = declare(
    Param(
        "dns_timeout",
        duration,
        "5s",
        "How long one question to one name server may take; the resolver's customary value.",
        minimum=0.05,
        maximum=60,
    )
)
DNS_ATTEMPTS: Final = declare(
    Param("dns_attempts", integer, "2", "How often every name server is asked before giving up.", minimum=1, maximum=10)
)
DNS_CACHE_LIMIT: Final = declare(
    Param(
        "dns_cache_limit",
        integer,
        "10000",
        "The most answers that are remembered for their time to live; about 5 MB.",
        minimum=0,
    )
)
