"""The policy server that auth asks about logins (Dovecot's auth_policy_*, for weakforced)."""

from typing import Final

from posthouse.config.parameter import Param, boolean, declare, declare_dovecot, duration, integer, one_of, text

AUTH_POLICY_DELAY_LIMIT: Final = declare(
    Param(
        "auth_policy_delay_limit",
        duration,
        "60s",
        "How long a login waits at most because the policy server says so; clients do not wait longer anyway.",
        maximum=600,
    )
)
AUTH_POLICY_SERVER_URL: Final = declare_dovecot(
    Param("auth_policy_server_url", text, "", "The policy server that is asked about every login; empty asks nobody.")
)
AUTH_POLICY_SERVER_API_HEADER: Final = declare_dovecot(
    Param("auth_policy_server_api_header", text, "", "A header with the credentials for it: Name: value.")
)
AUTH_POLICY_SERVER_TIMEOUT_MSECS: Final = declare_dovecot(
    Param(
        "auth_policy_server_timeout_msecs",
        integer,
        "2000",
        "How long a login waits for its answer, in milliseconds.",
        minimum=1,
        maximum=60000,
    )
)
AUTH_POLICY_HASH_MECH: Final = declare_dovecot(
    Param(
        "auth_policy_hash_mech",
        one_of("sha256", "sha1", "sha384", "sha512", "md5"),
        "sha256",
        "Of which hash it gets a few bits, to tell passwords apart.",
    )
)
AUTH_POLICY_HASH_NONCE: Final = declare_dovecot(
    Param(
        "auth_policy_hash_nonce",
        text,
        "",
        "The secret in that hash, the same on all servers that share a policy server; empty takes a random one.",
    )
)
AUTH_POLICY_HASH_TRUNCATE: Final = declare_dovecot(
    Param(
        "auth_policy_hash_truncate",
        integer,
        "12",
        "How many bits: few, so that nobody can compute the password from them; 0 sends all.",
        minimum=0,
        maximum=512,
    )
)
AUTH_POLICY_REQUEST_ATTRIBUTES: Final = declare_dovecot(
    Param(
        "auth_policy_request_attributes",
        text,
        "login=%{requested_username} pwhash=%{hashed_password} remote=%{rip} device_id=%{client_id} protocol=%s"
        " session_id=%{session}",
        "What it is told (JSON): name=value with %variables.",
        raw=True,
    )
)
AUTH_POLICY_REJECT_ON_FAIL: Final = declare_dovecot(
    Param("auth_policy_reject_on_fail", boolean, "no", "Whether nobody logs in while it cannot be asked.")
)
AUTH_POLICY_CHECK_BEFORE_AUTH: Final = declare_dovecot(
    Param("auth_policy_check_before_auth", boolean, "yes", "Whether it is asked before the password is looked at.")
)
AUTH_POLICY_CHECK_AFTER_AUTH: Final = declare_dovecot(
    Param("auth_policy_check_after_auth", boolean, "yes", "Whether it is asked again when the password was looked at.")
)
AUTH_POLICY_REPORT_AFTER_AUTH: Final = declare_dovecot(
    Param("auth_policy_report_after_auth", boolean, "yes", "Whether it is told how a login ended.")
)
AUTH_POLICY_LOG_ONLY: Final = declare_dovecot(
    Param("auth_policy_log_only", boolean, "no", "Whether what it says is written to the log and not done.")
)
