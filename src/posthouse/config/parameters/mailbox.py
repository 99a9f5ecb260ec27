"""The mail store and virtual delivery."""

from typing import Final

from posthouse.config.parameter import Param, boolean, declare, declare_dovecot, duration, one_of, size, text

# ── what reaches the disk when ──────────────────────────────────────────────────────────────────────────────────────

MAILBOX_CHECKPOINT_INTERVAL: Final = declare(
    Param(
        "mailbox_checkpoint_interval",
        duration,
        "0.1s",
        "The least time between two flushes to disk of what was delivered; a message after a pause is flushed at once.",
        minimum=0,
        maximum=60,
    )
)
MAILBOX_FLUSH_METHOD: Final = declare(
    Param(
        "mailbox_flush_method",
        one_of("auto", "syncfs", "fsync"),
        "auto",
        "One syncfs for all or an fsync per file; auto takes syncfs where the kernel reports errors and it is fast.",
    )
)
MAILBOX_SYNCFS_LIMIT: Final = declare(
    Param(
        "mailbox_syncfs_limit",
        duration,
        "2s",
        "When syncfs takes longer three times in a row (others write too), files are flushed singly for a while.",
        minimum=0.01,
    )
)
MAILBOX_RECOVERY_WINDOW: Final = declare(
    Param(
        "mailbox_recovery_window",
        duration,
        "5d",
        "Deliveries from so long before the start leave a tombstone when removed, because the queue may ask for them"
        " again; the longest life of a message in the queue is enough.",
        minimum=0,
    )
)

# ── open stores ─────────────────────────────────────────────────────────────────────────────────────────────────────

MAILBOX_IDLE_TIME: Final = declare(
    Param(
        "mailbox_idle_time",
        duration,
        "60s",
        "How long a mailbox stays in memory after its last use, so that a client that polls does not pay for opening.",
        minimum=1,
    )
)
MAILBOX_INDEX_REST_TIME: Final = declare(
    Param(
        "mailbox_index_rest_time",
        duration,
        "3s",
        "How long the database connection of a mailbox index stays open after its last use. It takes 150 KB for each"
        " user; opening it again takes a third of a millisecond.",
        minimum=0.1,
    )
)
MAILBOX_USERDB_CACHE_TIME: Final = declare(
    Param(
        "mailbox_userdb_cache_time",
        duration,
        "10s",
        "How long the answer where a user's mail is serves further deliveries; a user who moves waits that long.",
        minimum=0,
    )
)

# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────

VIRTUAL_MAILBOX_LIMIT: Final = declare(
    Param(
        "virtual_mailbox_limit",
        size,
        "51200000",
        "The largest single message that is put into a virtual user's Maildir, in octets; 0 means no limit.",
    )
)
QUOTA_FULL_TEMPFAIL: Final = declare_dovecot(
    Param(
        "quota_full_tempfail",
        boolean,
        "no",
        "Whether mail for a user over quota waits in the queue; else it is returned at once (5.2.2), as Dovecot does.",
    )
)
QUOTA_EXCEEDED_MESSAGE: Final = declare_dovecot(
    Param(
        "quota_exceeded_message",
        text,
        "Quota exceeded (mailbox for user is full)",
        "What senders and users are told when a mailbox is full.",
    )
)
