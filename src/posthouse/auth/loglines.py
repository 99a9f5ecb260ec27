"""The log lines of auth, in Dovecot's words: ban tools read them."""

from typing import ClassVar

from posthouse.auth.failures import NAMED_USERS
from posthouse.core.logline import Level, LogLine


def _who(user: str, remote: str, session: str) -> str:
    # A remote name may hold anything; parentheses and commas in it must not move the address that a ban tool reads.
    shown = user.translate(_NAME)
    return f"{shown},{remote},<{session}>" if session else f"{shown},{remote}"


_NAME = {ord(character): "?" for character in "(),<>: \t"}


class LoginFailed(LogLine, frozen=True):
    """auth_verbose: why a login was refused ("unknown user", "Password mismatch")."""

    program: ClassVar = "auth"
    dovecot: ClassVar = True
    doc: ClassVar = "A login was refused, and why; written with auth_verbose = yes."

    passdb: str
    user: str
    remote: str
    session: str
    reason: str

    def text(self) -> str:
        return f"{self.passdb}({_who(self.user, self.remote, self.session)}): {self.reason}"


class LoginError(LogLine, frozen=True):
    """Not the client's fault: a hash or a database that cannot be used."""

    program: ClassVar = "auth"
    level: ClassVar = Level.ERROR
    dovecot: ClassVar = True
    doc: ClassVar = "A login could not be checked, and why; the client was told to try again later."

    passdb: str
    user: str
    remote: str
    session: str
    reason: str

    def text(self) -> str:
        return f"Error: {self.passdb}({_who(self.user, self.remote, self.session)}): {self.reason}"


class AnonymousLogin(LogLine, frozen=True):
    """ANONYMOUS (RFC 4505): what the client says of itself."""

    program: ClassVar = "auth"
    dovecot: ClassVar = True
    doc: ClassVar = "Somebody logged in with the mechanism ANONYMOUS, and what trace information he sent."

    remote: str
    session: str
    trace: str

    def text(self) -> str:
        return f"anonymous({_who('', self.remote, self.session)}): trace {self.trace.translate(_NAME)}"


class WrongLogins(LogLine, frozen=True):
    """For ban tools: one line per client that tried many things, and nothing for a password that went stale."""

    program: ClassVar = "auth"
    dovecot: ClassVar = True
    doc: ClassVar = (
        "A client made auth_ban_failures different wrong logins within auth_ban_window; repeats of one login are not"
        " counted. Ban tools should act on this line at once."
    )

    remote: str
    failures: int
    within_s: float
    users: tuple[str, ...]
    services: tuple[tuple[str, int], ...]
    repeats: int
    reason: str

    def text(self) -> str:
        # The address is in front of everything that a client can choose.
        shown = ", ".join(user.translate(_NAME) for user in self.users[:NAMED_USERS])
        more = ", …" if len(self.users) > NAMED_USERS else ""
        return (
            f"ban: rip={self.remote}, {self.failures} different wrong logins in {self.within_s:.0f} secs"
            f" ({', '.join(f'{name} {count}' for name, count in self.services)}) for {len(self.users)} users"
            f" ({shown}{more}), {self.repeats} repeats not counted; the last: {self.reason}"
        )
