"""The commands of master.cf as Postfix names them, and what becomes of an entry that starts one.

The processes themselves are in services.table; here is only what a configuration may say.
"""

from typing import Final

PROVIDED: Final[dict[str, str]] = {
    "smtpd": "smtpd",
    "pickup": "queue",
    "cleanup": "queue",
    "qmgr": "queue",
    "oqmgr": "queue",
    "nqmgr": "queue",
    "bounce": "queue",
    "flush": "queue",
    "showq": "queue",
    "error": "queue",
    "discard": "queue",
    "trivial-rewrite": "tables",
    "proxymap": "tables",
    "smtp": "smtp",
    "lmtp": "smtp",
    "scache": "smtp",
    "local": "local",
    "virtual": "mailbox",
    "anvil": "control",
    "tlsmgr": "control",
    "postlogd": "control",
    "lmtpd": "smtpd",
}
"""Command to the process that provides it. An entry may stay in master.cf; nothing of its own is started for it."""

NOT_SUPPORTED: Final[dict[str, str]] = {
    "pipe": "mail for this transport is deferred",
    "spawn": "nothing listens there",
    "postscreen": 'let smtpd answer there: "smtp inet n - y - - smtpd"',
    "dnsblog": "it belongs to postscreen",
    "tlsproxy": "it belongs to postscreen",
    "qmqpd": "nothing listens there",
    "verify": "no address is probed yet; the restrictions that need it are named where they are used",
}

TRANSPORT_COMMANDS: Final = frozenset({"smtp", "lmtp", "local", "virtual", "pipe", "error", "discard"})
"""Entries that are transports: main.cf may have parameters such as NAME_destination_concurrency_limit for them."""

TRANSPORT_SUFFIXES: Final = (
    "delivery_slot_cost",
    "delivery_slot_discount",
    "delivery_slot_loan",
    "destination_concurrency_failed_cohort_limit",
    "destination_concurrency_limit",
    "destination_concurrency_negative_feedback",
    "destination_concurrency_positive_feedback",
    "destination_rate_delay",
    "destination_recipient_limit",
    "extra_recipient_limit",
    "initial_destination_concurrency",
    "minimum_delivery_slots",
    "recipient_limit",
    "recipient_refill_delay",
    "recipient_refill_limit",
    "time_limit",
    "transport_rate_delay",
)
