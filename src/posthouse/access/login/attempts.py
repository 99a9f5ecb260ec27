"""What a client has tried, for the line in the log when it goes without having logged in."""

from posthouse.protocol.login import Refusal, Slip


class Attempts:
    """`last` is how the last attempt ended, None while it lasts; `rights` counts right passwords."""

    __slots__ = ("count", "is_aborted", "last", "mechanism", "rights", "user")

    def __init__(self) -> None:
        self.count = 0
        self.rights = 0
        self.user = ""
        self.mechanism = ""
        self.last: Slip | Refusal | None = None
        self.is_aborted = False

    def begin(self, mechanism: str, user: str) -> None:
        self.count += 1
        self.mechanism = mechanism
        self.user = user or self.user
        self.is_aborted = False
        self.last = None

    def detail(self, elapsed: int, *, is_asking: bool, in_exchange: bool) -> str:
        """In the order in which Dovecot looks (client_get_extra_disconnect_reason); `elapsed` seconds since it came."""
        if self.count == 0:
            return f"no auth attempts in {elapsed} secs"
        if self.last is Slip.DISABLED_PLAINTEXT:
            return Slip.DISABLED_PLAINTEXT.value
        if self.rights:
            return f"internal failure, {self.rights} successful auths"
        if self.count == 1:
            if in_exchange:
                return f"client didn't finish SASL auth, waited {elapsed} secs"
            if is_asking:
                return f"disconnected while authenticating, waited {elapsed} secs"
            if self.is_aborted:
                return "aborted authentication"
        if self.last is Refusal.TEMPORARY:
            return "auth service reported temporary failure"
        if self.last is Refusal.DISABLED:
            return "user disabled"
        if self.last is Slip.UNSUPPORTED_MECHANISM and self.count == 1:
            return Slip.UNSUPPORTED_MECHANISM.value
        return f"auth failed, {self.count} attempts in {elapsed} secs"
