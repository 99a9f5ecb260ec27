"""Parameters of the queue: journal, scheduling, retry, bounces, pickup; for services.queue and the queue commands."""

import re
from typing import Any, Final

from posthouse.config.parameter import (
    BadValue,
    Kind,
    Param,
    declare,
    duration,
    duration_of,
    integer,
    size,
    text,
    words,
)

# ── the journal and its index ──

QUEUE_SEGMENT_SIZE: Final = declare(
    Param(
        "queue_segment_size",
        size,
        "16M",
        "Size at which the journal goes on in a new segment file; 16 MB keeps recovery short and rotation rare.",
        minimum=64 * 1024,
        maximum=1 << 30,
    )
)
QUEUE_SPARE_SEGMENTS: Final = declare(
    Param(
        "queue_spare_segments",
        integer,
        "1",
        "Segments kept ready for reuse: overwriting existing blocks makes a flush about twice as fast; 0 keeps none.",
        minimum=0,
        maximum=16,
    )
)
QUEUE_CHECKPOINT_INTERVAL: Final = declare(
    Param(
        "queue_checkpoint_interval",
        duration,
        "2s",
        "How often messages that stay are written to the queue index; older journal segments are retired behind it.",
        minimum=0.05,
        maximum=3600,
    )
)
QUEUE_LARGE_MESSAGE_SIZE: Final = declare(
    Param(
        "queue_large_message_size",
        size,
        "256k",
        "Messages above this get a file of their own instead of a place in the journal; 256 KB keeps batches short.",
        minimum=4096,
        maximum=1024 * 1024,
    )
)
QUEUE_CONTENT_MEMORY_LIMIT: Final = declare(
    Param(
        "queue_content_memory_limit",
        size,
        "64M",
        "Content of messages under delivery kept in memory at most; beyond it content is read again from the journal.",
        minimum=1024 * 1024,
    )
)
QUEUE_INTAKE_MEMORY_LIMIT: Final = declare(
    Param(
        "queue_intake_memory_limit",
        size,
        "128M",
        "Content waiting for its flush at most; beyond it new mail is answered 452 4.3.1 until the disk has caught up.",
        minimum=4 * 1024 * 1024,
    )
)
QUEUE_OPEN_CONTENT_LIMIT: Final = declare(
    Param(
        "queue_open_content_limit",
        integer,
        "1000",
        "Large messages that may be on their way into the spool at the same time; each holds one file descriptor.",
        minimum=1,
        maximum=100_000,
    )
)
QUEUE_MINFREE: Final = declare(
    Param(
        "queue_minfree",
        size,
        "0",
        "Free octets that the file system of the queue must have before mail is accepted; 0 means no check.",
    )
)

# ── cleanup ──

DUPLICATE_FILTER_LIMIT: Final = declare(
    Param(
        "duplicate_filter_limit",
        integer,
        "1000",
        "Addresses remembered per message to send only one copy to each; 0 means no limit.",
        minimum=0,
    )
)
EMPTY_ADDRESS_RECIPIENT: Final = declare(
    Param(
        "empty_address_recipient",
        text,
        "MAILER-DAEMON",
        "Who gets mail that is addressed to the null address.",
    )
)
QUEUE_ADDRESS_CACHE_TIME: Final = declare(
    Param(
        "queue_address_cache_time",
        duration,
        "5s",
        "How long answers about aliases and routes are used again; short, because a changed map must take effect soon.",
        minimum=0,
        maximum=3600,
    )
)
QUEUE_LOOKUP_TIMEOUT: Final = declare(
    Param(
        "queue_lookup_timeout",
        duration,
        "30s",
        "How long an alias or route look-up may take before the message is refused for now or deferred.",
        minimum=1,
        maximum=3600,
    )
)
ALIAS_NESTING_LIMIT: Final = declare(
    Param(
        "alias_nesting_limit",
        integer,
        "100",
        "Aliases that may lead from one to the next; a longer chain is a loop and bounces (Postfix's built-in limit).",
        minimum=1,
        maximum=1000,
    )
)
REDIRECT_RECIPIENT_LIMIT: Final = declare(
    Param(
        "redirect_recipient_limit",
        integer,
        "50000",
        "Recipients that one message may grow to through local aliases and .forward files; beyond it bounces.",
        minimum=1,
    )
)

# ── scheduling (nqmgr) ──


def _parse_feedback(value: str) -> tuple[float, str]:
    """A number between 0 and 1, or NUMBER/NUMBER, /concurrency, /sqrt_concurrency: (base, name of the divisor)."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(?:/\s*([0-9]*\.?[0-9]+|concurrency|sqrt_concurrency))?", value)
    if not match:
        raise BadValue(
            f"a number from 0 to 1, optionally /concurrency or /sqrt_concurrency, is expected, not {value!r}"
        )
    base, divisor = float(match[1]), match[2] or ""
    if divisor and divisor[0] in "0123456789.":
        if float(divisor) == 0:
            raise BadValue(f"division by zero in {value!r}")
        base, divisor = base / float(divisor), ""
    if not 0 <= base <= 1:
        raise BadValue(f"a number from 0 to 1 is expected, not {value!r}")
    return base, divisor


feedback: Final = Kind("number | number/concurrency | number/sqrt_concurrency", _parse_feedback)

INITIAL_DESTINATION_CONCURRENCY: Final = declare(
    Param(
        "initial_destination_concurrency",
        integer,
        "5",
        "Deliveries to one destination that run in parallel at first; feedback raises or lowers the number.",
        minimum=1,
        maximum=2000,
    )
)
DEFAULT_DESTINATION_CONCURRENCY_LIMIT: Final = declare(
    Param(
        "default_destination_concurrency_limit",
        integer,
        "20",
        "Deliveries to one destination that run in parallel at most; 0 means no limit.",
        minimum=0,
        maximum=2000,
    )
)
DEFAULT_DESTINATION_RECIPIENT_LIMIT: Final = declare(
    Param(
        "default_destination_recipient_limit",
        integer,
        "50",
        "Recipients per delivery; with 1, concurrency limits count per recipient instead of per domain.",
        minimum=0,
    )
)
DEFAULT_DESTINATION_CONCURRENCY_POSITIVE_FEEDBACK: Final = declare(
    Param(
        "default_destination_concurrency_positive_feedback",
        feedback,
        "1",
        "How much a successful delivery raises the concurrency of its destination.",
    )
)
DEFAULT_DESTINATION_CONCURRENCY_NEGATIVE_FEEDBACK: Final = declare(
    Param(
        "default_destination_concurrency_negative_feedback",
        feedback,
        "1",
        "How much a failed connection or handshake lowers the concurrency of its destination.",
    )
)
DEFAULT_DESTINATION_CONCURRENCY_FAILED_COHORT_LIMIT: Final = declare(
    Param(
        "default_destination_concurrency_failed_cohort_limit",
        integer,
        "1",
        "Rounds of failures after which a destination counts as dead for minimal_backoff_time; 0 means never.",
        minimum=0,
    )
)
DEFAULT_DESTINATION_RATE_DELAY: Final = declare(
    Param(
        "default_destination_rate_delay",
        duration,
        "0s",
        "Pause between two deliveries to the same destination; it implies a concurrency of 1.",
        minimum=0,
    )
)
DEFAULT_TRANSPORT_RATE_DELAY: Final = declare(
    Param(
        "default_transport_rate_delay",
        duration,
        "0s",
        "Pause between two deliveries over the same transport.",
        minimum=0,
    )
)
QMGR_MESSAGE_ACTIVE_LIMIT: Final = declare(
    Param(
        "qmgr_message_active_limit",
        integer,
        "20000",
        "Messages under delivery at most; more wait in the index and follow in the order of their time.",
        minimum=1,
    )
)
QUEUE_MAILBOX_JOB_LIMIT: Final = declare(
    Param(
        "queue_mailbox_job_limit",
        integer,
        "2000",
        "Deliveries open at one mailbox process; those written but not yet flushed count here, not as concurrency.",
        minimum=1,
    )
)
MINIMAL_BACKOFF_TIME: Final = declare(
    Param(
        "minimal_backoff_time",
        duration,
        "300s",
        "Shortest time between two attempts of a deferred message, and how long a dead destination is left alone.",
        minimum=0.1,
    )
)
MAXIMAL_BACKOFF_TIME: Final = declare(
    Param(
        "maximal_backoff_time",
        duration,
        "4000s",
        "Longest time between two attempts of a deferred message; the time grows with the message's age.",
        minimum=0.1,
    )
)
QUEUE_RUN_DELAY: Final = declare(
    Param(
        "queue_run_delay",
        duration,
        "300s",
        "Time between two looks for deferred messages that are due; at most minimal_backoff_time makes sense.",
        minimum=0.1,
    )
)
TRANSPORT_RETRY_TIME: Final = declare(
    Param(
        "transport_retry_time",
        duration,
        "60s",
        "How long mail waits for a delivery agent that is not there before it is deferred.",
        minimum=0.1,
    )
)
MAXIMAL_QUEUE_LIFETIME: Final = declare(
    Param(
        "maximal_queue_lifetime",
        duration_of("d"),
        "5d",
        "Age at which a message that cannot be delivered is returned; 0 tries once.",
        minimum=0,
    )
)
BOUNCE_QUEUE_LIFETIME: Final = declare(
    Param(
        "bounce_queue_lifetime",
        duration_of("d"),
        "5d",
        "The same for messages from the null sender, such as bounces.",
        minimum=0,
    )
)
DEFER_TRANSPORTS: Final = declare(
    Param(
        "defer_transports",
        words,
        "",
        "Transports that deliver only when the queue is flushed for them.",
    )
)
QUEUE_RUN_BATCH: Final = declare(
    Param(
        "queue_run_batch",
        integer,
        "500",
        "Messages taken from the index in one step; a queue run goes on step by step so that new mail is not held up.",
        minimum=1,
        maximum=10_000,
    )
)

# ── bounces ──

DELAY_WARNING_TIME: Final = declare(
    Param(
        "delay_warning_time",
        duration_of("h"),
        "0h",
        "Age at which the sender is told once that a message is still waiting; 0 means never.",
        minimum=0,
    )
)
BOUNCE_SIZE_LIMIT: Final = declare(
    Param(
        "bounce_size_limit",
        size,
        "50000",
        "Original content in a bounce message at most; above it only the header is returned.",
        minimum=0,
    )
)
NOTIFY_CLASSES: Final = declare(
    Param(
        "notify_classes",
        words,
        "resource, software",
        "What postmaster is told about; 2bounce sends undeliverable bounces, the other classes send nothing yet.",
    )
)
DOUBLE_BOUNCE_NOTICE_RECIPIENT: Final = declare(
    Param(
        "2bounce_notice_recipient",
        text,
        "postmaster",
        "Who gets undeliverable bounces (notify_classes: 2bounce).",
    )
)
# ── pickup ──

PICKUP_SCAN_INTERVAL: Final = declare(
    Param(
        "pickup_scan_interval",
        duration,
        "60s",
        "How often the maildrop directory is looked through besides the kernel's notice of every new file.",
        minimum=0.1,
    )
)
MAILDROP_SCAN_LIMIT: Final = declare(
    Param(
        "maildrop_scan_limit",
        integer,
        "1000",
        "Files of the maildrop taken in one look; the rest follow in the next, so that a full maildrop stops nobody.",
        minimum=1,
    )
)
MAILDROP_RECIPIENT_LIMIT: Final = declare(
    Param(
        "maildrop_recipient_limit",
        integer,
        "10000",
        "Recipients of one locally submitted message at most.",
        minimum=1,
    )
)

# ── overrides per transport ──

TRANSPORT_OVERRIDES: Final[dict[str, Param[Any]]] = {
    "destination_concurrency_limit": DEFAULT_DESTINATION_CONCURRENCY_LIMIT,
    "destination_recipient_limit": DEFAULT_DESTINATION_RECIPIENT_LIMIT,
    "destination_concurrency_positive_feedback": DEFAULT_DESTINATION_CONCURRENCY_POSITIVE_FEEDBACK,
    "destination_concurrency_negative_feedback": DEFAULT_DESTINATION_CONCURRENCY_NEGATIVE_FEEDBACK,
    "destination_concurrency_failed_cohort_limit": DEFAULT_DESTINATION_CONCURRENCY_FAILED_COHORT_LIMIT,
    "destination_rate_delay": DEFAULT_DESTINATION_RATE_DELAY,
    "transport_rate_delay": DEFAULT_TRANSPORT_RATE_DELAY,
    "initial_destination_concurrency": INITIAL_DESTINATION_CONCURRENCY,
}
"""What may be said per transport as TRANSPORT_<suffix>, and the parameter that holds when it is not. Transports of
master.cf with names of their own have the same parameters, undeclared."""

_OWN_DEFAULTS: Final = {
    # Postfix's local(8) delivers to one recipient at a time, and to the same one at most twice in parallel.
    "local_destination_concurrency_limit": "2",
    "local_destination_recipient_limit": "1",
}

for _transport in ("smtp", "relay", "lmtp", "local", "virtual", "error", "retry"):
    for _suffix, _general in TRANSPORT_OVERRIDES.items():
        _name = f"{_transport}_{_suffix}"
        declare(
            Param(
                _name,
                _general.kind,
                _OWN_DEFAULTS.get(_name, f"${_general.name}"),
                f"{_general.name} for the {_transport} transport.",
                minimum=_general.minimum,
                maximum=_general.maximum,
            )
        )
