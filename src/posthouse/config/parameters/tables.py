"""Lookup tables, rewriting and routing of addresses."""

from typing import Final

from posthouse.config.parameter import Param, boolean, declare, duration, one_of, text, words

# ── rewriting ───────────────────────────────────────────────────────────────────────────────────────────────────────

APPEND_AT_MYORIGIN: Final = declare(
    Param("append_at_myorigin", boolean, "yes", "Whether an address without a domain is completed with @$myorigin.")
)
APPEND_DOT_MYDOMAIN: Final = declare(
    Param(
        "append_dot_mydomain",
        boolean,
        "${{$compatibility_level} <level {1} ? {yes} : {no}}",
        "Whether a domain without a dot is completed with .$mydomain.",
    )
)
SWAP_BANGPATH: Final = declare(
    Param(
        "swap_bangpath",
        boolean,
        "yes",
        "Whether site!user without a domain means user@site; the result is checked as any other address is.",
    )
)
ALLOW_PERCENT_HACK: Final = declare(
    Param(
        "allow_percent_hack",
        boolean,
        "yes",
        "Whether user%domain without another domain means user@domain; the result is checked as any address.",
    )
)
RESOLVE_NUMERIC_DOMAIN: Final = declare(
    Param("resolve_numeric_domain", boolean, "no", "Whether user@192.0.2.1 is taken for user@[192.0.2.1].")
)
ALLOW_MIN_USER: Final = declare(
    Param(
        "allow_min_user",
        boolean,
        "no",
        "Whether a recipient address may begin with a hyphen, which programs could take for an option.",
    )
)
PROPAGATE_UNMATCHED_EXTENSIONS: Final = declare(
    Param(
        "propagate_unmatched_extensions",
        words,
        "canonical, virtual",
        "Tables whose results get the address extension that the matching key did not have.",
    )
)

# ── routing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

LOCAL_TRANSPORT: Final = declare(
    Param("local_transport", text, "local:$myhostname", "The transport for domains in mydestination.")
)
VIRTUAL_TRANSPORT: Final = declare(
    Param("virtual_transport", text, "virtual", "The transport for domains in virtual_mailbox_domains.")
)
RELAY_TRANSPORT: Final = declare(Param("relay_transport", text, "relay", "The transport for domains in relay_domains."))
DEFAULT_TRANSPORT: Final = declare(
    Param("default_transport", text, "smtp", "The transport for all domains that no other rule knows.")
)
SENDER_DEPENDENT_RELAYHOST_MAPS: Final = declare(
    Param(
        "sender_dependent_relayhost_maps",
        words,
        "",
        "Tables from sender address or @domain to a host used in place of relayhost; DUNNO ends the search.",
    )
)
SENDER_DEPENDENT_DEFAULT_TRANSPORT_MAPS: Final = declare(
    Param(
        "sender_dependent_default_transport_maps",
        words,
        "",
        "Tables from sender address or @domain to what replaces default_transport; DUNNO ends the search.",
    )
)
EMPTY_ADDRESS_RELAYHOST_MAPS_LOOKUP_KEY: Final = declare(
    Param(
        "empty_address_relayhost_maps_lookup_key",
        text,
        "<>",
        "The key that stands for the null sender in sender_dependent_relayhost_maps.",
    )
)
EMPTY_ADDRESS_DEFAULT_TRANSPORT_MAPS_LOOKUP_KEY: Final = declare(
    Param(
        "empty_address_default_transport_maps_lookup_key",
        text,
        "<>",
        "The key that stands for the null sender in sender_dependent_default_transport_maps.",
    )
)
RELOCATED_MAPS: Final = declare(
    Param("relocated_maps", words, "", "Tables of users and domains that no longer exist, with their new address.")
)

# ── tables ──────────────────────────────────────────────────────────────────────────────────────────────────────────

DIRECTORY_CACHE_TIME: Final = declare(
    Param(
        "directory_cache_time",
        duration,
        "1s",
        "How long a recipient that the embedded directory knows is remembered; one message asks several times. "
        "Unknown ones are asked again at once, so that a new account works immediately.",
        maximum=3600,
    )
)
DEFAULT_DATABASE_TYPE: Final = declare(
    Param(
        "default_database_type",
        one_of("lmdb", "texthash"),
        "lmdb",
        "The table type that postmap and postalias build when none is named; Berkeley DB files are not written.",
    )
)
