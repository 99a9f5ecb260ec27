"""Receiving from the network: sessions, limits, restrictions, TLS and authentication of smtpd and lmtpd.

Postfix's names and defaults. Where a default differs, its sentence says why.
"""

import re
from typing import Final

from posthouse.config.parameter import (
    BadValue,
    Kind,
    Param,
    boolean,
    declare,
    duration,
    integer,
    one_of,
    size,
    text,
    words,
)

_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_FORMER: Final = frozenset({"sslv2", "sslv3"})


def _parse_protocols(value: str) -> str:
    """The lowest version that ">=TLSv1.2" or "!SSLv2, !TLSv1" leaves."""
    if match := re.fullmatch(r">=\s*(TLSv1(?:\.[0-3])?)", value.strip(), re.IGNORECASE):
        return _version(match[1])
    excluded: set[str] = set()
    listed: set[str] = set()
    for word in value.replace(",", " ").replace(":", " ").split():
        if word.startswith(">="):
            return _version(word[2:])
        name = word.lstrip("!")
        if name.lower() not in _FORMER:
            (excluded if word.startswith("!") else listed).add(_version(name))
    left = [one for one in _VERSIONS if one not in excluded and (not listed or one in listed)]
    if not left:
        raise BadValue(f"{value!r} leaves no version of TLS")
    return left[0]


def _version(name: str) -> str:
    for one in _VERSIONS:
        if name.lower() == one.lower() or (one == "TLSv1" and name.lower() == "tlsv1.0"):
            return one
    raise BadValue(f"{name!r} is no version of TLS; {', '.join(_VERSIONS)} are")


tls_protocols: Final = Kind("TLS versions", _parse_protocols)

# ── the dialogue ──

SMTPD_BANNER: Final = declare(
    Param(
        "smtpd_banner",
        text,
        "$myhostname ESMTP $mail_name",
        "The text behind the 220 of the greeting; it must begin with the name of this host (RFC 5321 s4.2).",
    )
)
SMTPD_HELO_REQUIRED: Final = declare(
    Param("smtpd_helo_required", boolean, "no", "Whether a client must say HELO or EHLO before MAIL.")
)
DISABLE_VRFY_COMMAND: Final = declare(
    Param(
        "disable_vrfy_command", boolean, "no", "Whether VRFY is refused, so that nobody can try out addresses with it."
    )
)
SMTPD_DISCARD_EHLO_KEYWORDS: Final = declare(
    Param(
        "smtpd_discard_ehlo_keywords",
        words,
        "",
        "Extensions that EHLO does not announce, in any case; silent-discard is accepted and means nothing.",
    )
)
SMTPD_NOOP_COMMANDS: Final = declare(
    Param("smtpd_noop_commands", words, "", "Commands of unknown meaning that are answered like NOOP.")
)
SMTPD_FORBIDDEN_COMMANDS: Final = declare(
    Param(
        "smtpd_forbidden_commands",
        words,
        "CONNECT GET POST regexp:{{/^[^A-Z]/ Bogus}}",
        "Commands that end the session at once: they are spoken by web browsers and their tools. A list "
        "of words and tables.",
    )
)
STRICT_RFC821_ENVELOPES: Final = declare(
    Param(
        "strict_rfc821_envelopes",
        boolean,
        "no",
        "Whether addresses in MAIL and RCPT must stand in angle brackets and follow the grammar of RFC "
        "5321 s4.1.2 to the letter.",
    )
)
STRICT_SMTPUTF8: Final = declare(
    Param(
        "strict_smtputf8",
        boolean,
        "yes",
        "Whether addresses beyond ASCII need a client that declares SMTPUTF8 (RFC 6531 s3.4); Postfix says no. Here "
        "yes, because such mail can only be passed on to servers that understand it, and its sender should know.",
    )
)
SMTPD_FORBID_BARE_NEWLINE: Final = declare(
    Param(
        "smtpd_forbid_bare_newline",
        one_of("no", "yes", "note", "normalize", "reject"),
        "reject",
        "What a CR or LF that stands alone means. reject refuses the command or the message, which is "
        "the default here because nothing honest needs it outside of "
        "smtpd_forbid_bare_newline_exclusions and other servers may see a message end there; all others "
        "make a line end (LF) or a space (CR) of it. It never ends a message.",
    )
)
SMTPD_FORBID_BARE_NEWLINE_EXCLUSIONS: Final = declare(
    Param(
        "smtpd_forbid_bare_newline_exclusions",
        words,
        "$mynetworks",
        "Clients whose bare newlines are made right instead of refused.",
    )
)
SMTPD_FORBID_BARE_NEWLINE_REJECT_CODE: Final = declare(
    Param(
        "smtpd_forbid_bare_newline_reject_code",
        integer,
        "521",
        "The reply code for bare newlines; 521 also ends the session, so that nothing behind what another server may "
        "have taken for the middle of a message is carried out.",
        minimum=500,
        maximum=599,
    )
)
SMTPD_FORBID_UNAUTH_PIPELINING: Final = declare(
    Param(
        "smtpd_forbid_unauth_pipelining",
        boolean,
        "no",
        "Whether a client that sends ahead where RFC 2920 s3.1 forbids it is disconnected.",
    )
)
SMTPD_PEERNAME_LOOKUP: Final = declare(
    Param(
        "smtpd_peername_lookup",
        boolean,
        "yes",
        "Whether the name of a client is looked up (and its address from that name); without, every name is unknown.",
    )
)
SMTPD_CLIENT_PORT_LOGGING: Final = declare(
    Param("smtpd_client_port_logging", boolean, "no", "Whether the client's port is logged, too.")
)

# ── limits ──

LINE_LENGTH_LIMIT: Final = declare(
    Param(
        "line_length_limit",
        size,
        "2048",
        "The longest command line in octets; RFC 5321 s4.5.3.1.4 asks for 512 and extensions for some "
        "more. Lines of content are bounded by the size of the message only.",
        minimum=512,
    )
)
SMTPD_INLINE_CONTENT_LIMIT: Final = declare(
    Param(
        "smtpd_inline_content_limit",
        size,
        "256k",
        "Messages above this are handed to the queue piece by piece while they come in, so that a "
        "session never holds more than this in memory.",
        minimum=16384,
        maximum=1048576,
    )
)
SMTPD_RECIPIENT_LIMIT: Final = declare(
    Param(
        "smtpd_recipient_limit",
        integer,
        "1000",
        "The most recipients of one message; the others get 452 and are tried again by the client.",
        minimum=1,
    )
)
SMTPD_RECIPIENT_OVERSHOOT_LIMIT: Final = declare(
    Param(
        "smtpd_recipient_overshoot_limit",
        integer,
        "1000",
        "How many recipients above smtpd_recipient_limit a client may try before each counts as an error.",
        minimum=1,
    )
)
SMTPD_TIMEOUT: Final = declare(
    Param(
        "smtpd_timeout",
        duration,
        "${stress?{10}:{300}}s",
        "How long to wait for a command or for octets of a message; RFC 5321 s4.5.3.2.7 asks for 5 minutes.",
        minimum=1,
    )
)
SMTPD_PER_REQUEST_DEADLINE: Final = declare(
    Param(
        "smtpd_per_request_deadline",
        boolean,
        "yes",
        "Whether smtpd_timeout holds for a whole command, and for a message together with "
        "smtpd_min_data_rate; Postfix says no outside of stress. Here yes, because an octet a minute "
        "would hold a session for days.",
    )
)
SMTPD_MIN_DATA_RATE: Final = declare(
    Param(
        "smtpd_min_data_rate",
        integer,
        "500",
        "With smtpd_per_request_deadline: octets of content that give a client one more second.",
        minimum=1,
    )
)
SMTPD_STARTTLS_TIMEOUT: Final = declare(
    Param("smtpd_starttls_timeout", duration, "${stress?{10}:{300}}s", "How long a TLS handshake may take.", minimum=1)
)
SMTPD_ERROR_SLEEP_TIME: Final = declare(
    Param(
        "smtpd_error_sleep_time",
        duration,
        "1s",
        "How long each reply is held back once a client has made smtpd_soft_error_limit errors.",
        minimum=0,
    )
)
SMTPD_SOFT_ERROR_LIMIT: Final = declare(
    Param(
        "smtpd_soft_error_limit",
        integer,
        "10",
        "Errors without a delivered message after which replies slow down.",
        minimum=1,
    )
)
SMTPD_HARD_ERROR_LIMIT: Final = declare(
    Param(
        "smtpd_hard_error_limit",
        integer,
        "${stress?{1}:{20}}",
        "Errors without a delivered message at which the session ends with 421.",
        minimum=1,
    )
)
SMTPD_JUNK_COMMAND_LIMIT: Final = declare(
    Param(
        "smtpd_junk_command_limit",
        integer,
        "${stress?{1}:{100}}",
        "NOOP, RSET, VRFY, HELP and ETRN commands without a delivered message after which each counts as an error.",
        minimum=1,
    )
)
SMTPD_SESSION_LIMIT: Final = declare(
    Param(
        "smtpd_session_limit",
        integer,
        "10000",
        "Sessions in one process; the next client gets 421. An idle session takes about 5 KB, so this is"
        " about memory for the busy ones.",
        minimum=1,
    )
)
SMTPD_INTERNAL_TIMEOUT: Final = declare(
    Param(
        "smtpd_internal_timeout",
        duration,
        "120s",
        "How long to wait for another process of this system (tables, auth, queue) before the client is "
        "told to try again; shorter than any client's patience.",
        minimum=1,
    )
)
SMTPD_RESOLVE_CACHE_TTL: Final = declare(
    Param(
        "smtpd_resolve_cache_ttl",
        duration,
        "2s",
        "How long it is remembered that a recipient exists; that one does not is never remembered.",
        minimum=0,
    )
)
SMTPD_CLIENT_CONNECTION_COUNT_LIMIT: Final = declare(
    Param(
        "smtpd_client_connection_count_limit",
        integer,
        "50",
        "Sessions that one client address may have at a time; 0 means no limit.",
        minimum=0,
    )
)
SMTPD_CLIENT_CONNECTION_RATE_LIMIT: Final = declare(
    Param(
        "smtpd_client_connection_rate_limit",
        integer,
        "0",
        "Connections of one client address per anvil_rate_time_unit; 0 means no limit.",
        minimum=0,
    )
)
SMTPD_CLIENT_MESSAGE_RATE_LIMIT: Final = declare(
    Param(
        "smtpd_client_message_rate_limit",
        integer,
        "0",
        "MAIL commands of one client address per anvil_rate_time_unit; 0 means no limit.",
        minimum=0,
    )
)
SMTPD_CLIENT_RECIPIENT_RATE_LIMIT: Final = declare(
    Param(
        "smtpd_client_recipient_rate_limit",
        integer,
        "0",
        "RCPT commands of one client address per anvil_rate_time_unit; 0 means no limit.",
        minimum=0,
    )
)
SMTPD_CLIENT_NEW_TLS_SESSION_RATE_LIMIT: Final = declare(
    Param(
        "smtpd_client_new_tls_session_rate_limit",
        integer,
        "0",
        "TLS handshakes of one client address per anvil_rate_time_unit; 0 means no limit.",
        minimum=0,
    )
)
SMTPD_CLIENT_AUTH_RATE_LIMIT: Final = declare(
    Param(
        "smtpd_client_auth_rate_limit",
        integer,
        "0",
        "AUTH commands of one client address per anvil_rate_time_unit; 0 means no limit.",
        minimum=0,
    )
)
SMTPD_CLIENT_EVENT_LIMIT_EXCEPTIONS: Final = declare(
    Param(
        "smtpd_client_event_limit_exceptions",
        words,
        "${smtpd_client_connection_limit_exceptions:$mynetworks}",
        "Clients to which the limits per client address do not apply: networks, and names or .domains.",
    )
)

# ── restrictions ──

SMTPD_DELAY_REJECT: Final = declare(
    Param(
        "smtpd_delay_reject",
        boolean,
        "yes",
        "Whether restrictions on client, HELO and sender wait for RCPT, so that the log shows who was to get the mail.",
    )
)
SMTPD_CLIENT_RESTRICTIONS: Final = declare(Param("smtpd_client_restrictions", words, "", "Restrictions on the client."))
SMTPD_HELO_RESTRICTIONS: Final = declare(
    Param("smtpd_helo_restrictions", words, "", "Restrictions on the name in HELO and EHLO.")
)
SMTPD_SENDER_RESTRICTIONS: Final = declare(
    Param("smtpd_sender_restrictions", words, "", "Restrictions on the sender in MAIL.")
)
SMTPD_RELAY_RESTRICTIONS: Final = declare(
    Param(
        "smtpd_relay_restrictions",
        words,
        "${{$compatibility_level} <level {1} ? {} : {permit_mynetworks, permit_sasl_authenticated, "
        "defer_unauth_destination}}",
        "Who may send to domains that are not ours. Without any protection here or in "
        "smtpd_recipient_restrictions, permit_mynetworks, permit_sasl_authenticated, "
        "defer_unauth_destination hold.",
    )
)
SMTPD_RECIPIENT_RESTRICTIONS: Final = declare(
    Param("smtpd_recipient_restrictions", words, "", "Restrictions on a recipient, besides smtpd_relay_restrictions.")
)
SMTPD_DATA_RESTRICTIONS: Final = declare(
    Param("smtpd_data_restrictions", words, "", "Restrictions in the place of DATA, before any content.")
)
SMTPD_END_OF_DATA_RESTRICTIONS: Final = declare(
    Param("smtpd_end_of_data_restrictions", words, "", "Restrictions when the whole message is here.")
)
SMTPD_ETRN_RESTRICTIONS: Final = declare(Param("smtpd_etrn_restrictions", words, "", "Restrictions on ETRN."))
SMTPD_RELAY_BEFORE_RECIPIENT_RESTRICTIONS: Final = declare(
    Param(
        "smtpd_relay_before_recipient_restrictions",
        boolean,
        "${{$compatibility_level} <level {3.6} ? {no} : {yes}}",
        "Whether smtpd_relay_restrictions come before smtpd_recipient_restrictions.",
    )
)
SMTPD_REJECT_UNLISTED_RECIPIENT: Final = declare(
    Param(
        "smtpd_reject_unlisted_recipient",
        boolean,
        "yes",
        "Whether unknown recipients are refused during RCPT even if no restriction says so.",
    )
)
SMTPD_REJECT_UNLISTED_SENDER: Final = declare(
    Param(
        "smtpd_reject_unlisted_sender",
        boolean,
        "no",
        "Whether senders in our own domains who do not exist are refused even if no restriction says so.",
    )
)
SHOW_USER_UNKNOWN_TABLE_NAME: Final = declare(
    Param(
        "show_user_unknown_table_name",
        boolean,
        "yes",
        "Whether the reply says in which kind of table a recipient was not found.",
    )
)
FAST_FLUSH_DOMAINS: Final = declare(
    Param("fast_flush_domains", words, "$relay_domains", "Domains for which ETRN is accepted.")
)

# ── reply codes ──

REJECT_CODE: Final = declare(
    Param("reject_code", integer, "554", "The reply code of the restriction reject.", minimum=400, maximum=599)
)
DEFER_CODE: Final = declare(
    Param("defer_code", integer, "450", "The reply code of the restriction defer.", minimum=400, maximum=599)
)
RELAY_DOMAINS_REJECT_CODE: Final = declare(
    Param(
        "relay_domains_reject_code",
        integer,
        "554",
        "The reply code of reject_unauth_destination.",
        minimum=400,
        maximum=599,
    )
)
NON_FQDN_REJECT_CODE: Final = declare(
    Param(
        "non_fqdn_reject_code",
        integer,
        "504",
        "The reply code of the reject_non_fqdn restrictions.",
        minimum=400,
        maximum=599,
    )
)
INVALID_HOSTNAME_REJECT_CODE: Final = declare(
    Param(
        "invalid_hostname_reject_code",
        integer,
        "501",
        "The reply code of reject_invalid_helo_hostname.",
        minimum=400,
        maximum=599,
    )
)
PLAINTEXT_REJECT_CODE: Final = declare(
    Param(
        "plaintext_reject_code", integer, "450", "The reply code of reject_plaintext_session.", minimum=400, maximum=599
    )
)
MULTI_RECIPIENT_BOUNCE_REJECT_CODE: Final = declare(
    Param(
        "multi_recipient_bounce_reject_code",
        integer,
        "550",
        "The reply code of reject_multi_recipient_bounce.",
        minimum=400,
        maximum=599,
    )
)
UNKNOWN_CLIENT_REJECT_CODE: Final = declare(
    Param(
        "unknown_client_reject_code",
        integer,
        "450",
        "The reply code of reject_unknown_client_hostname and reject_unknown_reverse_client_hostname.",
        minimum=400,
        maximum=599,
    )
)
UNKNOWN_LOCAL_RECIPIENT_REJECT_CODE: Final = declare(
    Param(
        "unknown_local_recipient_reject_code",
        integer,
        "550",
        "The reply code for recipients not in local_recipient_maps.",
        minimum=400,
        maximum=599,
    )
)
UNKNOWN_RELAY_RECIPIENT_REJECT_CODE: Final = declare(
    Param(
        "unknown_relay_recipient_reject_code",
        integer,
        "550",
        "The reply code for recipients not in relay_recipient_maps.",
        minimum=400,
        maximum=599,
    )
)
UNKNOWN_VIRTUAL_ALIAS_REJECT_CODE: Final = declare(
    Param(
        "unknown_virtual_alias_reject_code",
        integer,
        "550",
        "The reply code for recipients not in virtual_alias_maps.",
        minimum=400,
        maximum=599,
    )
)
UNKNOWN_VIRTUAL_MAILBOX_REJECT_CODE: Final = declare(
    Param(
        "unknown_virtual_mailbox_reject_code",
        integer,
        "550",
        "The reply code for recipients not in virtual_mailbox_maps.",
        minimum=400,
        maximum=599,
    )
)

# ── authentication ──

SMTPD_SASL_AUTH_ENABLE: Final = declare(
    Param(
        "smtpd_sasl_auth_enable",
        boolean,
        "no",
        "Whether clients may authenticate.",
    )
)
SMTPD_SASL_TYPE: Final = declare(
    Param(
        "smtpd_sasl_type",
        one_of("dovecot", "cyrus"),
        "dovecot",
        "What smtpd_sasl_path is: dovecot, or cyrus, which means our own auth process whatever the path says.",
    )
)
SMTPD_SASL_PATH: Final = declare(
    Param(
        "smtpd_sasl_path",
        text,
        "",
        "The auth socket of another Dovecot that checks passwords (a path or inet:host:port); empty, or a socket that"
        " dovecot.conf makes: our own auth process.",
    )
)
SMTPD_SASL_SECURITY_OPTIONS: Final = declare(
    Param(
        "smtpd_sasl_security_options",
        words,
        "noanonymous",
        "Mechanisms not offered without TLS: noplaintext, noactive, nodictionary, noanonymous, or only mutual_auth.",
    )
)
SMTPD_SASL_TLS_SECURITY_OPTIONS: Final = declare(
    Param(
        "smtpd_sasl_tls_security_options",
        words,
        "$smtpd_sasl_security_options",
        "Mechanisms that are not offered under TLS.",
    )
)
SMTPD_SASL_EXCEPTIONS_NETWORKS: Final = declare(
    Param("smtpd_sasl_exceptions_networks", words, "", "Clients to which AUTH is not offered: networks.")
)
SMTPD_SASL_AUTHENTICATED_HEADER: Final = declare(
    Param(
        "smtpd_sasl_authenticated_header",
        boolean,
        "no",
        "Whether the Received: field names the user who authenticated.",
    )
)
SMTPD_SASL_RESPONSE_LIMIT: Final = declare(
    Param(
        "smtpd_sasl_response_limit",
        size,
        "12288",
        "The longest response in an AUTH exchange in octets; RFC 4954 s4.",
        minimum=1024,
    )
)
BROKEN_SASL_AUTH_CLIENTS: Final = declare(
    Param(
        "broken_sasl_auth_clients",
        boolean,
        "no",
        "Whether mechanisms are announced a second time, with AUTH=, for clients from before RFC 2554.",
    )
)

# ── TLS ──

SMTPD_TLS_SECURITY_LEVEL: Final = declare(
    Param(
        "smtpd_tls_security_level",
        one_of("", "none", "may", "encrypt"),
        "",
        "none: no TLS; may: STARTTLS is offered; encrypt: nothing else works without it.",
    )
)
SMTPD_USE_TLS: Final = declare(
    Param("smtpd_use_tls", boolean, "no", "The older way to say smtpd_tls_security_level = may.")
)
SMTPD_ENFORCE_TLS: Final = declare(
    Param("smtpd_enforce_tls", boolean, "no", "The older way to say smtpd_tls_security_level = encrypt.")
)
SMTPD_TLS_WRAPPERMODE: Final = declare(
    Param(
        "smtpd_tls_wrappermode",
        boolean,
        "no",
        "Whether TLS begins with the connection, without STARTTLS (RFC 8314 s3.3); for one entry of master.cf.",
    )
)
SMTPD_TLS_AUTH_ONLY: Final = declare(
    Param("smtpd_tls_auth_only", boolean, "no", "Whether AUTH is offered under TLS only.")
)
SMTPD_TLS_CHAIN_FILES: Final = declare(
    Param(
        "smtpd_tls_chain_files",
        words,
        "",
        "Files with keys and their certificates, in this order; in place of the parameters for single files.",
    )
)
SMTPD_TLS_CERT_FILE: Final = declare(
    Param("smtpd_tls_cert_file", text, "", "The certificate with its chain (PEM); none or empty for no certificate.")
)
SMTPD_TLS_KEY_FILE: Final = declare(
    Param(
        "smtpd_tls_key_file",
        text,
        "$smtpd_tls_cert_file",
        "The private key of smtpd_tls_cert_file (PEM); read before rights are dropped.",
    )
)
SMTPD_TLS_ECCERT_FILE: Final = declare(
    Param("smtpd_tls_eccert_file", text, "", "A second certificate, with an elliptic curve key.")
)
SMTPD_TLS_ECKEY_FILE: Final = declare(
    Param("smtpd_tls_eckey_file", text, "$smtpd_tls_eccert_file", "The private key of smtpd_tls_eccert_file.")
)
SMTPD_TLS_PROTOCOLS: Final = declare(
    Param(
        "smtpd_tls_protocols",
        tls_protocols,
        ">=TLSv1.2",
        "Versions of TLS where it is optional; RFC 8996 forbids those before 1.2, which today's "
        "libraries no longer speak anyway.",
    )
)
SMTPD_TLS_MANDATORY_PROTOCOLS: Final = declare(
    Param(
        "smtpd_tls_mandatory_protocols", tls_protocols, ">=TLSv1.2", "Versions of TLS where it is mandatory; RFC 8996."
    )
)
SMTPD_TLS_RECEIVED_HEADER: Final = declare(
    Param("smtpd_tls_received_header", boolean, "no", "Whether the Received: field says which TLS the client used.")
)
SMTPD_TLS_LOGLEVEL: Final = declare(
    Param("smtpd_tls_loglevel", integer, "0", "1 and above: each TLS session is logged.", minimum=0, maximum=4)
)
