"""The steps of a delivery to a system user between which a crash must lose nothing; see docs/mail-store.md."""

from posthouse.runtime.crashpoints import CrashPoint


class LocalStep(CrashPoint):
    """Values go on where those of the store end in docs/mail-store.md."""

    MBOX_WRITTEN = 20
    MBOX_FLUSHED = 21
    DROP_WRITTEN = 22
    DROP_NAMED = 23
    DROP_FLUSHED = 24
