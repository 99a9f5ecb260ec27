"""The door for readers of mail: listeners, TLS, greeting and the limits before authentication.

Dovecot's settings with Dovecot's names; blocks are flattened with "/". Settings of our own begin with login_ and live
in dovecot.conf too, because they say what Dovecot has compiled in.
"""

from typing import Final

from posthouse.config.parameter import Param, boolean, declare_dovecot, integer, one_of, size, text, verbatim, words
from posthouse.config.parameters.auth import dovecot_time

# ── listeners ───────────────────────────────────────────────────────────────────────────────────────────────────────

PROTOCOLS: Final = declare_dovecot(
    Param("protocols", words, "imap pop3", "Protocols for which there are listeners; none leaves a pure mail relay.")
)
LISTEN: Final = declare_dovecot(
    Param("listen", words, "*, ::", "Addresses that every listener without an address of its own binds.")
)


def _listener(service: str, name: str, port: str, ssl: str) -> tuple[Param[int], Param[tuple[str, ...]], Param[bool]]:
    path = f"service/{service}/inet_listener/{name}"
    what = f"the {name} listener"
    return (
        declare_dovecot(Param(f"{path}/port", integer, port, f"Port of {what}; 0 turns it off.", 0, 65535)),
        declare_dovecot(Param(f"{path}/address", words, "", f"Addresses of {what} instead of those in listen.")),
        declare_dovecot(Param(f"{path}/ssl", boolean, ssl, f"Whether TLS comes first on {what}.")),
    )


IMAP_PORT, IMAP_ADDRESS, IMAP_SSL = _listener("imap-login", "imap", "143", "no")
IMAPS_PORT, IMAPS_ADDRESS, IMAPS_SSL = _listener("imap-login", "imaps", "993", "yes")
POP3_PORT, POP3_ADDRESS, POP3_SSL = _listener("pop3-login", "pop3", "110", "no")
POP3S_PORT, POP3S_ADDRESS, POP3S_SSL = _listener("pop3-login", "pop3s", "995", "yes")

# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

SSL: Final = declare_dovecot(
    Param(
        "ssl",
        one_of("yes", "no", "required"),
        "yes",
        "Whether TLS is offered; required refuses every login without it, whatever the mechanism.",
    )
)
SSL_CERT: Final = declare_dovecot(
    Param("ssl_cert", text, "", "The certificate with its chain, as <file; read before rights are dropped.", raw=True)
)
SSL_KEY: Final = declare_dovecot(
    Param("ssl_key", text, "", "The private key of ssl_cert, as <file; read before rights are dropped.", raw=True)
)
SSL_MIN_PROTOCOL: Final = declare_dovecot(
    Param(
        "ssl_min_protocol",
        one_of("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
        "TLSv1.2",
        "The oldest version of TLS that clients may use.",
    )
)

SSL_CA: Final = declare_dovecot(
    Param("ssl_ca", text, "", "The authorities whose client certificates are good (<file), for ssl_verify_client_cert.")
)
SSL_VERIFY_CLIENT_CERT: Final = declare_dovecot(
    Param("ssl_verify_client_cert", boolean, "no", "Whether clients are asked for a certificate of ssl_ca.")
)
SSL_CERT_USERNAME_FIELD: Final = declare_dovecot(
    Param(
        "ssl_cert_username_field",
        text,
        "commonName",
        "The part of a client certificate's subject that is the user name (auth_ssl_username_from_cert).",
    )
)

# ── users ───────────────────────────────────────────────────────────────────────────────────────────────────────────

declare_dovecot(
    Param(
        "default_login_user",
        text,
        "dovenull",
        "The user of the login processes, if main.cf sets no login_user and that user owns neither mail nor queue.",
    )
)
declare_dovecot(
    Param(
        "default_internal_user",
        text,
        "dovecot",
        "The user of the auth process, if main.cf sets no auth_user and that user owns neither mail nor queue.",
    )
)

# ── log ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

LOG_PATH: Final = declare_dovecot(
    Param(
        "log_path",
        text,
        "syslog",
        "The file for warnings and errors of Dovecot's services; syslog: they stand in maillog_file with the others.",
    )
)
INFO_LOG_PATH: Final = declare_dovecot(
    Param("info_log_path", text, "", "The file for all other lines of Dovecot's services; empty: that of log_path.")
)
DEBUG_LOG_PATH: Final = declare_dovecot(
    Param("debug_log_path", text, "", "The file for their debug lines; empty: that of info_log_path.")
)
LOG_TIMESTAMP: Final = declare_dovecot(
    Param(
        "log_timestamp",
        verbatim,
        "%b %d %H:%M:%S ",
        "What each line in those files begins with, in the words of strftime(3).",
        raw=True,
    )
)

# ── before authentication ───────────────────────────────────────────────────────────────────────────────────────────

LOGIN_GREETING: Final = declare_dovecot(
    Param("login_greeting", text, "Posthouse ready.", "The words of the greeting.", raw=True)
)
LOGIN_TRUSTED_NETWORKS: Final = declare_dovecot(
    Param(
        "login_trusted_networks",
        words,
        "",
        "Networks whose clients count as secured without TLS: proxies and webmail of your own.",
    )
)
IMAP_ID_SEND: Final = declare_dovecot(
    Param("imap_id_send", text, "name *", "Fields of the answer to ID; * stands for our own value.", raw=True)
)
LOGIN_MAX_CONNECTIONS: Final = declare_dovecot(
    Param(
        "login_max_connections",
        integer,
        "20000",
        "Connections of one login worker, relayed TLS sessions included; above it the oldest not logged in goes.",
        minimum=1,
    )
)
LOGIN_TIMEOUT: Final = declare_dovecot(
    Param(
        "login_timeout",
        dovecot_time,
        "3 mins",
        "How long a client may take to log in, from its connection on (compiled into Dovecot as 3 minutes).",
        minimum=1,
    )
)
LOGIN_LINE_LIMIT: Final = declare_dovecot(
    Param(
        "login_line_limit",
        size,
        "8k",
        "The longest line before login, SASL responses included (Dovecot: 8192 for them).",
        minimum=512,
        maximum=1 << 20,
    )
)
LOGIN_LITERAL_LIMIT: Final = declare_dovecot(
    Param(
        "login_literal_limit",
        size,
        "4k",
        "Octets in the literals of one command before login: names, passwords and ID fields are short.",
        minimum=128,
        maximum=1 << 20,
    )
)
LOGIN_MAX_BAD_COMMANDS: Final = declare_dovecot(
    Param(
        "login_max_bad_commands",
        integer,
        "3",
        "Commands that make no sense before a client is cut off; Dovecot's value.",
        minimum=1,
    )
)
LOGIN_MAX_COMMANDS: Final = declare_dovecot(
    Param(
        "login_max_commands",
        integer,
        "1000",
        "Commands of any kind before login; no client needs ten, so a thousand is somebody keeping us busy.",
        minimum=10,
    )
)
LOGIN_PROXY_BUFFER: Final = declare_dovecot(
    Param(
        "login_proxy_buffer",
        size,
        "64k",
        "Octets held per direction of a TLS session between client and mailbox; reading stops above it.",
        minimum=4096,
        maximum=16 << 20,
    )
)
LOGIN_HANDSHAKE_TIMEOUT: Final = declare_dovecot(
    Param(
        "login_handshake_timeout",
        dovecot_time,
        "60 secs",
        "How long a TLS handshake may take.",
        minimum=1,
    )
)
MAIL_MAX_USERIP_CONNECTIONS: Final = declare_dovecot(
    Param(
        "mail_max_userip_connections",
        integer,
        "10",
        "Sessions of one user from one address and with one protocol; 0 means no limit.",
        minimum=0,
    )
)
