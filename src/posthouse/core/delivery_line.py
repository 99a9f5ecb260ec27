"""The one log line every delivery attempt ends with, in Postfix's format: log analysers live on it."""

from posthouse.core.logline import LogLine


def format_delay(seconds: float) -> str:
    """Two significant digits, at most two decimals, no trailing zeros (delay_logging_resolution_limit = 2)."""
    if seconds < 0.005:
        return "0"
    if seconds >= 9.95:
        return f"{seconds:.0f}"
    text = f"{seconds:.1f}" if seconds >= 0.995 else f"{seconds:.2f}"
    return text.rstrip("0").rstrip(".")


class DeliveryLine(LogLine, frozen=True):
    """Base: each agent's subclass says its `program`. `delays` are the seconds before the queue manager, in the queue
    manager, connecting, transmitting."""

    queue_id: str
    to: str
    original: str
    relay: str
    delays: tuple[float, float, float, float]
    dsn: str
    status: str
    words: str

    def text(self) -> str:
        a, b, c, d = self.delays
        original = f"orig_to=<{self.original}>, " if self.original and self.original != self.to else ""
        return (
            f"{self.queue_id}: to=<{self.to}>, {original}relay={self.relay}, delay={format_delay(a + b + c + d)}, "
            f"delays={format_delay(a)}/{format_delay(b)}/{format_delay(c)}/{format_delay(d)}, dsn={self.dsn}, "
            f"status={self.status} ({self.words})"
        )
