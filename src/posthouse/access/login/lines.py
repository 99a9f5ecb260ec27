"""The log lines of a login, in Dovecot's words: fail2ban's dovecot filter and log analysers read them."""

from typing import ClassVar

from posthouse.core.logline import LogLine

# A ">" in a name would end the field for a filter and let the rest of the line lie about the address.
_HARMLESS = {ord("<"): "?", ord(">"): "?"}


class LoginFacts(LogLine, frozen=True):
    """`security` is "TLS", "secured", "TLS handshaking" or ""."""

    dovecot: ClassVar = True

    user: str
    mechanism: str
    remote: str
    local: str
    security: str
    session: str

    def _facts(self, mailbox_pid: int) -> str:
        parts = [f"user=<{self.user.translate(_HARMLESS)}>"]
        if self.mechanism:
            parts.append(f"method={self.mechanism.translate(_HARMLESS)}")
        parts += [f"rip={self.remote}", f"lip={self.local}"]
        if mailbox_pid:
            parts.append(f"mpid={mailbox_pid}")
        if self.security:
            parts.append(self.security)
        parts.append(f"session=<{self.session}>")
        return ", ".join(parts)


class LoggedIn(LoginFacts, frozen=True):
    doc: ClassVar = "A client has logged in; its session goes on in the process mpid."

    mailbox_pid: int

    def text(self) -> str:
        return f"Login: {self._facts(self.mailbox_pid)}"


class ImapLoggedIn(LoggedIn, frozen=True):
    program: ClassVar = "imap-login"


class Pop3LoggedIn(LoggedIn, frozen=True):
    program: ClassVar = "pop3-login"


class Disconnected(LoginFacts, frozen=True):
    """`reason` in Dovecot's words, `detail` what became of its attempts: "auth failed, 1 attempts in 2 secs"."""

    doc: ClassVar = "A connection ended before it was logged in."

    reason: str
    detail: str

    def text(self) -> str:
        return f"Disconnected: {self.reason} ({self.detail}): {self._facts(0)}"


class ImapDisconnected(Disconnected, frozen=True):
    program: ClassVar = "imap-login"


class Pop3Disconnected(Disconnected, frozen=True):
    program: ClassVar = "pop3-login"


LOGGED_IN: dict[str, type[LoggedIn]] = {"imap": ImapLoggedIn, "pop3": Pop3LoggedIn}
DISCONNECTED: dict[str, type[Disconnected]] = {"imap": ImapDisconnected, "pop3": Pop3Disconnected}
