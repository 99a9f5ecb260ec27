"""The log lines of auth, in Dovecot's words: ban tools read them."""

from typing import ClassVar

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
