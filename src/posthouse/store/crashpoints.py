"""The steps of the mail store between which a crash must lose nothing; docs/mail-store.md describes each."""

from posthouse.runtime.crashpoints import CrashPoint


class StoreStep(CrashPoint):
    """Values are the numbers of the steps in docs/mail-store.md."""

    DELIVERY_WRITTEN = 1
    DELIVERY_NAMED = 2
    STORE_FLUSHED = 3
    UIDS_RESERVED = 4
    UIDS_ASSIGNED = 5
    APPEND_WRITTEN = 6
    APPEND_NAMED = 7
    FLAGS_RENAMED = 8
    COPIED = 9
    MOVED = 10
    TOMBSTONE_STORED = 11
    EXPUNGED = 12
    STORE_INDEX_COMMITTED = 13
    FOLDER_MADE = 14
    RENAME_ANNOUNCED = 15
    FOLDER_RENAMED = 16
    FOLDER_TRASHED = 17
    TEXT_WRITTEN = 18
    SIZE_ADDED = 19
