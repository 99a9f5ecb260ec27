"""The machine's clock."""

import time


class SystemClock:
    """Implements core.clock.Clock."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
