"""Authentication: the embedded directory, password checks, tickets.

main.cf has what is our own; the rest are Dovecot's settings with Dovecot's names (dovecot.conf), because one auth
service answers for every protocol.
"""

import re
from typing import Final

from posthouse.config.dovecotconf import blocks
from posthouse.config.parameter import (
    BadValue,
    Kind,
    Param,
    Settings,
    boolean,
    declare,
    declare_dovecot,
    duration,
    integer,
    one_of,
    size,
    text,
    words,
)
from posthouse.core.variables import BadTemplate, Template

_DOVECOT_UNITS: Final = (
    ("minutes", 60.0),  # first, because Dovecot reads "m" and "mi" as minutes
    ("mins", 60.0),
    ("milliseconds", 0.001),
    ("msecs", 0.001),
    ("seconds", 1.0),
    ("secs", 1.0),
    ("hours", 3600.0),
    ("days", 86400.0),
    ("weeks", 604800.0),
)


def _parse_dovecot_time(value: str) -> float:
    """Dovecot takes any beginning of a unit's name: "2s", "2 secs", "2 second"; only 0 needs none."""
    match = re.fullmatch(r"([0-9]+)\s*([A-Za-z]*)", value)
    if match and not match[2] and int(match[1]) == 0:
        return 0.0
    if match and match[2]:
        for name, seconds in _DOVECOT_UNITS:
            if name.startswith(match[2].lower()):
                return int(match[1]) * seconds
    raise BadValue(f"a time such as 2 secs, 5 mins or 1 hours is expected, not {value!r}")


def _parse_template(value: str) -> Template:
    try:
        return Template.parse(value)
    except BadTemplate as error:
        raise BadValue(str(error)) from error


template: Final = Kind("text with %variables", _parse_template)
dovecot_time: Final = Kind("time (such as 2 secs)", _parse_dovecot_time)

# ── the embedded directory ──────────────────────────────────────────────────────────────────────────────────────────

DIRECTORY_DATABASE: Final = declare(
    Param(
        "directory_database",
        text,
        "$data_directory/auth/directory.sqlite",
        "The database of domains, accounts and aliases: an SQLite file, in a directory that only auth may open, or"
        " mysql://user@host/database?password_file=/path or postgresql://… for one on a server.",
    )
)
DIRECTORY_CACHE_ENTRIES: Final = declare(
    Param(
        "directory_cache_entries",
        integer,
        "50000",
        "Answers of the directory that auth remembers until the database changes; 50000 take about 20 MB.",
        minimum=0,
    )
)

AUTH_LAST_LOGIN_INTERVAL: Final = declare(
    Param(
        "auth_last_login_interval",
        duration,
        "60s",
        "How often last logins are written to the directory, all that came meanwhile at once; 0 does not keep them.",
        minimum=0,
    )
)

# ── new password hashes ─────────────────────────────────────────────────────────────────────────────────────────────

AUTH_ARGON2_MEMORY: Final = declare(
    Param(
        "auth_argon2_memory",
        size,
        "19M",
        "Memory of one Argon2id hash of a new password; 19M with two passes costs a login about 20 ms.",
        minimum=1 << 20,
        maximum=1 << 30,
    )
)
AUTH_ARGON2_TIME_COST: Final = declare(
    Param("auth_argon2_time_cost", integer, "2", "Passes of Argon2id over its memory.", minimum=1, maximum=64)
)
AUTH_ARGON2_PARALLELISM: Final = declare(
    Param(
        "auth_argon2_parallelism",
        integer,
        "1",
        "Lanes of Argon2id; more than one only helps a machine with cores to spare.",
        minimum=1,
        maximum=16,
    )
)
AUTH_REHASH_WEAK_PASSWORDS: Final = declare(
    Param(
        "auth_rehash_weak_passwords",
        boolean,
        "no",
        "Whether a weak hash in the directory, or in an SQL database with an update_query, becomes Argon2id at the next"
        " right login; other programs that read the hashes must know Argon2id then.",
    )
)


def can_check_tokens(dovecot: Settings) -> bool:
    """Is there a passdb that knows whose a bearer token is?"""
    return any(inside.get("driver") == "oauth2" for _, inside in blocks(dovecot.values, "passdb"))


# ── checking passwords ──────────────────────────────────────────────────────────────────────────────────────────────

AUTH_SQL_THREADS: Final = declare(
    Param(
        "auth_sql_threads",
        integer,
        "4",
        "Connections to each SQL database and LDAP directory of dovecot.conf's passdb and userdb, and to"
        " directory_database on a server;"
        " a login holds one for its query only.",
        minimum=1,
        maximum=100,
    )
)
AUTH_TOKEN_CLOCK_SKEW: Final = declare(
    Param(
        "auth_token_clock_skew",
        duration,
        "30s",
        "How far the clock of whoever signs bearer tokens may differ from ours: a token counts that much earlier and"
        " longer.",
        maximum=600,
    )
)
AUTH_VERIFIED_CACHE_SIZE: Final = declare(
    Param(
        "auth_verified_cache_size",
        size,
        "10M",
        "Memory for passwords that were right (as keyed digests): a client's next login then costs no hash; 0 is off.",
    )
)
AUTH_VERIFIED_CACHE_LIFETIME: Final = declare(
    Param(
        "auth_verified_cache_lifetime",
        duration,
        "3600s",
        "How long a right password is remembered; a changed or removed one is noticed at once.",
        minimum=0,
    )
)
AUTH_HASH_THREADS: Final = declare(
    Param(
        "auth_hash_threads",
        integer,
        "2",
        "How many passwords are hashed at the same time; each takes a core and auth_argon2_memory meanwhile.",
        minimum=1,
        maximum=64,
    )
)
AUTH_HASH_BACKLOG: Final = declare(
    Param(
        "auth_hash_backlog",
        integer,
        "2000",
        "Logins that may wait for a hash; beyond that new ones fail for the moment, with no word about the password.",
        minimum=1,
    )
)
AUTH_HASH_BACKLOG_PER_CLIENT: Final = declare(
    Param(
        "auth_hash_backlog_per_client",
        integer,
        "50",
        "Logins from one address that may wait for a hash; addresses take turns, so a flood delays only itself.",
        minimum=1,
    )
)
AUTH_PENALTY_CLIENTS: Final = declare(
    Param(
        "auth_penalty_clients",
        integer,
        "50000",
        "Clients (IPv4 addresses, IPv6 /48 networks) whose wrong logins are remembered; each takes about 1 KB.",
        minimum=1,
    )
)
AUTH_PENALTY_LIFETIME: Final = declare(
    Param(
        "auth_penalty_lifetime",
        duration,
        "29s",
        "How long after a wrong login the client's next one has to wait, 4 to 15 seconds; 29 is the sum of the steps.",
        minimum=0,
    )
)
AUTH_BAN_FAILURES: Final = declare(
    Param(
        "auth_ban_failures",
        integer,
        "10",
        "Different wrong logins of one client within auth_ban_window that are worth a line for ban tools; 0 is off.",
        minimum=0,
        maximum=1000,
    )
)
AUTH_BAN_WINDOW: Final = declare(
    Param("auth_ban_window", duration, "600s", "The time in which auth_ban_failures are counted.", minimum=1)
)
AUTH_PENALTY_EXEMPT_NETWORKS: Final = declare(
    Param(
        "auth_penalty_exempt_networks",
        words,
        "127.0.0.0/8 ::1/128",
        "Clients without penalties and lines for ban tools, besides login_trusted_networks: a webmail on this machine.",
    )
)
AUTH_TICKET_LIFETIME: Final = declare(
    Param(
        "auth_ticket_lifetime",
        duration,
        "60s",
        "How long the one-time ticket that admits a session at its mailbox is good for, from login to redemption.",
        minimum=1,
        maximum=3600,
    )
)
AUTH_EXCHANGE_LIMIT: Final = declare(
    Param(
        "auth_exchange_limit",
        integer,
        "10000",
        "SASL exchanges that one client process may have open; far above what its connection limits allow.",
        minimum=1,
    )
)
AUTH_EXCHANGE_TIMEOUT: Final = declare(
    Param(
        "auth_exchange_timeout",
        duration,
        "150s",
        "How long a SASL exchange may wait for the client's next response, as Dovecot's auth client waits.",
        minimum=1,
    )
)

# ── Dovecot's settings ──────────────────────────────────────────────────────────────────────────────────────────────

AUTH_MECHANISMS: Final = declare_dovecot(
    Param("auth_mechanisms", words, "plain login", "SASL mechanisms that are offered, in this order.")
)
AUTH_DEFAULT_REALM: Final = declare_dovecot(
    Param("auth_default_realm", text, "", "The domain that completes a login name without one; empty adds none.")
)
AUTH_REALMS: Final = declare_dovecot(
    Param("auth_realms", words, "", "Realms that DIGEST-MD5 offers its clients; empty offers one without a name.")
)
AUTH_ANONYMOUS_USERNAME: Final = declare_dovecot(
    Param("auth_anonymous_username", text, "anonymous", "The user whom the mechanism ANONYMOUS logs in.")
)
AUTH_SSL_REQUIRE_CLIENT_CERT: Final = declare_dovecot(
    Param(
        "auth_ssl_require_client_cert",
        boolean,
        "no",
        "Whether nobody logs in without a verified certificate (ssl_verify_client_cert).",
    )
)
AUTH_SSL_USERNAME_FROM_CERT: Final = declare_dovecot(
    Param(
        "auth_ssl_username_from_cert",
        boolean,
        "no",
        "Whether the user name is taken from the client's verified certificate; EXTERNAL needs it.",
    )
)
AUTH_USERNAME_FORMAT: Final = declare_dovecot(
    Param(
        "auth_username_format",
        template,
        "%Lu",
        "What a login name becomes before it is looked up: %u whole, %n local part, %d domain, L lower case.",
        raw=True,
    )
)
AUTH_USERNAME_CHARS: Final = declare_dovecot(
    Param(
        "auth_username_chars",
        text,
        "",
        "Characters a login name may have; empty takes all: no name reaches a query or a path unchecked.",
    )
)
AUTH_FAILURE_DELAY: Final = declare_dovecot(
    Param(
        "auth_failure_delay",
        dovecot_time,
        "2 secs",
        "How long after the attempt a wrong password is answered, whatever finding that out took.",
        maximum=60,
    )
)
AUTH_CACHE_SIZE: Final = declare_dovecot(
    Param(
        "auth_cache_size",
        size,
        "0",
        "Memory for answers of databases elsewhere (SQL, LDAP, PAM), so that a login asks nobody; 0 remembers none.",
    )
)
AUTH_CACHE_TTL: Final = declare_dovecot(
    Param(
        "auth_cache_ttl",
        dovecot_time,
        "1 hours",
        "How long the answer about a user is good; a changed password is noticed when the old one does not fit.",
        minimum=0,
    )
)
AUTH_CACHE_NEGATIVE_TTL: Final = declare_dovecot(
    Param(
        "auth_cache_negative_ttl",
        dovecot_time,
        "1 hours",
        "How long it is remembered that there is no such user, or that a password did not fit.",
        minimum=0,
    )
)
AUTH_VERBOSE: Final = declare_dovecot(
    Param("auth_verbose", boolean, "no", "Whether the log says why a login failed: unknown user or wrong password.")
)
AUTH_MASTER_USER_SEPARATOR: Final = declare_dovecot(
    Param(
        "auth_master_user_separator",
        text,
        "",
        "What stands between user and master user in a login name (bob*admin); empty: authorization identities only.",
    )
)
DISABLE_PLAINTEXT_AUTH: Final = declare_dovecot(
    Param(
        "disable_plaintext_auth",
        boolean,
        "yes",
        "Whether passwords in clear text are refused on connections that are neither encrypted nor local.",
    )
)
DEFAULT_PASS_SCHEME: Final = declare_dovecot(
    Param(
        "default_pass_scheme",
        text,
        "PLAIN",
        "The scheme of a stored password without a {SCHEME} prefix.",
    )
)
FIRST_VALID_UID: Final = declare_dovecot(
    Param(
        "first_valid_uid",
        integer,
        "500",
        "Users to whom a userdb gives a lower uid may not log in and get no mail: those are system users.",
        minimum=0,
    )
)
LAST_VALID_UID: Final = declare_dovecot(
    Param(
        "last_valid_uid",
        integer,
        "0",
        "Users to whom a userdb gives a higher uid may not log in and get no mail; 0 is no limit.",
        minimum=0,
    )
)
MAIL_HOME: Final = declare_dovecot(
    Param(
        "mail_home",
        template,
        "/var/vmail/%d/%n",
        "The home directory of an account that has none of its own.",
        raw=True,
    )
)
MAIL_LOCATION: Final = declare_dovecot(
    Param(
        "mail_location",
        template,
        "maildir:~/Maildir",
        "Where an account's mail is: format:path, with %u address, %n local part, %d domain, %h home, L lower case.",
        raw=True,
    )
)

# ── passdb { } and userdb { } ───────────────────────────────────────────────────────────────────────────────────────

_RULES: Final = one_of("return-ok", "return-fail", "return", "continue", "continue-ok", "continue-fail")
for _block, _what, _drivers in (
    ("passdb", "passwords", "sql, ldap, oauth2, passwd-file, static, directory"),
    ("userdb", "users", "sql, ldap, passwd-file, static, prefetch, directory"),
):
    for _name, _kind, _default, _doc in (
        (
            "driver",
            text,
            "",
            f"Where {_what} are looked up: {_drivers} (the embedded directory, which is the default).",
        ),
        (
            "args",
            text,
            "",
            "What the driver needs: the file of sql, ldap, oauth2, passwd-file, the fields of static.",
        ),
        ("default_fields", text, "", "Fields (name=value, with %variables) that the database need not give."),
        ("override_fields", text, "", "Fields (name=value, with %variables) that count whatever the database gives."),
        ("result_success", _RULES, "return-ok", "What follows when this block has the answer."),
        ("result_failure", _RULES, "continue", "What follows when this block knows no such user, or another password."),
        (
            "result_internalfail",
            _RULES,
            "continue",
            "What follows when this block cannot be asked; never a success, whatever it says.",
        ),
    ):
        declare_dovecot(Param(f"{_block}/*/{_name}", _kind, _default, _doc))
declare_dovecot(
    Param(
        "passdb/*/skip",
        one_of("never", "authenticated", "unauthenticated"),
        "never",
        "Whether this block is passed over when an earlier one said yes, or when none did.",
    )
)
declare_dovecot(
    Param(
        "userdb/*/skip",
        one_of("never", "found", "notfound"),
        "never",
        "Whether this block is passed over when an earlier one knew the user, or when none did.",
    )
)
declare_dovecot(Param("passdb/*/deny", boolean, "no", "Whether a user who stands in this database may not log in."))
declare_dovecot(
    Param(
        "passdb/*/master",
        boolean,
        "no",
        "Whether this block has master users, who may log in as others (auth_master_user_separator).",
    )
)
declare_dovecot(
    Param(
        "passdb/*/pass",
        boolean,
        "no",
        "Whether the user a master user acts for must be known to the other passdb blocks and allowed to log in.",
    )
)
declare_dovecot(Param("passdb/*/mechanisms", text, "", "SASL mechanisms for which this block is asked; empty: all."))

# ── service auth { unix_listener … { } } ────────────────────────────────────────────────────────────────────────────

declare_dovecot(
    Param(
        "service/auth/unix_listener/*/mode",
        text,
        "0600",
        "Permissions of a socket where other servers (Postfix, Exim) ask whether a password is right; 0 makes none.",
    )
)
declare_dovecot(
    Param(
        "service/auth/unix_listener/*/type",
        one_of("", "auth", "userdb", "master", "authdaemon", "login", "token"),
        "",
        "What is spoken there; empty: the last word of the name (auth-userdb), authdaemon for Courier, else auth.",
    )
)
declare_dovecot(
    Param("service/auth/unix_listener/*/user", text, "", "The owner of the socket; empty is the user who starts us.")
)
declare_dovecot(
    Param("service/auth/unix_listener/*/group", text, "", "The group of the socket; empty is that of who starts us.")
)

# ── service anvil ───────────────────────────────────────────────────────────────────────────────────────────────────

AUTH_PENALTY_MODE: Final = declare_dovecot(
    Param(
        "service/anvil/unix_listener/anvil-auth-penalty/mode",
        text,
        "0600",
        "0 switches the penalties of clients with wrong logins off, as in Dovecot; there is no such socket otherwise.",
    )
)
