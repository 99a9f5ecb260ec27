"""Names, networks and directories that every part uses.

Postfix's names and defaults, except where an ADR says otherwise: the product's own name and version, and directories
of our own, so that both systems can be installed side by side without writing into each other's queue.
"""

from typing import Final

from posthouse import __version__
from posthouse.config.parameter import Param, boolean, declare, duration, integer, one_of, size, text, words

# ── who we are ──────────────────────────────────────────────────────────────────────────────────────────────────────

COMPATIBILITY_LEVEL: Final = declare(
    Param(
        "compatibility_level",
        text,
        "0",
        "Which generation of defaults this configuration was written for; 0 (Postfix's own default) keeps the oldest.",
    )
)
MAIL_NAME: Final = declare(
    Param("mail_name", text, "Posthouse", "The name of this mail system in the greeting, in Received: and in bounces.")
)
MAIL_VERSION: Final = declare(
    Param(
        "mail_version",
        text,
        __version__,
        "The version of this mail system; it can be read, setting it changes nothing.",
    )
)
MAIL_RELEASE_DATE: Final = declare(
    Param(
        "mail_release_date", text, "20261123", "When this version was made; it can be read, setting it changes nothing."
    )
)
MYHOSTNAME: Final = declare(
    Param(
        "myhostname",
        text,
        "localhost.localdomain",
        "The fully qualified name of this mail system; unless set, the host's name, completed with $mydomain.",
    )
)
MYDOMAIN: Final = declare(
    Param(
        "mydomain",
        text,
        "localdomain",
        "The domain this system belongs to; unless set, $myhostname without its first label.",
    )
)
MYORIGIN: Final = declare(
    Param(
        "myorigin",
        text,
        "$myhostname",
        "The domain that locally submitted mail comes from and is completed with; a path names a file holding it.",
    )
)
MYDESTINATION: Final = declare(
    Param(
        "mydestination",
        words,
        "$myhostname, localhost.$mydomain, localhost",
        "Domains whose mail is delivered to users of this machine; entries may be patterns, files or tables.",
    )
)

# ── networks ────────────────────────────────────────────────────────────────────────────────────────────────────────

INET_INTERFACES: Final = declare(
    Param(
        "inet_interfaces",
        words,
        "all",
        "Addresses to receive mail on: all, loopback-only, or a list of addresses and host names.",
    )
)
INET_PROTOCOLS: Final = declare(
    Param("inet_protocols", words, "all", "Internet protocols to use, in and out: all, ipv4, ipv6 or both.")
)
PROXY_INTERFACES: Final = declare(
    Param(
        "proxy_interfaces",
        words,
        "",
        "Outside addresses that reach this system through a proxy or address translator; mail to them is not looped.",
    )
)
MYNETWORKS_STYLE: Final = declare(
    Param(
        "mynetworks_style",
        one_of("host", "subnet", "class"),
        "${{$compatibility_level} <level {2} ? {subnet} : {host}}",
        "How mynetworks is computed when it is not set: this host's addresses, its subnets, or its address classes.",
    )
)
MYNETWORKS: Final = declare(
    Param(
        "mynetworks",
        words,
        "127.0.0.0/8 [::1]/128",
        "Networks whose clients may relay; unless set, computed at start from the interfaces and mynetworks_style.",
    )
)

# ── directories ─────────────────────────────────────────────────────────────────────────────────────────────────────

CONFIG_DIRECTORY: Final = declare(
    Param("config_directory", text, "/etc/posthouse", "Where main.cf, master.cf and dovecot.conf were read from.")
)
QUEUE_DIRECTORY: Final = declare(
    Param("queue_directory", text, "/var/spool/posthouse", "The spool: journal, queue index and the maildrop.")
)
DATA_DIRECTORY: Final = declare(
    Param(
        "data_directory", text, "/var/lib/posthouse", "Files this system writes for itself: caches, directory, state."
    )
)
COMMAND_DIRECTORY: Final = declare(
    Param("command_directory", text, "/opt/posthouse/bin", "Where the administrator's commands are installed.")
)
MULTI_INSTANCE_NAME: Final = declare(
    Param("multi_instance_name", text, "", "The name of this instance; it becomes the syslog_name of its log lines.")
)
MULTI_INSTANCE_ENABLE: Final = declare(
    Param("multi_instance_enable", boolean, "no", "Whether a multi-instance manager may start this instance.")
)

# ── addresses ───────────────────────────────────────────────────────────────────────────────────────────────────────

RECIPIENT_DELIMITER: Final = declare(
    Param(
        "recipient_delimiter",
        text,
        "",
        "Characters that separate a user name from its extension, as in user+folder; the first one found counts.",
    )
)
OWNER_REQUEST_SPECIAL: Final = declare(
    Param(
        "owner_request_special",
        boolean,
        "yes",
        "Whether owner-list and list-request addresses are taken whole even if the delimiter is a hyphen.",
    )
)
DOUBLE_BOUNCE_SENDER: Final = declare(
    Param(
        "double_bounce_sender",
        text,
        "double-bounce",
        "Local part of the sender of mail that must never bounce again; mail to it is discarded.",
    )
)
MESSAGE_SIZE_LIMIT: Final = declare(
    Param(
        "message_size_limit",
        size,
        "10240000",
        "The largest message in octets, envelope included; 0 means no limit.",
        minimum=0,
    )
)
SMTPUTF8_ENABLE: Final = declare(
    Param(
        "smtputf8_enable",
        boolean,
        "${{$compatibility_level} <level {1} ? {no} : {yes}}",
        "Whether internationalised mail (RFC 6531 and following) is offered and accepted.",
    )
)
PARENT_DOMAIN_MATCHES_SUBDOMAINS: Final = declare(
    Param(
        "parent_domain_matches_subdomains",
        words,
        "debug_peer_list,fast_flush_domains,mynetworks,permit_mx_backup_networks,qmqpd_authorized_clients,"
        "relay_domains,smtpd_access_maps",
        "Lists and tables in which example.com also matches its subdomains without a leading dot.",
    )
)

# ── address classes ─────────────────────────────────────────────────────────────────────────────────────────────────

RELAYHOST: Final = declare(
    Param(
        "relayhost",
        words,
        "",
        "Where mail for other domains goes instead of their own servers: host, [host], host:port or [host]:port.",
    )
)
RELAY_DOMAINS: Final = declare(
    Param(
        "relay_domains",
        words,
        "${{$compatibility_level} <level {2} ? {$mydestination} : {}}",
        "Domains of other systems that this one accepts mail for from anybody.",
    )
)
RELAY_RECIPIENT_MAPS: Final = declare(
    Param("relay_recipient_maps", words, "", "Tables of all valid addresses in relay_domains; empty accepts every one.")
)
LOCAL_RECIPIENT_MAPS: Final = declare(
    Param(
        "local_recipient_maps",
        words,
        "proxy:unix:passwd.byname $alias_maps",
        "Tables of all names and addresses that are local recipients; empty accepts every one.",
    )
)
ALIAS_MAPS: Final = declare(
    Param(
        "alias_maps",
        words,
        "hash:/etc/aliases",
        "Tables of aliases that local delivery uses, in aliases(5) format.",
    )
)
ALIAS_DATABASE: Final = declare(
    Param("alias_database", words, "hash:/etc/aliases", "The alias tables that newaliases rebuilds.")
)
TRANSPORT_MAPS: Final = declare(
    Param("transport_maps", words, "", "Tables from address or domain to transport:nexthop, before all other routing.")
)
VIRTUAL_ALIAS_DOMAINS: Final = declare(
    Param(
        "virtual_alias_domains",
        words,
        "$virtual_alias_maps",
        "Domains in which every address is an alias for other addresses.",
    )
)
VIRTUAL_ALIAS_MAPS: Final = declare(
    Param(
        "virtual_alias_maps",
        words,
        "$virtual_maps",
        "Tables from address or domain to one or more addresses, for all mail whatever its domain.",
    )
)
VIRTUAL_MAILBOX_DOMAINS: Final = declare(
    Param(
        "virtual_mailbox_domains",
        words,
        "$virtual_mailbox_maps",
        "Domains whose mail is delivered to mailboxes of users who need no account on this machine.",
    )
)
VIRTUAL_MAILBOX_MAPS: Final = declare(
    Param(
        "virtual_mailbox_maps",
        words,
        "",
        "Tables of all valid addresses in virtual_mailbox_domains; the value is the path below virtual_mailbox_base.",
    )
)
VIRTUAL_MAILBOX_BASE: Final = declare(
    Param("virtual_mailbox_base", text, "", "The directory that every path from virtual_mailbox_maps starts in.")
)
VIRTUAL_ALIAS_EXPANSION_LIMIT: Final = declare(
    Param(
        "virtual_alias_expansion_limit",
        integer,
        "1000",
        "The most recipients that one may become through virtual aliases.",
        minimum=1,
    )
)
VIRTUAL_ALIAS_RECURSION_LIMIT: Final = declare(
    Param(
        "virtual_alias_recursion_limit",
        integer,
        "1000",
        "How deep virtual aliases may lead to each other.",
        minimum=1,
    )
)
VIRTUAL_ALIAS_ADDRESS_LENGTH_LIMIT: Final = declare(
    Param(
        "virtual_alias_address_length_limit",
        integer,
        "1000",
        "The longest address that virtual aliasing may produce; it stops aliases that grow for ever.",
        minimum=1,
    )
)

# ── locks shared by everything that writes mailbox files ────────────────────────────────────────────────────────────

DELIVER_LOCK_ATTEMPTS: Final = declare(
    Param("deliver_lock_attempts", integer, "20", "How often an exclusive mailbox lock is tried.", minimum=1)
)
DELIVER_LOCK_DELAY: Final = declare(
    Param("deliver_lock_delay", duration, "1s", "How long to wait between two attempts for a mailbox lock.", minimum=0)
)
STALE_LOCK_TIME: Final = declare(
    Param("stale_lock_time", duration, "500s", "The age at which a mailbox lock file counts as left behind.", minimum=1)
)
