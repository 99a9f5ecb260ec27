"""The steps of the queue between which a crash must lose nothing; docs/queue-states.md describes each."""

from posthouse.runtime.crashpoints import CrashPoint


class QueueStep(CrashPoint):
    """Values are the numbers of the steps in docs/queue-states.md."""

    CONTENT_STREAMED = 1
    CONTENT_FLUSHED = 2
    RECORD_WRITTEN = 3
    RECORD_FLUSHED = 4
    ACCEPTED = 5
    JOB_SENT = 6
    OUTCOME_RECEIVED = 7
    RESULT_FLUSHED = 8
    BOUNCE_FLUSHED = 9
    SEGMENT_CREATED = 10
    INDEX_WRITTEN = 11
    INDEX_COMMITTED = 12
    MESSAGES_COPIED = 13
    COPIES_INDEXED = 14
    SEGMENT_RETIRED = 15
    MAILDROP_JOURNALLED = 16
    MAILDROP_REMOVED = 17
